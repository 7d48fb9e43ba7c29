"""How much training a search needs: ours against others, on the table of real trainings in `trainings.csv`.

    python benchmarks/search.py [seeds] [page.html]
    python benchmarks/search.py choices [seeds]

The second compares ours with itself, one setting changed at a time, on other seeds: what is chosen on some seeds is
reported on others. Every method runs as it would on a device, but each epoch is read from the table. All get the same
number of epochs.
"""

from __future__ import annotations

import csv
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from harness import print_table
from plotly.subplots import make_subplots
from trainings import BUDGET, RECIPE, SPACE, TABLE, every_spec, joined

from nas_budget import ResNetSpec
from nas_budget.records.trials import EpochResult
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers.search_runner import Search
from nas_budget.search.workers.trainer import CandidateTraining, Kept
from nas_budget.space.space import OPTIONS
from nas_budget.space.spec_factory import make_spec
from nas_budget.train.data.dataset import Dataset

EPOCHS = RECIPE.epochs
ACCURACIES = (43, 50)
"""Percent that the figure shows; nothing finished, which is 0, is below it."""
SPENT = 240
"""Epochs each method may spend: thirty whole trainings."""
COLORS = ("#2563eb", "#60a5fa", "#dc2626", "#f87171", "#6b7280", "#d97706")
IMAGES = Dataset("cifar10", tuple("0123456789"), 32, 3, 50_000, 10_000, "", "", lambda part: (part, part))


@dataclass(frozen=True)
class Training:
    """A row of the table."""

    params: int
    accuracy: tuple[float, ...]
    validation_loss: tuple[float, ...]
    train_loss: tuple[float, ...]


Table = dict[ResNetSpec, Training]


def read_trainings() -> Table:
    """The first training of each network of the space."""
    with TABLE.open(newline="") as file:
        rows = {(r["channels"], r["blocks"]): r for r in csv.DictReader(file) if r["part"] == "full"}
    return {spec: training_of(rows[joined(spec.channels), joined(spec.blocks)]) for spec in every_spec()}


def training_of(row: dict[str, str]) -> Training:
    """A row from its text."""
    curves = (tuple(map(float, row[name].split())) for name in ("accuracy", "validation_loss", "train_loss"))
    return Training(int(row["params"]), *curves)


@dataclass
class Spending:
    """What a run of a method has spent and found.

    Attributes:
        epochs: Paid for so far.
        found: Epochs paid for, parameters and accuracy, for each training that went to its end.
        started: Networks whose training began, in order.
        n_over_budget: Networks proposed that are over the budget.
    """

    epochs: int = 0
    found: list[tuple[int, int, float]] = field(default_factory=list)
    started: list[ResNetSpec] = field(default_factory=list)
    n_over_budget: int = 0

    @property
    def over(self) -> bool:
        """Whether all epochs are spent."""
        return self.epochs >= SPENT

    def train(self, spec: ResNetSpec, table: Table, first: int = 1) -> Iterator[int]:
        """The epochs of a training as they are paid for, from `first` to the last."""
        if first == 1:
            self.started.append(spec)
        for epoch in range(first, EPOCHS + 1):
            if self.over:
                return
            self.epochs += 1
            if epoch == EPOCHS:
                self.found.append((self.epochs, table[spec].params, table[spec].accuracy[-1]))
            yield epoch


Method = Callable[[Table, int], Spending]


class TableTrainer:
    """Gives the epochs of the table instead of training."""

    device, precision = "the table of trainings", "fp32"

    def __init__(self, table: Table, spending: Spending) -> None:
        self.table, self.spending = table, spending

    def latency_s(self, spec: ResNetSpec) -> None:
        """Nothing runs that could be timed."""

    def train(self, candidate: Candidate, seeds: Sequence[int], kept: Kept | None = None) -> CandidateTraining:
        """The epochs of the candidate's training, which the table has with one seed."""
        del seeds, kept
        row = self.table[candidate.spec]
        return CandidateTraining(
            EpochResult(epoch, row.train_loss[i], row.accuracy[i], row.validation_loss[i], 0.0, 0.0)
            for i, epoch in enumerate(self.spending.train(candidate.spec, self.table))
        )

    def release(self) -> None:
        """Nothing is held."""


