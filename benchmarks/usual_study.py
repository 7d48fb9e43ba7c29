"""What most people write with Optuna, as a study that can be interrupted, in the files of this package's own.

Each stage's width and blocks, and whatever else the space leaves open, are suggested one by one, for as many stages as
the network has. TPE proposes and MedianPruner stops, both with their defaults and by the accuracy of each epoch. A
network over the budget is reported as pruned and costs no training; one proposed again is trained again.

Images, split, recipe, precision, device and trainer are the package's. So are the ranges, but for two rules that one
suggestion at a time cannot keep: how much wider a stage may be than the one before (growth), and the least share of
the budget (fill). Widths are drawn on a log scale, as the space does it in effect: of the networks of
studies/cifar10-5m.toml so drawn one in four fits, on a linear scale one in seventy.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import Trial, TrialState

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StoppedError
from nas_budget.records.trials import TrialRecord
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.storage import only_runner
from nas_budget.search.storage.tables import versions
from nas_budget.search.workers.search_runner import Search
from nas_budget.space.dimensions import Dimension
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.spec_factory import make_spec, width_grid

OVER_BUDGET = "over budget"
"""How the reason of a trial begins that was not trained, as its network does not fit."""

OnTrial = Callable[[TrialRecord], None]
Pick = Callable[[str, Any], Any]
"""The value suggested for a coordinate, or the only one there is where it is not open."""


def run_usual(search: Search, on_trial: OnTrial) -> None:
    """Start or resume a study until its trials have taken `search.device_time`; its files are those of any search.

    Args:
        search: The study with its trainer and files; its own way to search is not used.
        on_trial: Called with each trial that ends.

    Raises:
        StoppedError: The search was asked to stop; the same call resumes.
    """
    study, settings = search.study, search.settings
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a training that fails is a row of the table
    with only_runner(search.folder):
        study.sampler, study.pruner = TPESampler(seed=seed_of_session(search)), MedianPruner()
        end_lost(search)
        try:
            while spent(search.tables.rows()) < (settings.device_time or 0):
                if search.should_stop():
                    raise StoppedError("stopped between two trials")
                study.optimize(lambda trial: objective(search, trial), n_trials=1, catch=(RuntimeError,))
                on_trial(search.tables.rows()[-1])
                search.tables.write_if_due()
        finally:
            search.tables.write()


def spent(rows: Iterable[TrialRecord]) -> float:
    """Device seconds of trials, repeated work too."""
    return sum(row.seconds + row.repeated_seconds for row in rows)


def seed_of_session(search: Search) -> int:
    """The study's seed at first, another whenever it resumes: the sampler would repeat its first draws."""
    n_known = len(search.study.get_trials(deepcopy=False))
    seed = search.settings.seed
    return random.Random(f"{seed} {n_known}").randrange(2**31) if n_known else seed


def end_lost(search: Search) -> None:
    """End the trials that a process now gone left running: failed, unless their last epoch was done."""
    for lost in search.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        value = lost.intermediate_values.get(search.settings.recipe.epochs)
        if value is None:
            search.study.tell(lost.number, state=TrialState.FAIL)
        else:
            search.study.tell(lost.number, value)


def objective(search: Search, trial: Trial) -> float:
    """Accuracy of the network that the trial suggests."""
    candidate = suggested(trial, search.settings)
    used = cost(candidate.spec)
    verdict = search.settings.budget.check(used)
    note(trial, **candidate.to_dict())
    if not verdict.fits:
        note(trial, reason=f"{OVER_BUDGET}: {verdict.excess}")
        raise optuna.TrialPruned
    note(trial, params=used.params, device=search.trainer.device, versions=versions())
    try:
        return trained(search, trial, candidate)
    finally:
        search.trainer.release()


def trained(search: Search, trial: Trial, candidate: Candidate) -> float:
    """Accuracy after the last epoch; each epoch is paid for when it ends, so that a kill loses no more than one."""
    seconds, accuracy, start = 0.0, 0.0, time.perf_counter()
    training: Any = search.trainer.train(candidate, search.settings.seed)
    with closing(training) as results:  # or a pruned network keeps its memory
        for result in results:
            seconds, accuracy = seconds + time.perf_counter() - start, result.accuracy
            note(trial, seconds=seconds)
            trial.report(accuracy, result.epoch)
            if result.epoch < candidate.recipe.epochs and trial.should_prune():
                note(trial, reason=f"below the median at epoch {result.epoch}")
                raise optuna.TrialPruned
            start = time.perf_counter()
    return accuracy


def note(trial: Trial, **values: Any) -> None:
    """Keep values with a trial."""
    for name, value in values.items():
        trial.set_user_attr(name, value)


def suggested(trial: Trial, settings: StudyConfig) -> Candidate:
    """The network and recipe of a trial, each part suggested on its own."""
    space, recipes = settings.space, settings.recipes
    coordinates = {d.name: d for d in space.dimensions()}

    def pick(name: str, only: Any) -> Any:
        return suggest(trial, coordinates[name]) if name in coordinates else only

    recipe = recipes.decode({d.name: suggest(trial, d) for d in recipes.dimensions()})
    return Candidate(suggested_network(trial, space, pick), recipe)


def suggest(trial: Trial, dimension: Dimension) -> Any:
    """The value of a coordinate that TPE suggests."""
    if dimension.choices:
        return trial.suggest_categorical(dimension.name, dimension.choices)
    if dimension.whole:
        return trial.suggest_int(dimension.name, int(dimension.low), int(dimension.high))
    return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def suggested_network(trial: Trial, space: SearchSpace, pick: Pick) -> ResNetSpec:
    """The network of a trial; widths are multiples of the space's step."""
    step = space.width_step
    grid = width_grid(space)
    steps = grid[0] // step, grid[-1] // step
    stages = range(1, pick("stages", space.stages[0]) + 1)
    return make_spec(
        space,
        [step * trial.suggest_int(f"width_{i}", *steps, log=True) for i in stages],
        [pick(f"blocks_{i}", space.blocks[0]) for i in stages],
        [pick(f"kernel_{i}", space.kernels[0]) for i in stages],
        [pick("first_stride", space.first_stride[0]), *(pick(f"stride_{i}", space.strides[0]) for i in stages[1:])],
        {name: pick(name, getattr(space, name)[0]) for name in OPTIONS},
    )
