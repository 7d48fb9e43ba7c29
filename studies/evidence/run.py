"""Run the steps of the evidence, for a limited time at once: the same command goes on where the last one was.

    python studies/evidence/run.py [STEP ...] [--minutes 8] [--plan studies/evidence/gpu.toml]
    python studies/evidence/run.py --list
    python studies/evidence/run.py --state evidence.tar.gz

A step is a command that anyone could give by hand, and that goes on when it is given again. When the time is up it is
interrupted as by Ctrl-C, and half a minute later killed. What is done, and how long it took, is noted in
`evidence.json` in the folder of runs. With --state that folder travels in one file (see state.py): a machine that is
lent for minutes can be another one each time. For Linux and macOS, in the folder of the project.

Exit codes: 0 all steps done, 1 a step failed or waits for one that did, or the state cannot be used, 2 wrong usage,
130 the time was up or it was interrupted.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from plan import PLAN, Notes, Step, read_plan
from state import pack, unpack

from nas_budget.errors import NasBudgetError
from nas_budget.records.formatting import seconds_in_words

STARTED = time.monotonic()
ROOT = Path(__file__).parents[2]
GRACE_S = 30
"""Seconds that a step has to put itself down once it is interrupted; then it is killed, which loses a trial or two."""
SAVE_EVERY_S = 60
INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1


@dataclass
class Limits:
    """What ends a call: the time, or somebody who wants it to end."""

    deadline: float
    asked: bool = False

    @property
    def over(self) -> bool:
        """Whether it is to end."""
        return self.asked or time.monotonic() >= self.deadline

    def __call__(self, *_: object) -> None:
        """Take a signal."""
        self.asked = True


@contextmanager
def signals_to(limits: Limits) -> Iterator[None]:
    """Have Ctrl-C, SIGTERM and a terminal that closes end the call at its next look."""
    before = {number: signal.signal(number, limits) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(step: Step, runs: Path, limits: Limits, save: Callable[[], None]) -> str:
    """Go on with a step until the call is over; how it ended: "done", "under way" or "failed"."""
    # A group of its own: Ctrl-C of a terminal reaches the step through us alone, and what it starts ends with it.
    process = subprocess.Popen(step.process(runs), process_group=0, preexec_fn=_end_with_parent)
    try:
        saved = time.monotonic()
        while not limits.over:
            with suppress(subprocess.TimeoutExpired):
                return {0: "done", INTERRUPTED: "under way"}.get(process.wait(1.0), "failed")
            if time.monotonic() >= saved + SAVE_EVERY_S:
                save()
                saved = time.monotonic()
        return "under way" if put_down(process) else "done"
    finally:
        put_down(process)


def _end_with_parent() -> None:
    """In the process of a step: have Linux interrupt it when this program is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def put_down(process: subprocess.Popen[bytes]) -> int:
    """Interrupt a step that has not ended, and kill it where that does not help; its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):  # it has ended, and all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_all(steps: list[Step], runs: Path, limits: Limits, save: Callable[[], None]) -> int:
    """Go on with the steps until the call is over, those that failed before at last; the exit code."""
    notes, tried = Notes.of_runs(runs), set[str]()
    while not limits.over and (step := _next(steps, notes, tried)):
        tried.add(step.name)
        _go_on(step, notes, runs, limits, save)
    for step in steps:
        if waits := [name for name in step.needs if notes.state(name) != "done"]:
            print(f"\n== {step.name}: waits for {', '.join(waits)}", flush=True)
    states = {notes.of(step).state for step in steps}
    if states == {"done"}:
        return 0
    return INTERRUPTED if limits.over or "under way" in states else 1


def _next(steps: list[Step], notes: Notes, tried: set[str]) -> Step | None:
    """The first step that is left, can begin, and was not tried in this call."""
    ready = [
        step
        for step in steps
        if step.name not in tried
        and notes.of(step).state != "done"
        and all(notes.state(name) == "done" for name in step.needs)
    ]
    return min(ready, key=lambda step: notes.of(step).state == "failed", default=None)


def _go_on(step: Step, notes: Notes, runs: Path, limits: Limits, save: Callable[[], None]) -> None:
    """Go on with one step, keeping notes."""
    print(f"\n== {step.name}: {step.shows}\n$ {shlex.join(step.words(runs))}", flush=True)
    notes.begin(step)
    note, start = notes.of(step), time.monotonic()
    before = note.seconds

    def keep() -> None:
        note.seconds = round(before + time.monotonic() - start, 1)
        notes.write(runs)
        save()

    keep()
    try:
        note.state = run(step, runs, limits, keep)
    finally:
        keep()
    print(f"== {step.name}: {note.state}, {seconds_in_words(note.seconds)} so far", flush=True)


def tell(steps: list[Step], runs: Path) -> None:
    """Print the steps, how far each is, and its command."""
    notes = Notes.of_runs(runs)
    for step in steps:
        note = notes.of(step)
        spent = f", {seconds_in_words(note.seconds)}" if note.calls else ""
        print(f"{step.name}: {step.shows} ({note.state}{spent})\n    {shlex.join(step.words(runs))}")


def chosen(steps: list[Step], names: list[str]) -> list[Step]:
    """The steps of these names, or all."""
    if unknown := sorted({*names} - {step.name for step in steps}):
        raise NasBudgetError(f"no step {unknown[0]}; there are {', '.join(step.name for step in steps)}")
    return [step for step in steps if step.name in names] if names else steps


def saver(runs: Path, state: Path | None, largest_mib: float) -> Callable[[], None]:
    """What packs the state; one that cannot be written is told, and training goes on."""
    told = set[str]()

    def save() -> None:
        try:
            left_out = pack(runs, state, largest_mib) if state else []
        except OSError as error:
            print(f"error: {state}: cannot be written ({error.strerror or error})", file=sys.stderr, flush=True)
            return
        for name in {*left_out} - told:
            print(f"NOTE: {name} is larger than {largest_mib:g} MiB and does not travel (--largest)", flush=True)
        told.update(left_out)

    return save


def main(arguments: list[str] | None = None, started: float | None = None) -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help="names of steps; all of them unless given")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--minutes", type=float, default=8.0, help="time after which the step under way is interrupted")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--state", type=Path, help="a .tar.gz that is read before, and written every minute and after")
    parser.add_argument(
        "--largest", type=float, default=10.0, help="checkpoints of more MiB do not travel in the state"
    )
    parser.add_argument("--list", action="store_true", help="print the steps and how far each is")
    given: Any = parser.parse_args(arguments)
    limits = Limits((time.monotonic() if started is None else started) + 60 * given.minutes)
    if Path.cwd() != ROOT:
        parser.error(f"the commands of the steps are for the folder of the project: cd {ROOT}")
    try:
        steps = chosen(read_plan(given.plan), given.steps)
    except NasBudgetError as error:
        parser.error(str(error))
    if given.list and not given.state:
        tell(steps, given.runs_dir)
        return 0
    given.runs_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(given.runs_dir / ".lock", timeout=0), signals_to(limits):
            if given.state:
                unpack(given.state, given.runs_dir)
            if not given.list:
                return run_all(steps, given.runs_dir, limits, saver(given.runs_dir, given.state, given.largest))
    except Timeout:
        print(f"error: {given.runs_dir}: another process is at these steps; wait for it", file=sys.stderr)
        return 1
    except NasBudgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    tell(steps, given.runs_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main(started=STARTED))
