"""What a search costs beside training: trials of nothing, ours against plain Optuna with the same coordinates.

    TMPDIR=/dev/shm python benchmarks/overhead.py [trials] [rounds]     in memory: a disk's state changes the times

Two pairs: the default of each (bayes against TPE), and random proposals. All keep a journal in a folder of their own.
Ours also counts, keeps to the budget, remembers what was tried, prunes nothing, and writes each trial's files and the
table. Each run has a process of its own; the two of a pair take turns, and the least of the rounds is printed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import torch
from harness import print_table
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.trials import EpochResult
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.sampler import distribution
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers.search_runner import Search
from nas_budget.search.workers.trainer import CandidateTraining, Kept
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.engine.process import child_environment

PAIRS = (("bayes", optuna.samplers.TPESampler), ("random", optuna.samplers.RandomSampler))


class NoTrainer:
    """Trains nothing."""

    device = precision = "none"

    def latency_s(self, spec: ResNetSpec) -> None:
        """Nothing runs that could be timed."""

    def train(self, candidate: Candidate, seeds: Sequence[int], kept: Kept | None = None) -> CandidateTraining:
        """One epoch of nothing, with an accuracy that follows the widths."""
        del seeds, kept
        return CandidateTraining(
            iter([EpochResult(1, 1.0, min(0.99, sum(candidate.spec.channels) / 4_000), 1.0, 0.0, 0.0)])
        )

    def release(self) -> None:
        """Nothing is held."""


def settings_of(n_trials: int, sampler: str, changes: Mapping[str, Any] | None = None) -> StudyConfig:
    """A study of the default space."""
    given: dict[str, Any] = {
        "space.first_stride": 1, "recipe.epochs": 1, "search.queue": [], "search.aim": "front", "search.proxy": "none",
        "search.trials": n_trials, "search.sampler": sampler, "search.pruner": "none", "search.device": "cpu",
    }  # fmt: skip
    images = Dataset("cifar10", tuple("0123456789"), 32, 3, 50_000, 10_000, "", "", lambda part: (part, part))
    return resolve("nothing", read_study_file(None, given | dict(changes or {})), torch.device("cpu"), images)


def ours(folder: Path, settings: StudyConfig) -> None:
    """The trials of a search."""
    for _ in Search(settings, NoTrainer(), folder).events():
        pass


def plain(folder: Path, settings: StudyConfig, sampler: optuna.samplers.BaseSampler) -> None:
    """The same number of trials by `study.optimize`, with as many coordinates."""
    storage = JournalStorage(JournalFileBackend(str(folder / "journal")))
    study = optuna.create_study(storage=storage, direction="maximize", sampler=sampler)
    distributions = {d.name: distribution(d) for d in settings.space.dimensions()}

    def objective(trial: optuna.Trial) -> float:
        values = [trial._suggest(name, kind) for name, kind in distributions.items()]
        return sum(value for value in values if isinstance(value, float))

    study.optimize(objective, n_trials=settings.trials)


def alone(run: Callable[..., None], *arguments: Any) -> tuple[float, int, float]:
    """What a run takes in a process of its own, set up as the command line's."""
    with child_environment(), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(spent, run, *arguments).result()


def spent(run: Callable[..., None], *arguments: Any) -> tuple[float, int, float]:
    """Processor seconds, fsyncs and seconds that a run takes in a new folder."""
    quiet_optuna()
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync", side_effect=os.fsync) as fsync:
        start, processor = time.perf_counter(), time.process_time()
        run(Path(folder), *arguments)
        return time.process_time() - processor, fsync.call_count, time.perf_counter() - start


def main() -> None:
    """Print the comparison."""
    n_trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    n_rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    rows = []
    for name, sampler in PAIRS:
        settings = settings_of(n_trials, name)
        rounds = [(alone(plain, settings, sampler(seed=0)), alone(ours, settings)) for _ in range(n_rounds)]
        # Other work on the machine only ever adds, so the least of the rounds is nearest to what a run takes.
        theirs, own = (tuple(map(min, zip(*runs, strict=True))) for runs in zip(*rounds, strict=True))
        for label, (processor, syncs, wall) in ((f"Optuna, {sampler.__name__}", theirs), (f"ours, {name}", own)):
            each = (f"{1e3 * processor / n_trials:.2f}", f"{syncs / n_trials:.1f}", f"{1e3 * wall / n_trials:.2f}")
            rows.append((label, *each, f"{processor / theirs[0]:.2f}"))
    print(f"{n_trials:,} trials of nothing, {os.cpu_count()} cores, optuna {version('optuna')}; a trial takes")
    print_table(("", "processor ms", "fsyncs", "ms", "processor time, of Optuna's"), rows)


if __name__ == "__main__":
    main()
