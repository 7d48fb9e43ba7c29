"""Run the steps of the evidence, for a limited time at once: the same command goes on where the last one was.

    python studies/evidence/run.py [STEP ...] [--minutes 8] [--plan studies/evidence/gpu.toml]
    python studies/evidence/run.py --list
    python studies/evidence/run.py --state evidence.tar.gz

A step is a command that anyone could give by hand, and that goes on when it is given again. When the time is up it is
interrupted as by Ctrl-C, and half a minute later killed. What is done, and how long it took, is noted in
`evidence.json` in the folder of runs. With --state that folder travels in one file (see state.py): a machine
that is lent for minutes can be another one each time.

Exit codes: 0 all steps done, 1 a step failed or the state cannot be used, 2 wrong usage, 130 the time was up or it was
interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from plan import PLAN, Notes, Step, read_plan
from state import pack, unpack

from nas_budget.errors import NasBudgetError, StoppedError
from nas_budget.words import seconds_in_words

STARTED = time.monotonic()
GRACE_S = 30
"""Seconds that a step has to put itself down once it is interrupted; then it is killed, which loses a trial or two."""
PACK_EVERY_S = 60
INTERRUPTED = 130


def run(step: Step, runs: Path, deadline: float, meanwhile: Callable[[], None]) -> str:
    """Go on with a step until the deadline; how it ended: "done", "under way" or "failed".

    Raises:
        StoppedError: It was put down because somebody wants all to stop.
    """
    # A group of its own: Ctrl-C of a terminal reaches the step through us alone, and what it starts ends with it.
    process = subprocess.Popen(step.process(runs), process_group=0)
    try:
        while (left := deadline - time.monotonic()) > 0:
            try:
                code = process.wait(min(left, PACK_EVERY_S))
                return {0: "done", INTERRUPTED: "under way"}.get(code, "failed")
            except subprocess.TimeoutExpired:
                meanwhile()
        return "under way" if put_down(process) else "done"
    except StoppedError:
        put_down(process)
        raise


def put_down(process: subprocess.Popen[bytes]) -> int:
    """Interrupt a step, and kill it where that does not help; its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):  # it has ended, and all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def stoppable() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM raise `StoppedError` once; the next ones change nothing: it is ending."""

    def stop(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise StoppedError("stopped")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_all(steps: list[Step], runs: Path, deadline: float, save: Callable[[], None]) -> int:
    """Go on with the steps until the deadline, those that failed before at last; the exit code."""
    notes = Notes(runs)
    for step in sorted(steps, key=lambda step: notes.of(step).state == "failed"):
        if notes.of(step).state == "done" or time.monotonic() >= deadline:
            continue
        if missing := [name for name in step.needs if notes.state(name) != "done"]:
            print(f"\n== {step.name}: waits for {', '.join(missing)}", flush=True)
            continue
        print(f"\n== {step.name}: {step.shows}\n$ {shlex.join(step.words(runs))}", flush=True)
        notes.begin(step)
        start, state = time.monotonic(), "under way"
        try:
            state = run(step, runs, deadline, save)
        finally:
            notes.end(step, state, time.monotonic() - start)
            save()
        print(f"== {step.name}: {state}, {seconds_in_words(notes.of(step).seconds)} so far", flush=True)
    states = {notes.of(step).state for step in steps}
    if states == {"done"}:
        return 0
    return INTERRUPTED if time.monotonic() >= deadline or "under way" in states else 1


def tell(steps: list[Step], runs: Path) -> None:
    """Print the steps, how far each is, and its command."""
    notes = Notes(runs)
    for step in steps:
        note = notes.of(step)
        spent = f", {seconds_in_words(note.seconds)}" if note.calls else ""
        print(f"{step.name}: {step.shows} ({note.state}{spent})\n    {shlex.join(step.words(runs))}")


def chosen(steps: list[Step], names: list[str]) -> list[Step]:
    """The steps of these names, or all."""
    if unknown := sorted({*names} - {step.name for step in steps}):
        raise ValueError(f"no step {unknown[0]}; there are {', '.join(step.name for step in steps)}")
    return [step for step in steps if step.name in names] if names else steps


def main(arguments: list[str] | None = None, started: float | None = None) -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help="names of steps; all of them unless given")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--minutes", type=float, default=8.0, help="time after which the step under way is interrupted")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--state", type=Path, help="a .tar.gz that is read before, and written every minute and after")
    parser.add_argument("--largest", type=float, default=10.0, help="files of more MiB do not travel in the state")
    parser.add_argument("--list", action="store_true", help="print the steps and how far each is")
    given: Any = parser.parse_args(arguments)
    deadline = (time.monotonic() if started is None else started) + 60 * given.minutes
    try:
        steps = chosen(read_plan(given.plan), given.steps)
    except (OSError, ValueError) as error:
        parser.error(f"{given.plan}: {error}")

    def save() -> None:
        if given.state:
            pack(given.runs_dir, given.state, given.largest)

    try:
        if given.state:
            unpack(given.state, given.runs_dir)
        if given.list:
            tell(steps, given.runs_dir)
            return 0
        with stoppable():
            return run_all(steps, given.runs_dir, deadline, save)
    except StoppedError:
        return INTERRUPTED
    except NasBudgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(started=STARTED))
