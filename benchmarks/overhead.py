"""What a search costs beside training: trials of nothing, ours against plain Optuna with the same coordinates.

    python benchmarks/overhead.py [trials] [sampler] [workers]

Both keep a journal in a folder of their own. Ours also counts, keeps to the budget, remembers what was tried, and
writes each trial's files and the table.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas_budget.arch.spec import ResNetSpec
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.optuna_samplers import distribution
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers.events import Event
from nas_budget.search.workers.process_pool import run_processes
from nas_budget.search.workers.search_runner import Phase, Search
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.engine.loop import EpochResult


class NoTrainer:
    """Trains nothing."""

    device = precision = "none"

    def latency_s(self, spec: ResNetSpec) -> None:
        """Nothing runs that could be timed."""

    def train(self, candidate: Candidate, seed: int) -> Iterator[EpochResult]:
        """One epoch of nothing, with an accuracy that follows the widths."""
        yield EpochResult(1, 1.0, min(0.99, sum(candidate.spec.channels) / 4_000 + seed), 1.0, 0.0, 0.0)

    def release(self) -> None:
        """Nothing is held."""


def settings_of(n_trials: int, sampler: str) -> StudyConfig:
    """A study of the default space."""
    given: dict[str, Any] = {
        "space.blocks": [1, 4], "space.first_stride": 1, "budget.macs": "none", "recipe.epochs": 1, "search.queue": [],
        "search.trials": n_trials, "search.sampler": sampler, "search.pruner": "none", "search.device": "cpu",
    }  # fmt: skip
    images = Dataset("cifar10", tuple("0123456789"), 32, 3, 50_000, 10_000, "", "", lambda part: (part, part))
    return resolve("nothing", read_study_file(None, given), torch.device("cpu"), images)


def ours(folder: Path, settings: StudyConfig) -> None:
    """Every trial in this process."""
    for _ in Search(settings, NoTrainer(), folder).events():
        pass


def plain(folder: Path, settings: StudyConfig, n_trials: int | None = None) -> None:
    """The same number of trials by `study.optimize`, with as many coordinates."""
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    study = optuna.create_study(
        study_name="plain", storage=JournalStorage(JournalFileBackend(str(folder / "journal"))), direction="maximize",
        sampler=samplers[settings.sampler](seed=os.getpid()), load_if_exists=True,
    )  # fmt: skip
    distributions = {d.name: distribution(d) for d in settings.space.dimensions()}

    def objective(trial: optuna.Trial) -> float:
        values = [trial._suggest(name, kind) for name, kind in distributions.items()]
        return sum(value for value in values if isinstance(value, float))

    study.optimize(objective, n_trials=n_trials or settings.trials)


class Nothing(Phase):
    """The part of a search that its workers do, training nothing."""

    def __call__(self, number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """The events of a worker."""
        del should_stop
        quiet_optuna()
        yield from self.events(NoTrainer(), number)


def ours_at_once(folder: Path, settings: StudyConfig, n_workers: int) -> None:
    """The trials by so many processes."""
    Search(settings, NoTrainer(), folder)
    for _ in run_processes(Nothing(settings, folder, None, None, of_finalists=False), n_workers, lambda: False):
        pass


def plain_at_once(folder: Path, settings: StudyConfig, n_workers: int) -> None:
    """The trials by so many processes of plain Optuna."""
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"), initializer=quiet_optuna) as pool:
        share = settings.trials // n_workers
        for future in [pool.submit(plain, folder, settings, share) for _ in range(n_workers)]:
            future.result()


def seconds(run: Callable[..., None], *arguments: Any) -> float:
    """Seconds a trial takes, of a run in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(Path(folder), *arguments)
        return time.perf_counter() - start


def main() -> None:
    """Print the comparison."""
    n_trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    sampler = sys.argv[2] if len(sys.argv) > 2 else "random"
    n_workers = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    quiet_optuna()
    settings = settings_of(n_trials, sampler)
    print(
        f"{n_trials:,} trials of nothing, sampler {sampler}, {n_workers} workers, {os.cpu_count()} cores, "
        f"optuna {version('optuna')}; milliseconds a trial",
        flush=True,
    )
    if n_workers == 1:
        theirs, own = seconds(plain, settings), seconds(ours, settings)
    else:
        theirs, own = seconds(plain_at_once, settings, n_workers), seconds(ours_at_once, settings, n_workers)
    print(f"plain Optuna {1e3 * theirs / n_trials:8.2f}")
    print(f"ours         {1e3 * own / n_trials:8.2f}   {own / theirs:.2f} times")


if __name__ == "__main__":
    main()
