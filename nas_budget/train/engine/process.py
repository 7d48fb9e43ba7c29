"""Settings of a whole process, made by programs of ours (the command line, workers, benchmarks) and never on import."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # idle OpenMP threads that spin starve every other process of the machine
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's small products are faster on one thread, many times so beside other work
}
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names of parameters in glibc's malloc.h."""


def own_process() -> None:
    """Set up a process that belongs to nas-budget alone, before it imports NumPy and torch, which read `ENVIRONMENT`.

    A program that only imports nas_budget keeps its own settings. One that trains a lot may call this first.
    """
    set_environment()
    keep_freed_memory()


def set_environment() -> None:
    """Set the variables of `ENVIRONMENT` that the user has not set; NumPy and torch read them once, on import."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def child_environment(more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Processes started within it inherit `ENVIRONMENT` and `more`; the caller's own variables come back afterwards."""
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, *(more or {}))}
    set_environment()
    os.environ.update(more or {})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def keep_freed_memory() -> None:
    """Have the C library keep memory that is freed for what is allocated next, where it is glibc.

    It gives each large block back to the system otherwise, and the system clears it page by page when it is wanted
    again: a training step on a CPU, which allocates the same large blocks over and over, is up to 1.4 times slower.
    """
    if mallopt := _of_glibc("mallopt"):
        mallopt(M_MMAP_MAX, 0)  # no block is asked of the system alone, to be given back when freed
        mallopt(M_TRIM_THRESHOLD, -1)  # nor is the end of the heap


def give_freed_memory_back() -> None:
    """Give the system what `keep_freed_memory` has kept so far."""
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it is another library."""
    try:
        return getattr(ctypes.CDLL(None), name) if sys.platform == "linux" else None
    except (OSError, AttributeError):
        return None


def end_first(pid: int) -> None:
    """Have Linux end this process before others where memory lacks: a worker, say, which can be replaced."""
    with suppress(OSError):  # another system, or a container that hides the file
        Path(f"/proc/{pid}/oom_score_adj").write_text("500")
