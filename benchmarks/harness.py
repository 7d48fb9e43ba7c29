"""What the benchmarks share: what they ran on, rounds in turn, processes of their own, and figures kept in a file."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from nas_budget.errors import NasBudgetError, StoppedError, UsageError
from nas_budget.records.atomic_write import write_whole

Figure = dict[str, Any]
LIMIT_S = 180.0
"""How long a process may take for one answer."""
MISSING = (
    "No working C++ compiler found", "Failed to find C compiler", "Cannot find a working triton installation",
)  # fmt: skip
"""How torch and Triton say that a compiler is not installed."""


def machine(*packages: str) -> str:
    """The processor, its cores, and the versions of Python and of these packages."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def summary(values: Sequence[float]) -> Figure:
    """How many values there are, their median, least and greatest."""
    return {"n": len(values), "median": statistics.median(values), "min": min(values), "max": max(values)}


def seconds_of(work: Callable[[], object], times: int = 1) -> float:
    """Mean seconds of a call on one thread, of some calls in a row; waits for a GPU."""
    from torch.utils.benchmark import Timer  # its import looks for CUDA, which not every benchmark needs

    return float(Timer("work()", globals={"work": work}, num_threads=1).timeit(times).mean)


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Figure]:
    """The summary of each way. In a round each runs once, so that a drift of the machine's speed affects all."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            found[name].append(run())
    return {name: summary(values) for name, values in found.items()}


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table as Markdown, after an empty line."""
    print(f"\n| {' | '.join(head)} |\n| --- |{' ---: |' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


class UnmeasuredError(Exception):
    """Why a figure has no value: it "failed", or is "absent" because this machine lacks what it needs."""

    def __init__(self, reason: str, state: str = "failed") -> None:
        super().__init__(reason, state)
        self.figure = {state: reason}


class Results:
    """The figures of a benchmark, in one JSON file that is written whole after each.

    Args:
        path: The file. Its figures are not measured again. None keeps none.
        about: Device, versions and settings, which all figures of a file share.

    Raises:
        UsageError: The file is about something else.
    """

    def __init__(self, path: Path | None, about: Figure) -> None:
        self.path, self.found, self.failed = path, {"about": about, "seconds": 0.0}, list[str]()
        if path and path.exists():
            self.found = json.loads(path.read_text())
            known = self.found["about"]
            if others := [key for key in about | known if known.get(key) != about.get(key)]:
                both = ", ".join(f"{key} {known.get(key)}, not {about.get(key)}" for key in others)
                raise UsageError(f"{path}: is of {both}: its figures do not compare; give another --output")

    def figure(self, *names: str, measure: Callable[[], Figure]) -> Figure:
        """The figure of these names; one without a value has the reason, and is measured again the next time."""
        *outer, last = names
        place = self.found
        for name in outer:
            place = place.setdefault(name, {})
        if last not in place or why_not(place[last]):
            start = time.perf_counter()
            try:
                place[last] = measure()
            except UnmeasuredError as error:
                place[last] = error.figure
            self.found["seconds"] += round(time.perf_counter() - start, 1)
            if self.path:
                write_whole(self.path, json.dumps(self.found, indent=2) + "\n")
        if "failed" in place[last]:
            self.failed.append(" / ".join(names))
        figure: Figure = place[last]
        return figure


def why_not(figure: Figure) -> str:
    """Why a figure has no value; empty where it has one."""
    return next((f"{state}: {figure[state]}" for state in ("failed", "absent") if state in figure), "")


class Worker:
    """A process of its own that sends what a generator yields, one answer when asked; it is gone after the `with`.

    Args:
        work: The generator function, of a module, so that another process finds it.
        given: Its arguments.
    """

    def __init__(self, work: Callable[..., Iterator[Any]], *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(work, theirs, given), daemon=True)
        self.process.start()
        theirs.close()  # or a process that has ended would be waited for

    def ask(self) -> None:
        """Ask for the next answer; the first comes without."""
        with suppress(BrokenPipeError):  # `answer` says why
            self.pipe.send(None)

    def answer(self, limit_s: float | None = None) -> Any:
        """What the generator yields next.

        Raises:
            UnmeasuredError: It failed, or the process ended or gave no answer in time.
        """
        if not self.pipe.poll(limit_s):
            raise UnmeasuredError(f"a process gave no answer in {limit_s:.0f} s")
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

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()


def _work(work: Callable[..., Iterator[Any]], pipe: Connection, given: Sequence[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the asking process decides
    try:
        for found in work(*given):
            pipe.send(found)
            pipe.recv()
    except (EOFError, BrokenPipeError):
        pass
    except Exception as error:  # one figure must not cost the others
        traceback.print_exc()
        lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
        missing = [line for line in lines if any(words in line for words in MISSING)]
        reason = (
            UnmeasuredError(missing[0], "absent") if missing else UnmeasuredError(f"{type(error).__name__}: {lines[0]}")
        )
        pipe.send(error if isinstance(error, UnmeasuredError) else reason)


def measured(work: Callable[..., Iterator[Figure]], *given: Any) -> Figure:
    """The only answer of a process of its own: a figure that fails can then spoil no other.

    Raises:
        UnmeasuredError: There is none.
    """
    with Worker(work, *given) as worker:
        found: Figure = worker.answer(LIMIT_S)
    return found


def run_to_end(run: Callable[[argparse.Namespace], Sequence[str]], arguments: argparse.Namespace) -> int:
    """Run a benchmark that gives the names of failed figures; the exit code, 130 when interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failed = run(arguments)
    except (KeyboardInterrupt, StoppedError):
        print("interrupted; the same command resumes", file=sys.stderr)
        return StoppedError.exit_code
    except NasBudgetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if failed:
        print(f"failed: {'; '.join(failed)}", file=sys.stderr)
    return int(bool(failed))