def ours(table: Table, seed: int, **changes: Any) -> Spending:
    """This package's search with its defaults, but for the changes of `[search]`."""
    spending = Spending()
    space = {
        name: value for name, value in asdict(SPACE).items() if name not in ("image_size", "in_channels", "classes")
    }
    given = {f"space.{name}": list(value) if isinstance(value, tuple) else value for name, value in space.items()}
    given |= {"budget.params": BUDGET.params, "budget.macs": BUDGET.macs, "recipe.name": "brief"}
    given |= {"recipe.epochs": EPOCHS, "search.seed": seed, "search.trials": 100, "search.device": "cpu"}
    given |= {"search.aim": "front", "search.proxy": "none", "search.workers": 1}
    given |= {f"search.{key}": value for key, value in changes.items()}
    settings = resolve("table", read_study_file(None, given), torch.device("cpu"), IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        for _ in Search(settings, TableTrainer(table, spending), Path(folder)).events():
            if spending.over:
                break
    return spending


def usual(table: Table, seed: int, cached: bool = False) -> Spending:
    """The usual recipe: each width and block count on its own, pruned when over budget, TPE and MedianPruner.

    A network that is proposed again is trained again, or, with a cache, has the result that it had, at no cost.
    """
    spending, cache = Spending(), dict[ResNetSpec, tuple[float, bool]]()
    options = {name: getattr(SPACE, name)[0] for name in OPTIONS}

    def objective(trial: optuna.Trial) -> float:
        widths = [trial.suggest_int(f"width_{i}", *SPACE.width, step=SPACE.width_step) for i in (1, 2, 3)]
        blocks = [trial.suggest_int(f"blocks_{i}", *SPACE.blocks) for i in (1, 2, 3)]
        spec = make_spec(SPACE, widths, blocks, (3, 3, 3), (0, 0, 0), (2, 2, 2), options)
        if not BUDGET.check(spec).fits:
            spending.n_over_budget += 1
            raise optuna.TrialPruned
        if not (cached and spec in cache):
            cache[spec] = train(trial, spec)
        accuracy, pruned = cache[spec]
        if pruned:
            raise optuna.TrialPruned
        return accuracy

    def train(trial: optuna.Trial, spec: ResNetSpec) -> tuple[float, bool]:
        accuracy = 0.0
        for epoch in spending.train(spec, table):
            accuracy = table[spec].accuracy[epoch - 1]
            trial.report(accuracy, epoch)
            if epoch < EPOCHS and trial.should_prune():
                return accuracy, True
        return accuracy, False

    sampler, pruner = optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    while not spending.over:
        study.optimize(objective, n_trials=1)
    return spending


def random_fitting(table: Table, seed: int) -> Spending:
    """Networks that fit, drawn evenly and without repetition, each trained to its end."""
    spending = Spending()
    for spec in drawn(table, seed)[: SPENT // EPOCHS]:
        list(spending.train(spec, table))
    return spending


def one_epoch(table: Table, seed: int) -> Spending:
    """One epoch of each of many networks that fit, then those of the least training loss to their end."""
    spending, n_kept = Spending(), SPENT // (2 * EPOCHS)
    tried = drawn(table, seed)[: SPENT - n_kept * (EPOCHS - 1)]
    for spec in tried:
        next(spending.train(spec, table))
    for spec in sorted(tried, key=lambda spec: table[spec].train_loss[0])[:n_kept]:
        list(spending.train(spec, table, first=2))
    return spending


def drawn(table: Table, seed: int) -> list[ResNetSpec]:
    """Every network of the table in a random order."""
    return random.Random(seed).sample([*table], len(table))


METHODS: dict[str, Method] = {
    "ours": ours, "ours, tpe": partial(ours, sampler="tpe"), "usual": usual,
    "usual, repeats free": partial(usual, cached=True), "random": random_fitting, "one epoch, top K": one_epoch,
}  # fmt: skip
CHOICES: dict[str, Method] = {
    "default: bayes, front by loss": ours,
    "aim best": partial(ours, aim="best"),
    **{f"sampler {name}": partial(ours, sampler=name) for name in ("tpe", "gp", "nsga2", "evolution", "random")},
    "pruner front by accuracy": partial(ours, pruner_metric="accuracy"),
    "rungs 1, 2, 3 and 5": partial(ours, rungs=[1, 2, 3, 5]),
    **{f"pruner {name}": partial(ours, pruner=name) for name in ("median", "halving", "hyperband", "none")},
}
"""Ours with one setting changed."""
CHOOSING_FROM, REPORTING_FROM = 1_000, 3_000
"""First seeds of those that choices are made on, and of those that are reported and never were looked at before."""
FORMER_DEFAULT = 48.83
"""Accuracy in percent that the default before the model reached after 240 epochs (60 seeds)."""


def best_curve(spending: Spending) -> np.ndarray:
    """Best accuracy so far after each epoch, (SPENT + 1,); 0 where nothing is trained."""
    curve = np.zeros(SPENT + 1)
    for epochs, _, accuracy in spending.found:
        curve[epochs:] = np.maximum(curve[epochs:], accuracy)
    return curve


def hypervolume_curve(spending: Spending, table: Table) -> np.ndarray:
    """Hypervolume of the front of accuracy against parameters after each epoch, (SPENT + 1,).

    The mean over sizes, on a log scale from the smallest network to the budget, of the best accuracy of at most that
    size, minus the worst accuracy of the table.
    """
    worst, least = min(row.accuracy[-1] for row in table.values()), min(row.params for row in table.values())
    sizes = np.linspace(log(least), log(BUDGET.params or 1), 400)
    best, curve = np.full(len(sizes), worst), np.zeros(SPENT + 1)
    for epochs, params, accuracy in spending.found:
        best = np.where(sizes >= log(params), np.maximum(best, accuracy), best)
        curve[epochs:] = (best - worst).mean()
    return curve


@dataclass(frozen=True)
class Outcome:
    """The runs of one method: a curve a seed, in percent, and what each run spent."""

    best: np.ndarray
    hypervolume: np.ndarray
    spendings: list[Spending]


def outcome(method: Method, table: Table, seeds: range) -> Outcome:
    """The runs of a method, with the hypervolume as a share of that of the whole table."""
    whole = Spending(found=[(0, row.params, row.accuracy[-1]) for row in table.values()])
    spendings = [method(table, seed) for seed in seeds]
    volumes = np.array([hypervolume_curve(spending, table) for spending in spendings])
    best = np.array([best_curve(spending) for spending in spendings])
    return Outcome(100 * best, 100 * volumes / hypervolume_curve(whole, table)[-1], spendings)


def interval(values: np.ndarray) -> np.ndarray:
    """Half of the width of the 95 % interval of the mean over the first axis."""
    half: np.ndarray = 1.96 * values.std(axis=0, ddof=1) / len(values) ** 0.5
    return half


def reached(curves: np.ndarray, goal: float) -> str:
    """Epochs after which the mean of the curves is at least the goal."""
    there = np.flatnonzero(curves.mean(axis=0) >= goal)
    return str(there[0]) if len(there) else f"over {SPENT}"


def behind(curves: np.ndarray, others: np.ndarray) -> str:
    """The epochs, from the first whole training on, at which curves are behind others by more than the paired interval.

    Run by run the difference of the same seed counts.
    """
    differences = (curves - others)[:, EPOCHS:]
    where = np.flatnonzero(differences.mean(axis=0) + interval(differences) < 0) + EPOCHS
    return f"{where[0]} to {where[-1]}" if len(where) else "never"


def print_outcomes(outcomes: dict[str, Outcome]) -> None:
    """What each method reached, and what it took."""
    rows = []
    for name, o in outcomes.items():
        n_trained = sum(len(s.started) for s in o.spendings)
        fits = n_trained / (n_trained + sum(s.n_over_budget for s in o.spendings))
        twice = np.mean([len(s.started) - len(set(s.started)) for s in o.spendings])
        best = f"{o.best[:, -1].mean():.2f} ± {interval(o.best)[-1]:.2f}"
        volume = f"{o.hypervolume[:, -1].mean():.1f} ± {interval(o.hypervolume)[-1]:.1f}"
        row = (name, best, volume, f"{100 * fits:.0f}", f"{twice:.1f}")
        if goal := outcomes.get("usual"):
            goals = (goal.best[:, -1].mean(), FORMER_DEFAULT)
            row += (*(reached(o.best, g) for g in goals), reached(o.hypervolume, goal.hypervolume[:, -1].mean()))
        if by_chance := outcomes.get("random"):
            row += (behind(o.best, by_chance.best), behind(o.hypervolume, by_chance.hypervolume))
        rows.append(row)
    head = ("method", "best accuracy, %", "hypervolume, %", "fits, %", "trained twice")
    if "usual" in outcomes:
        head += ("epochs to usual's accuracy", f"... to {FORMER_DEFAULT} %", "... to usual's hypervolume")
    if "random" in outcomes:
        head += ("behind random in accuracy, epochs", "... in hypervolume")
    print_table(head, rows)


def plot(outcomes: dict[str, Outcome], path: Path) -> None:
    """Both curves of each method with their 95 % bands, from epoch 0 on, as a page; 0 where nothing has ended."""
    figure = make_subplots(1, 2, subplot_titles=("best accuracy, %", "hypervolume of the front, % of the table's"))
    epochs = np.arange(SPENT + 1)
    for (name, o), color in zip(outcomes.items(), COLORS, strict=True):
        for column, curves in enumerate((o.best, o.hypervolume), start=1):
            mean, half = curves.mean(axis=0), interval(curves)
            band = {"x": [*epochs, *epochs[::-1]], "y": [*(mean + half), *(mean - half)[::-1]]}
            looks = {"fill": "toself", "line_width": 0, "fillcolor": color, "opacity": 0.2, "hoverinfo": "skip"}
            figure.add_scatter(**band, **looks, showlegend=False, row=1, col=column)
            line = {"name": name, "line_color": color, "showlegend": column == 1}
            figure.add_scatter(x=epochs, y=mean, **line, row=1, col=column)
    figure.update_xaxes(title_text="epochs trained", range=[0, SPENT])
    figure.update_yaxes(range=ACCURACIES, row=1, col=1)
    figure.update_layout(template="plotly_white", width=1100, height=440, legend={"orientation": "h", "y": -0.2})
    figure.write_html(path)


def main() -> None:
    """Run every method with every seed, print the comparison, draw it."""
    arguments = [argument for argument in sys.argv[1:] if argument != "choices"]
    choosing = "choices" in sys.argv
    methods, first = (CHOICES, CHOOSING_FROM) if choosing else (METHODS, REPORTING_FROM)
    seeds = range(first, first + (int(arguments[0]) if arguments else 20))
    quiet_optuna()
    table = read_trainings()
    best = max(row.accuracy[-1] for row in table.values())
    print(
        f"{len(table)} networks of at most {BUDGET}; the best reaches {best:.2%}; {SPENT} epochs each, "
        f"seeds {seeds[0]} to {seeds[-1]}; 95 % intervals; optuna {optuna.__version__}"
    )
    outcomes = {name: outcome(method, table, seeds) for name, method in methods.items()}
    print_outcomes(outcomes)
    if len(arguments) > 1:
        plot(outcomes, Path(arguments[1]))


if __name__ == "__main__":
    main()
