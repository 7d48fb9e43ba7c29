"""Run the steps of the evidence, for a limited time at once: the same command goes on where the last one was.

    python studies/evidence.py [STEP ...] [--minutes 9] [--plan studies/evidence.toml]
    python studies/evidence.py --list
    python studies/evidence.py --state evidence.tar.gz

A step is a command that anyone could give by hand, and that goes on when it is given again. When the time is up it is
interrupted as by Ctrl-C. What is done, and how long it took, is noted in `evidence.json` in the folder of runs. With
--state everything but weights is packed into one file at the end, and unpacked at the beginning where the folder of
runs is empty: a machine that is lent for minutes can be another one each time.

Exit codes: 0 all steps done, 1 a step failed, 2 wrong usage, 130 the time was up or it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas_budget.errors import StoppedError
from nas_budget.files import write_whole
from nas_budget.words import seconds_in_words

PLAN = Path(__file__).with_name("evidence.toml")
NOTES = "evidence.json"
LEFT_OUT = (".safetensors", ".lock", ".html")
"""Ends of names of files that are not packed: weights, and what is made again from the rest."""
GRACE_S = 30
"""Seconds that a step has to put itself down once it is interrupted; then it is killed, which loses a trial or two."""
INTERRUPTED = 130


@dataclass(frozen=True)
class Step:
    """A command of the plan, and what it is to show."""

    name: str
    shows: str
    command: str

    def words(self, runs: Path) -> list[str]:
        """The command as a shell would take it, with the folder of runs in its place."""
        words = shlex.split(self.command.format(runs=runs))
        return [*words, "--runs-dir", str(runs)] if words[0] == "nas-budget" else words

    def process(self, runs: Path) -> list[str]:
        """The same in this environment, whatever the PATH."""
        program, *rest = self.words(runs)
        return [sys.executable, *(["-m", "nas_budget"] if program == "nas-budget" else []), *rest]


@dataclass
class Note:
    """How far a step is."""

    state: str = "to do"
    calls: int = 0
    seconds: float = 0.0


class Notes:
    """What is known of each step, kept in the folder of runs."""

    def __init__(self, runs: Path) -> None:
        self.path = runs / NOTES
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.steps = {name: Note(**values) for name, values in known.items()}

    def of(self, step: Step) -> Note:
        """The note of a step."""
        return self.steps.setdefault(step.name, Note())

    def add(self, step: Step, state: str, seconds: float) -> None:
        """Note how a call of a step ended."""
        note = self.of(step)
        note.state, note.calls, note.seconds = state, note.calls + 1, round(note.seconds + seconds, 1)
        write_whole(self.path, json.dumps({name: asdict(n) for name, n in self.steps.items()}, indent=2) + "\n")


def read_plan(path: Path) -> list[Step]:
    """The steps of a plan, in order."""
    return [Step(**values) for values in tomllib.loads(path.read_text(encoding="utf-8"))["step"]]


def run(step: Step, runs: Path, seconds: float) -> str:
    """Go on with a step for at most so long; how it ended: "done", "under way" or "failed".

    Raises:
        StoppedError: It was put down because somebody wants all to stop.
    """
    process = subprocess.Popen(step.process(runs), start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return "under way" if put_down(process) else "done"
    except StoppedError:
        put_down(process)
        raise
    return {0: "done", INTERRUPTED: "under way"}.get(code, "failed")


def put_down(process: subprocess.Popen[bytes]) -> int:
    """Interrupt a step, and kill it where that does not help; its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


@contextmanager
def stoppable() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM raise `StoppedError`: the step, in a session of its own, is put down first."""

    def stop(*_: object) -> None:
        raise StoppedError("stopped")

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def run_all(steps: list[Step], runs: Path, minutes: float) -> int:
    """Go on with the steps in their order until the time is up; the exit code."""
    notes, deadline = Notes(runs), time.monotonic() + 60 * minutes
    for step in steps:
        if notes.of(step).state == "done":
            continue
        if time.monotonic() >= deadline:
            return INTERRUPTED
        print(f"\n== {step.name}: {step.shows}\n$ {shlex.join(step.words(runs))}", flush=True)
        start, state = time.monotonic(), "under way"
        try:
            state = run(step, runs, deadline - time.monotonic())
        except StoppedError:
            return INTERRUPTED
        finally:
            notes.add(step, state, time.monotonic() - start)
        print(f"== {step.name}: {state}, {seconds_in_words(notes.of(step).seconds)} so far", flush=True)
    states = {notes.of(step).state for step in steps}
    return 1 if "failed" in states else INTERRUPTED if "under way" in states else 0


def unpack(state: Path, runs: Path) -> None:
    """Bring back what was packed, where nothing is there yet."""
    if state.exists() and not (runs / NOTES).exists():
        runs.mkdir(parents=True, exist_ok=True)
        with tarfile.open(state) as archive:
            archive.extractall(runs, filter="data")


def pack(runs: Path, state: Path) -> None:
    """Pack the folder of runs into one file, whole or not at all."""
    state.parent.mkdir(parents=True, exist_ok=True)
    draft = state.with_name(state.name + ".draft")
    with tarfile.open(draft, "w:gz") as archive:
        for path in sorted(runs.rglob("*")):
            if path.is_file() and not path.name.endswith(LEFT_OUT):
                archive.add(path, path.relative_to(runs).as_posix())
    draft.replace(state)


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


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help="names of steps; all of them unless given")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--minutes", type=float, default=9.0, help="time after which the step under way is interrupted")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--state", type=Path, help="a .tar.gz that is read before and written after")
    parser.add_argument("--list", action="store_true", help="print the steps and how far each is")
    given: Any = parser.parse_args(arguments)
    try:
        steps = chosen(read_plan(given.plan), given.steps)
    except (OSError, ValueError) as error:
        parser.error(f"{given.plan}: {error}")
    if given.state:
        unpack(given.state, given.runs_dir)
    if given.list:
        tell(steps, given.runs_dir)
        return 0
    with stoppable():
        try:
            return run_all(steps, given.runs_dir, given.minutes)
        finally:
            if given.state:
                pack(given.runs_dir, given.state)


if __name__ == "__main__":
    sys.exit(main())
