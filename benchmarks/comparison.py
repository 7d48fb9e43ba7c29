"""This package's search against the usual Optuna recipe, on the same device for the same time.

    python benchmarks/comparison.py STUDY.toml --device-time 20m [--seeds 3] [--device cuda] [--data NAME]
        [--images N] [--set section.key=value ...] [--output FOLDER]

Ours is `nas-budget search STUDY.toml` without queued networks, as the usual recipe has none. The usual recipe is
`study.optimize` with TPE and MedianPruner: each width, block count and whatever else the space leaves open is
suggested on its own. A network over the budget is pruned untrained, and one proposed again is trained again. Images,
recipe, device and trainer are the same. So are the ranges, but for growth and fill, which one suggestion at a time
cannot keep. Widths are drawn on a log scale, as the space does in effect: of the networks of studies/cifar10-5m.toml
so drawn one in four fits, on a linear scale one in seventy.

Time is that of building, training and evaluating. Ours pays for measuring latency too. A training that ends after the
time is over does not count. Accuracy is that on validation images after the last epoch. The area is that under the
front: the mean over sizes, on a log scale from the least share of the budget that the study asks for up to the budget,
of the best accuracy of at most that size, above guessing.

The methods take turns, seed by seed. With --output each run that has ended is kept in FOLDER/comparison.json. The same
command resumes with the next run, on the same device only.

Exit codes: 0 done, 1 runs failed, 2 wrong usage or another device, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import product
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from harness import Figure, Results, print_table, run_to_end
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import Trial

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.options.study import parse_assignment, toml_value
from nas_budget.errors import StoppedError, UsageError
from nas_budget.records.trials import EpochResult
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.open_study import Opened, open_search
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.workers.search_runner import Search, torch_trainer
from nas_budget.search.workers.trainer import CandidateTraining, Kept, TorchTrainer
from nas_budget.space.dimensions import Dimension
from nas_budget.space.space import OPTIONS
from nas_budget.space.spec_factory import make_spec, smallest_specs, width_grid
from nas_budget.train.engine.device import describe_device

ONLY_TIME_ENDS: dict[str, Any] = {
    "search.trials": 1_000_000, "search.finalists": 0, "search.workers": 1, "search.storage": "journal",
    "search.proxy": "none", "search.queue": [], "search.timeout": "none", "search.patience": "none",
    "search.target": "none",
}  # fmt: skip
SHARES = (25, 50, 75, 100)
"""Percent of the time after which the methods are compared."""
Found = Sequence[tuple[float, int, float]]
"""Device seconds, parameters and accuracy at the end of each whole training."""


class TimedTrainer:
    """Trains as a search does, measures the time, and ends the run when it is over.

    Attributes:
        seconds: Device seconds so far.
        found: The whole trainings.
        started: The candidates whose training began.
        n_over_budget: Networks proposed that are over the budget.
    """

    def __init__(self, trainer: TorchTrainer, limit_s: float) -> None:
        self.trainer, self.limit_s = trainer, limit_s
        self.device, self.precision, self.release = trainer.device, trainer.precision, trainer.release
        self.seconds, self.n_over_budget = 0.0, 0
        self.found: list[tuple[float, int, float]] = []
        self.started: list[Candidate] = []

    def timed(self, work: Callable[[], Any]) -> Any:
        """The result of some work, whose time counts."""
        start = time.perf_counter()
        result = work()
        self.seconds += time.perf_counter() - start
        if self.seconds > self.limit_s:
            raise StoppedError("the time is over")
        return result

    def latency_s(self, spec: ResNetSpec) -> float:
        """Seconds of one image through a network."""
        return float(self.timed(lambda: self.trainer.latency_s(spec)))

    def train(self, candidate: Candidate, seeds: Sequence[int], kept: Kept | None = None) -> CandidateTraining:
        """Train a candidate, timed."""
        self.started.append(candidate)
        training = self.timed(lambda: self.trainer.train(candidate, seeds, kept))
        return replace(training, left=self._timed_epochs(candidate, training.left))

    def _timed_epochs(self, candidate: Candidate, epochs: Iterator[EpochResult]) -> Iterator[EpochResult]:
        while result := self.timed(lambda: next(epochs, None)):
            if result.epoch == candidate.recipe.epochs:
                self.found.append((self.seconds, cost(candidate.spec).params, result.accuracy))
            yield result


def ours(settings: StudyConfig, trainer: TimedTrainer) -> None:
    """Search until the time is over."""
    with tempfile.TemporaryDirectory() as folder, closing(Search(settings, trainer, Path(folder)).events()) as events:
        for _ in events:
            pass


def usual(settings: StudyConfig, trainer: TimedTrainer) -> None:
    """Optimize an objective until the time is over."""

    def objective(trial: Trial) -> float:
        candidate = suggested(trial, settings)
        if not settings.budget.check(candidate.spec).fits:
            trainer.n_over_budget += 1
            raise optuna.TrialPruned
        training = trainer.train(candidate, [settings.seed])
        with closing(training.left) as results:  # type: ignore[type-var]  # or a pruned network keeps its memory
            for result in results:
                trial.report(result.accuracy, result.epoch)
                if result.epoch < candidate.recipe.epochs and trial.should_prune():
                    raise optuna.TrialPruned
        return float(result.accuracy)

    sampler = TPESampler(seed=settings.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=MedianPruner())
    study.optimize(objective, catch=(RuntimeError,), callbacks=[lambda *_: trainer.release()])


METHODS = {"ours": ours, "usual": usual}


def suggested(trial: Trial, settings: StudyConfig) -> Candidate:
    """The network and recipe of a trial, each part suggested on its own; widths are multiples of the space's step."""
    space, recipes = settings.space, settings.recipes
    dimensions = {d.name: d for d in space.dimensions()}

    def pick(name: str, only: Any) -> Any:
        return suggest(trial, dimensions[name]) if name in dimensions else only

    grid = [width // space.width_step for width in width_grid(space)]
    stages = range(1, pick("stages", space.stages[0]) + 1)
    spec = make_spec(
        space,
        [space.width_step * trial.suggest_int(f"width_{i}", grid[0], grid[-1], log=True) for i in stages],
        [pick(f"blocks_{i}", space.blocks[0]) for i in stages],
        [pick(f"kernel_{i}", space.kernels[0]) for i in stages],
        [pick(f"expansion_{i}", space.expansions[0]) for i in stages],
        [pick("first_stride", space.first_stride[0]), *(pick(f"stride_{i}", space.strides[0]) for i in stages[1:])],
        {name: pick(name, getattr(space, name)[0]) for name in OPTIONS},
    )
    return Candidate(spec, recipes.decode({d.name: suggest(trial, d) for d in recipes.dimensions()}))


def suggest(trial: Trial, dimension: Dimension) -> Any:
    """The value that the sampler suggests for a coordinate."""
    if dimension.choices:
        return trial.suggest_categorical(dimension.name, dimension.choices)
    if dimension.whole:
        return trial.suggest_int(dimension.name, int(dimension.low), int(dimension.high))
    return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def best_accuracy(found: Found, settings: StudyConfig) -> float:
    """The best accuracy; 0 before there is any."""
    del settings
    return max((accuracy for *_, accuracy in found), default=0.0)


def area(found: Found, settings: StudyConfig) -> float:
    """The area under the front, exactly; a network below the least size counts from there on."""
    most, guessing = float(settings.budget.params or 0), 1 / settings.space.classes
    least = most * min(settings.space.fill[0], 0.5)  # a study of nothing but full budgets has a range too
    total, best, edge = 0.0, guessing, log(least)
    for params, accuracy in sorted((params, accuracy) for _, params, accuracy in found):
        if accuracy > best:
            size = log(max(params, least))
            total += (size - edge) * (best - guessing)
            best, edge = accuracy, size
    return (total + (log(most) - edge) * (best - guessing)) / log(most / least)


FIGURES = {"accuracy": best_accuracy, "area": area}


def until(found: Found, second: float) -> Found:
    """What was found until then."""
    return [row for row in found if row[0] <= second]


def run(method: str, seed: int, opened: Opened) -> Figure:
    """Run a method; what it spent, proposed and found, and every figure after each share of the time."""
    settings, limit_s = replace(opened.settings, seed=seed), opened.settings.device_time or 0.0
    trainer = TimedTrainer(torch_trainer(settings, opened.images, lambda: False), limit_s)
    trainer.trainer.latency_s(smallest_specs(settings.space)[0])  # the first use of a device is no method's cost
    with suppress(StoppedError):
        METHODS[method](settings, trainer)
    started, found = trainer.started, trainer.found
    figures = {
        f"{name}_{share}": round(figure(until(found, limit_s * share / 100), settings), 5)
        for name, figure in FIGURES.items()
        for share in SHARES
    }
    return {
        "seconds": trainer.seconds, "proposals": len(started) + trainer.n_over_budget,
        "over_budget": trainer.n_over_budget, "trained_twice": len(started) - len({*started}),
        "complete": len(found), **figures, "found": found,
    }  # fmt: skip


def mean_of(runs: Sequence[Figure]) -> Figure:
    """The mean of each number over the seeds."""
    return {name: round(fmean(run[name] for run in runs), 5) for name in runs[0] if name != "found"}


def share_until(goal: float, runs: Sequence[Figure], name: str, settings: StudyConfig) -> float | None:
    """The share of the time, 0 to 1, after which the mean of the runs is at least the goal; None when it never is."""
    for second in sorted(row[0] for run in runs for row in run["found"]):
        if fmean(FIGURES[name](until(run["found"], second), settings) for run in runs) >= goal:
            return round(second / (settings.device_time or 1.0), 4)
    return None


def main(arguments: argparse.Namespace) -> list[str]:
    """Compare; the names of the runs that failed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = open_study(arguments)
    with opened.threads():
        return compare(arguments, opened)


def compare(arguments: argparse.Namespace, opened: Opened) -> list[str]:
    """Run what is left to run and print the comparison; the names of the runs that failed."""
    settings = opened.settings
    about = {
        "study": arguments.study.stem, "device": describe_device(opened.device), "torch": version("torch"),
        "optuna": version("optuna"), "settings": settings_given(arguments), "precision": settings.precision,
        "data": opened.dataset.name, "images": settings.n_train, "validation_images": settings.n_validation,
        "epochs": settings.recipe.epochs, "device_time_s": settings.device_time, "seeds": arguments.seeds,
    }  # fmt: skip
    kept = Results(arguments.output and arguments.output / "comparison.json", about)
    runs: dict[str, list[Figure]] = {method: [] for method in METHODS}
    for seed, method in product(range(arguments.seeds), METHODS):
        runs[method].append(kept.figure("runs", method, f"seed {seed}", measure=partial(run, method, seed, opened)))
        print(f"{method}, seed {seed}: done", file=sys.stderr, flush=True)
    means = {method: mean_of(of_method) for method, of_method in runs.items()}
    print(f"{', '.join(f'{name} {value}' for name, value in about.items() if name != 'settings')}; means over seeds")
    print_table(("", *METHODS), ((name, *(f"{m[name]:,.5g}" for m in means.values())) for name in means["ours"]))
    for name in FIGURES:
        goal = means["usual"][f"{name}_100"]
        share = share_until(goal, runs["ours"], name, settings)
        print(
            f"\nours has the usual recipe's last {name}, {goal:.2%}, after this share of the time: {share or 'never'}"
        )
    return kept.failed


def settings_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keys of the study file that a run sets."""
    named = {"data.name": arguments.data, "data.images": arguments.images, "search.device": arguments.device}
    asked = {key: toml_value(text) for key, text in named.items() if text is not None}
    asked |= dict(map(parse_assignment, arguments.set))
    return {**ONLY_TIME_ENDS, **asked, "search.device_time": arguments.device_time}


def open_study(arguments: argparse.Namespace) -> Opened:
    """The study, not yet started.

    Raises:
        UsageError: It has no limit on parameters or on time.
    """
    with tempfile.TemporaryDirectory() as empty:
        opened = open_search(arguments.study, settings_given(arguments), "comparison", Path(empty))
    if not opened.settings.budget.params or not opened.settings.device_time:
        raise UsageError(f"{arguments.study}: a comparison needs budget.params and a --device-time such as 20m")
    return opened


def asked() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument("--device-time", required=True, help="of each run, such as 20m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--data")
    parser.add_argument("--images", help="to train on, or all")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_to_end(main, asked()))
