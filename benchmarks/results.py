"""Benchmarks that may be stopped at any moment: figures are kept as they come, and no process is left behind."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import statistics
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import torch

from nas_budget.errors import NasBudgetError, StoppedError, UsageError
from nas_budget.records.atomic_write import write_whole

Figure = dict[str, Any]
PATIENCE_S = 5.0
"""How long a process that has nothing left to do may take to end."""
LACKING = (
    "No working C++ compiler found", "Failed to find C compiler", "Cannot find a working triton installation",
)  # fmt: skip
"""How torch and Triton say that a program is not installed, without which they cannot compile."""


class UnmeasuredError(Exception):
    """A figure that cannot be had, and why, in one line."""

    state = "failed"


class AbsentError(UnmeasuredError):
    """A figure that cannot be had on this machine, as something it needs is not there."""

    state = "absent"


class FailedError(NasBudgetError):
    """The benchmark came to its end, or gave up, and figures failed."""


class Results:
    """The figures of a benchmark, in one JSON file that is written whole after each.

    Args:
        path: The file, whose figures are not measured again; None keeps those of this run alone.
        about: Device, versions and settings: what figures must share to compare.

    Raises:
        UsageError: The file is about something else.
    """

    def __init__(self, path: Path | None, about: Figure) -> None:
        self.path = path
        self.found: Figure = {"about": about}
        if path and path.exists():
            self.found = _read(path, about)
            print(f"{path} is there: only what it lacks is measured")
        self.failed: list[str] = []

    def figure(self, *names: str, measure: Callable[[], Figure]) -> Figure:
        """The figure of these names.

        One that could not be measured has nothing but the reason, as "failed", or as "absent" where this machine lacks
        what it needs, and is tried again the next time. One that left CUDA unusable for the process is "spoiled" too,
        and tried again the time after the next: what follows it goes first.

        Raises:
            FailedError: It left CUDA unusable, so that nothing after it can be measured.
        """
        *outer, last = names
        place = self.found
        for name in outer:
            place = place.setdefault(name, {})
        if last not in place or why_not(place[last]):
            place[last] = _tried(place.get(last, {}), measure)
            if self.path:
                write_whole(self.path, json.dumps(self.found, indent=2) + "\n")
        figure: Figure = place[last]
        if "failed" in figure:
            self.failed.append(" / ".join(names))
        if "spoiled" in figure:
            raise FailedError(f"{self._told()}; CUDA refuses all else in this process: what follows was not tried")
        return figure

    def check(self) -> None:
        """Make sure that no figure asked for failed.

        Raises:
            FailedError: Some did.
        """
        if self.failed:
            raise FailedError(self._told())

    def _told(self) -> str:
        return f"failed: {'; '.join(self.failed)}"


def why_not(figure: Figure) -> str:
    """Why a figure could not be measured; empty where it was."""
    return next((f"{state}: {figure[state]}" for state in ("failed", "absent") if state in figure), "")


def _read(path: Path, about: Figure) -> Figure:
    try:
        found = json.loads(path.read_text())
        before = dict(found["about"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: holds no results of a benchmark; give another --output") from None
    others = [key for key in about | before if before.get(key) != about.get(key)]
    if others:
        told = ", ".join(f"{key} {before.get(key)} where {about.get(key)} is asked for" for key in others)
        raise UsageError(f"{path}: has {told}; such figures do not compare, give another --output")
    kept: Figure = found
    return kept


def _tried(before: Figure, measure: Callable[[], Figure]) -> Figure:
    """A figure, or why it could not be measured; one that spoiled the process before is left out this once."""
    if "spoiled" in before:
        return {"failed": before["failed"]}
    try:
        return measure()
    except UnmeasuredError as error:
        return {error.state: str(error)}
    except RuntimeError as error:  # as torch and CUDA raise; one figure must not cost the others
        traceback.print_exc()
        if is_spoiled():
            return {"failed": in_one_line(error), "spoiled": True}
        found = unmeasured(error)
        return {found.state: str(found)}


def unmeasured(error: Exception) -> UnmeasuredError:
    """What an error says of a figure, in one line."""
    if isinstance(error, UnmeasuredError):
        return error
    lacks = [line.strip() for line in str(error).splitlines() if any(words in line for words in LACKING)]
    return AbsentError(lacks[0]) if lacks else UnmeasuredError(in_one_line(error))


def is_spoiled() -> bool:
    """Whether CUDA refuses whatever this process asks of it, as it does after an illegal access or an assert."""
    if not torch.cuda.is_initialized():
        return False
    try:
        for number in range(torch.cuda.device_count()):
            torch.cuda.synchronize(number)
    except RuntimeError:
        return True
    return False


def summary(values: Sequence[float]) -> Figure:
    """How many values there are, their median, least and greatest."""
    return {"n": len(values), "median": statistics.median(values), "min": min(values), "max": max(values)}


def in_one_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    first, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {first}"


class Worker:
    """A process of its own that is asked and answers; it is gone when the `with` ends or the process that asks dies.

    Args:
        work: What it does, given its end of a pipe; of a module, so that another process finds it.
        given: What else `work` takes.
    """

    def __init__(self, work: Callable[..., None], *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_live, args=(work, theirs, given))
        self.process.start()
        theirs.close()  # else the pipe would outlive the process, and whoever waits would wait forever

    def ask(self) -> None:
        """Have it do the next thing."""
        with suppress(BrokenPipeError):  # it is gone: `answer` says so
            self.pipe.send(None)

    def answer(self, limit_s: float | None = None) -> Any:
        """What it sends next.

        Raises:
            UnmeasuredError: It failed, ended, or was silent for so long.
        """
        if not self.pipe.poll(limit_s):
            raise UnmeasuredError(f"a process was silent for {limit_s:.0f} s")
        try:
            found = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise UnmeasuredError(f"a process ended with exit code {self.process.exitcode}") from None
        if isinstance(found, UnmeasuredError):
            raise found
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.pipe.close()
        if kind is None:
            self.process.join(PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _live(work: Callable[..., None], pipe: Connection, given: Sequence[Any]) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; who asks decides what it means
    try:
        work(pipe, *given)
    except (EOFError, BrokenPipeError, StoppedError):
        pass  # nobody asks any more
    except Exception as error:
        traceback.print_exc()
        pipe.send(unmeasured(error))


def to_the_end(run: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run a benchmark whose arguments have an `output`, and give its exit code; a signal costs the figure under way."""
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.default_int_handler)
    try:
        run(arguments)
    except KeyboardInterrupt:
        print(f"interrupted; {'the same command goes on' if arguments.output else 'nothing is kept without --output'}")
        return StoppedError.exit_code
    except NasBudgetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0
