"""How many of the package's files and functions one trial passes through.

    python benchmarks/trial_path.py [--list]

One trial: from the worker's question what to train next until the trial's row is in `trials.csv`, well inside a study
that runs. Training is left out of the first count: `train/`, and the adapter that hands candidates to it. The second
count has it. The third is a whole `nas-budget search` of one trial, its plan, page and printed result included.
Functions are counted as `sys.setprofile` sees them called; comprehensions and lambdas do not count as functions.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import nas_budget
from nas_budget.cli import main as command
from nas_budget.search import search
from nas_budget.search.workers.events import Event, TrialFinished

PACKAGE = Path(nas_budget.__file__).parent
TRAINING = ("train/", "search/workers/trainer.py")
STUDY: Mapping[str, Mapping[str, Any]] = {
    "budget": {"params": "20k"},
    "space": {"width": [4, 8]},
    "data": {"name": "shapes", "images": 100, "validation_images": 50},
    "recipe": {"epochs": 2, "batch_size": 50},
    "search": {"trials": 8, "n_startup_trials": 4, "sampler": "random"},
}
N_BEFORE = 6
"""Trials that have ended before the one that is followed: the sampler is asked by then."""

Called = dict[str, set[str]]
"""Functions called, by file."""


class Profile:
    """Counts the package's functions that are called between `start` and `stop`."""

    def __init__(self) -> None:
        self.called: Called = {}

    def start(self) -> None:
        """Count from now on."""
        sys.setprofile(self._see)

    def stop(self) -> None:
        """Count no longer."""
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{PACKAGE}/") and code.co_name != "<module>":
            self.called.setdefault(Path(code.co_filename).relative_to(PACKAGE).as_posix(), set()).add(code.co_name)


def one_trial() -> Called:
    """What one trial of a study under way calls."""
    profile, n_ended = Profile(), 0

    def follow(event: Event) -> None:
        nonlocal n_ended
        n_ended += isinstance(event, TrialFinished)
        if n_ended == N_BEFORE:
            profile.start()
        elif n_ended > N_BEFORE:
            profile.stop()

    with tempfile.TemporaryDirectory() as folder:
        search(STUDY, runs_dir=folder, on_event=follow)
    return profile.called


def whole_command() -> Called:
    """What `nas-budget search` of one trial calls."""
    profile = Profile()
    keys = {"space.width": "[4,8]", "data.validation_images": 50, "recipe.batch_size": 50}
    options = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    with tempfile.TemporaryDirectory() as folder, quiet():
        profile.start()
        command(
            ["search", "--data", "shapes", "--images", "100", "--epochs", "2", "--trials", "1", "--budget", "20k",
             "--runs-dir", folder, *options]
        )  # fmt: skip
        profile.stop()
    return profile.called


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed within it."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def without_training(called: Called) -> Called:
    """Without the files that train."""
    return {file: names for file, names in called.items() if not file.startswith(TRAINING)}


def line(what: str, called: Called) -> str:
    """One count as a line."""
    n = sum(not name.rpartition(".")[2].startswith("<") for names in called.values() for name in names)
    return f"{what:38} {len(called):3} files, {n:3} functions"


def main() -> None:
    """Print the three counts, and with --list the files of the first."""
    trial, whole = one_trial(), whole_command()
    print(line("one trial, without training", without_training(trial)))
    print(line("one trial, with training", trial))
    print(line("nas-budget search --trials 1, all of it", whole))
    if "--list" in sys.argv:
        for file, names in sorted(without_training(trial).items()):
            print(f"  {file}: {', '.join(sorted(names))}")


if __name__ == "__main__":
    main()
