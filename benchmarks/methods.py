"""Ways to search, each on the table of trainings: ours and those it is compared with."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import torch
from spending import EPOCHS, SPENT, Spending, Table
from trainings import BUDGET, SPACE

from nas_budget import ResNetSpec
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.workers.search_runner import Search
from nas_budget.space.spec_factory import make_spec
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.engine.loop import EpochResult

OPTIONS = {
    "pool": "global", "stem_kernel": 3, "shortcut_kernel": 1, "block": "basic", "se_reduction": 0, "stem_width": 0,
}  # fmt: skip
Method = Callable[[Table, int], Spending]


class TableTrainer:
    """Gives the epochs of the table instead of training."""

    device, precision = "the table of trainings", "fp32"

    def __init__(self, table: Table, spending: Spending) -> None:
        self.table = table
        self.spending = spending

    def latency_s(self, spec: ResNetSpec) -> None:
        """Nothing runs that could be timed."""

    def train(self, candidate: Candidate, seed: int) -> Iterator[EpochResult]:
        """The epochs of the candidate's training; the table has one seed."""
        del seed
        row = self.table[candidate.spec]
        for epoch in self.spending.train(candidate.spec, self.table):
            i = epoch - 1
            yield EpochResult(
                epoch, row.train_loss[i], row.accuracy[i], row.validation_loss[i], 0.0, row.seconds / EPOCHS
            )

    def release(self) -> None:
        """Nothing is held."""


def ours(table: Table, seed: int, **changes: Any) -> Spending:
    """This package's search with its default settings."""
    spending = Spending()
    with tempfile.TemporaryDirectory() as folder:
        search = Search(settings_of(seed, changes), TableTrainer(table, spending), Path(folder))
        for _ in search.events():
            if spending.over:
                break
    spending.proposed = spending.fitting = len(spending.started)
    return spending


def settings_of(seed: int, changes: dict[str, Any]) -> Any:
    """The settings of a study of the table's space."""
    space = {
        name: getattr(SPACE, name)
        for name in (
            "stages",
            "blocks",
            "kernels",
            "pool",
            "shortcut_kernel",
            "first_stride",
            "width",
            "width_step",
            "growth",
            "fill",
        )
    }
    given: dict[str, Any] = {
        f"space.{name}": list(value) if isinstance(value, tuple) else value for name, value in space.items()
    }
    given |= {
        "budget.params": BUDGET.params,
        "budget.macs": BUDGET.macs,
        "recipe.name": "brief",
        "recipe.epochs": EPOCHS,
        "search.seed": seed,
        "search.trials": 100,
        "search.device": "cpu",
    }
    given |= {f"search.{key}": value for key, value in changes.items()}
    images = Dataset("cifar10", tuple("0123456789"), 32, 3, 50_000, 10_000, "", "", lambda _: (_, _))
    return resolve("table", read_study_file(None, given), torch.device("cpu"), images)


def usual(table: Table, seed: int) -> Spending:
    """The usual recipe: each width and block count on its own, pruned when over budget, TPE and MedianPruner."""
    spending = Spending()

    def objective(trial: optuna.Trial) -> float:
        low, high = SPACE.width
        widths = [trial.suggest_int(f"width_{i}", low, high, step=SPACE.width_step) for i in (1, 2, 3)]
        blocks = [trial.suggest_int(f"blocks_{i}", *SPACE.blocks) for i in (1, 2, 3)]
        spec = make_spec(SPACE, widths, blocks, (3, 3, 3), (2, 2, 2), OPTIONS)
        spending.proposed += 1
        if not BUDGET.check(spec).fits:
            raise optuna.TrialPruned
        spending.fitting += 1
        for epoch in spending.train(spec, table):
            trial.report(table[spec].accuracy[epoch - 1], epoch)
            if epoch < EPOCHS and trial.should_prune():
                raise optuna.TrialPruned
        return table[spec].accuracy[-1]

    sampler, pruner = optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    while not spending.over:
        study.optimize(objective, n_trials=1)
    return spending


def random_fitting(table: Table, seed: int) -> Spending:
    """Networks that fit, drawn evenly and without repetition, each trained to its end."""
    spending = Spending()
    for spec in drawn(table, seed):
        for _ in spending.train(spec, table):
            pass
        if spending.over:
            break
    return finished(spending)


def one_epoch(table: Table, seed: int) -> Spending:
    """One epoch of each of many networks that fit, then the better ones to their end."""
    spending, n_kept = Spending(), SPENT // (2 * EPOCHS)
    tried = drawn(table, seed)[: SPENT - n_kept * (EPOCHS - 1)]
    for spec in tried:
        next(spending.train(spec, table))
    for spec in sorted(tried, key=lambda spec: -table[spec].accuracy[0])[:n_kept]:
        for _ in spending.train(spec, table, first=2):
            pass
    return finished(spending)


def finished(spending: Spending) -> Spending:
    """The spending of a method that proposes only what fits."""
    spending.proposed = spending.fitting = len(spending.started)
    return spending


def drawn(table: Table, seed: int) -> list[ResNetSpec]:
    """Every network of the table in a random order."""
    return random.Random(seed).sample([*table], len(table))


def changed(**changes: Any) -> Method:
    """Ours with other settings of `[search]`."""
    return lambda table, seed: ours(table, seed, **changes)


CHOICES: dict[str, Method] = {
    "default: sampler tpe, pruner front by loss": ours,
    "sampler gp": changed(sampler="gp"),
    "sampler nsga2": changed(sampler="nsga2"),
    "sampler evolution": changed(sampler="evolution"),
    "sampler random": changed(sampler="random"),
    "pruner front by accuracy": changed(pruner_metric="accuracy"),
    "rungs 1, 2 and 4": changed(rungs=[1, 2, 4]),
    "rungs 2 and 4": changed(rungs=[2, 4]),
    "pruner median": changed(pruner="median"),
    "pruner halving": changed(pruner="halving"),
    "pruner hyperband": changed(pruner="hyperband"),
    "pruner none": changed(pruner="none"),
}
"""Ours with one setting changed."""

METHODS: dict[str, Method] = {
    "ours": ours,
    "usual": usual,
    "random": random_fitting,
    "one epoch, top K": one_epoch,
}
