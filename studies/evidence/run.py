"""Run the steps of a plan for a limited time: the same command resumes where the last call stopped.

    python studies/evidence/run.py [STEP ...] [--minutes 8] [--plan studies/evidence/gpu.toml]
    python studies/evidence/run.py --list
    python studies/evidence/run.py --state evidence.tar.gz

A step is a command that anyone could give by hand and that resumes when it is given again. When the time is up it is
interrupted as by Ctrl-C, and killed half a minute later. `evidence.json` in the folder of runs says which steps are
done. With --state that folder is read from one file before and written to it after each step, without weights, so that
the next call can be on another machine. Needs Linux or macOS and the project folder as working directory.

Exit codes: 0 all steps are done, 1 a step failed or waits for one that did, or the state cannot be used, 2 wrong usage,
130 the time was up or it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from nas_budget.errors import NasBudgetError
from nas_budget.records.atomic_write import write_whole

STARTED = time.monotonic()
ROOT = Path(__file__).parents[2]
PLAN = Path(__file__).with_name("gpu.toml")
NOTES = "evidence.json"
CALLS, TO_DO, INTERRUPTED, FAILED, DONE = "calls", "to do", "interrupted", "failed", "done"
STATES = {0: DONE, 130: INTERRUPTED}
"""State of a step by the exit code of its command; all other codes are failures."""
GRACE_S = 30
NOT_PACKED = re.compile(r"\..*|(model|ema).*\.safetensors|.*\.(lock|html|draft|tar\.gz)")
"""Names of files that no command resumes from: hidden files, final weights, locks, pages, drafts."""
Notes = dict[str, Any]
"""The state of each step by name, and the number of calls so far."""


@dataclass(frozen=True)
class Step:
    """A command of the plan, and what it is to show."""

    name: str
    shows: str
    command: str

    def words(self, runs: Path) -> list[str]:
        """The command as a shell would split it, for this folder of runs."""
        words = [word.replace("{runs}", str(runs)) for word in shlex.split(self.command)]
        return [*words, "--runs-dir", str(runs)] if words[0] == "nas-budget" else words

    def waits(self, notes: Notes) -> list[str]:
        """The steps that are not done and whose studies it takes its network from."""
        return [name for name in re.findall(r"--study \{runs\}/(\S+)", self.command) if notes.get(name) != DONE]


def read_plan(path: Path) -> list[Step]:
    """The steps of a plan, in order.

    Raises:
        NasBudgetError: The file cannot be read or is not a plan.
    """
    try:
        steps = [Step(**values) for values in tomllib.loads(path.read_text(encoding="utf-8"))["step"]]
        empty = [step.name for step in steps if not step.command.strip()]
    except OSError as error:
        raise NasBudgetError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NasBudgetError(f"{path}: no plan: each [[step]] has name, shows and command ({error})") from None
    if empty:
        raise NasBudgetError(f"{path}: the command of {empty[0]} is empty")
    return steps


def read_notes(runs: Path) -> Notes:
    """The notes in a folder of runs; empty where there are none."""
    path = runs / NOTES
    notes: Notes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {CALLS: 0}
    return notes


def run_step(step: Step, runs: Path, deadline: float) -> str:
    """Run a step until the deadline; its state."""
    program, *rest = step.words(runs)
    command = [sys.executable, *(["-m", "nas_budget"] if program == "nas-budget" else []), *rest]
    # A process group of its own: Ctrl-C in a terminal then reaches the step only once, through this program.
    process = subprocess.Popen(command, process_group=0)
    try:
        return STATES.get(process.wait(max(0.0, deadline - time.monotonic())), FAILED)
    except subprocess.TimeoutExpired:
        return INTERRUPTED
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a step, and kill what is left of it and of all that it started."""
    try:
        process.send_signal(signal.SIGINT)  # does nothing where it has ended
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_all(steps: list[Step], given: argparse.Namespace, deadline: float) -> int:
    """Run the steps until the deadline, those that failed in an earlier call last; the exit code."""
    runs, notes = given.runs_dir, read_notes(given.runs_dir)
    notes[CALLS] += 1
    for step in sorted(steps, key=lambda step: notes.get(step.name) == FAILED):
        if notes.get(step.name) == DONE or time.monotonic() >= deadline:
            continue
        if waits := step.waits(notes):
            print(f"\n== {step.name}: waits for {', '.join(waits)}", flush=True)
            continue
        print(f"\n== {step.name}: {step.shows}\n$ {shlex.join(step.words(runs))}", flush=True)
        notes[step.name] = INTERRUPTED
        try:
            notes[step.name] = run_step(step, runs, deadline)
        finally:
            write_whole(runs / NOTES, json.dumps(notes, indent=2) + "\n")
            if given.state:
                pack(runs, given.state, given.largest)
        print(f"== {step.name}: {notes[step.name]}", flush=True)
    states = {notes.get(step.name, TO_DO) for step in steps}
    if states == {DONE}:
        return 0
    return 130 if time.monotonic() >= deadline or INTERRUPTED in states else 1


def packed(folder: Path) -> list[Path]:
    """The files that commands resume from; the notes come last."""
    files = [path for path in folder.rglob("*") if path.is_file() and not NOT_PACKED.fullmatch(path.name)]
    return sorted(files, key=lambda path: (path.name == NOTES, path))


def pack(runs: Path, state: Path, largest_mib: float) -> None:
    """Write the folder of runs to one file, without checkpoints over `largest_mib`: their seeds restart elsewhere.

    A file that cannot be written is reported, and the steps continue.
    """
    draft = state.with_name(state.name + ".draft")
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(draft, "w:gz", compresslevel=4) as archive:
            for path in packed(runs):
                if path.suffix == ".safetensors" and path.stat().st_size > largest_mib * 2**20:
                    print(f"NOTE: {path} is larger than {largest_mib:g} MiB and stays here (--largest)", flush=True)
                else:
                    archive.add(path, path.relative_to(runs))
        draft.replace(state)
    except OSError as error:
        print(f"error: {state}: cannot be written ({error.strerror or error})", file=sys.stderr, flush=True)


def unpack(state: Path, runs: Path) -> None:
    """Replace the folder of runs, but for its weights, where the packed one has had more calls.

    Raises:
        NasBudgetError: The file is damaged.
    """
    with TemporaryDirectory() as place:
        try:
            with tarfile.open(state) as archive:
                archive.extractall(place, filter="data")
            newer = read_notes(Path(place))[CALLS] > read_notes(runs)[CALLS]
        except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
            raise NasBudgetError(
                f"{state}: cannot be unpacked ({error}); copy it again, or give another --state"
            ) from None
        if newer:
            # The notes go first and come last, so that a call which is killed in between unpacks again.
            for path in reversed(packed(runs)):
                path.unlink()
            for path in packed(Path(place)):
                target = runs / path.relative_to(place)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)


def print_steps(steps: list[Step], runs: Path) -> None:
    """Print each step, its state and its command."""
    notes = read_notes(runs)
    for step in steps:
        print(f"{step.name}: {step.shows} ({notes.get(step.name, TO_DO)})\n    {shlex.join(step.words(runs))}")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for; `plan` is the steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help="names of steps; all of them unless given")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--minutes", type=float, default=8.0, help="time after which the running step is interrupted")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--state", type=Path, help="a .tar.gz that is read before, and written after each step")
    parser.add_argument("--largest", type=float, default=10.0, help="MiB of the largest checkpoint in the state")
    parser.add_argument("--list", action="store_true", help="print the steps and the state of each")
    given = parser.parse_args(arguments)
    if Path.cwd() != ROOT:
        parser.error(f"the commands of the steps need the project folder as working directory: cd {ROOT}")
    try:
        given.plan = read_plan(given.plan)
    except NasBudgetError as error:
        parser.error(str(error))
    names = [step.name for step in given.plan]
    if unknown := sorted({*given.steps} - {*names}):
        parser.error(f"no step {unknown[0]}; there are {', '.join(names)}")
    return given


def main(arguments: list[str] | None = None, started: float | None = None) -> int:
    """Run what is asked for; the exit code."""
    given = parsed(arguments)
    steps = [step for step in given.plan if step.name in (given.steps or [step.name])]
    deadline = (time.monotonic() if started is None else started) + 60 * given.minutes
    given.runs_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(given.runs_dir / ".lock", timeout=0):
            if given.state and given.state.exists():
                unpack(given.state, given.runs_dir)
            if not given.list:
                return run_all(steps, given, deadline)
            print_steps(steps, given.runs_dir)
            return 0
    except Timeout:
        print(f"error: {given.runs_dir}: another process runs these steps; wait for it", file=sys.stderr)
    except NasBudgetError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(started=STARTED))
