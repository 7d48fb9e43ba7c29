"""When a trial is hopeless."""

from __future__ import annotations

import math

from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial


class FrontPruner(BasePruner):
    """Asynchronous halving that compares a network only with those that are no larger.

    At each rung a trial goes on if it is among the better half of the trials of at most its own
    parameters that have reached the rung. A small network is so never stopped because a large one is
    better, and the front of accuracy against parameters stays whole; a large network that a smaller
    one beats is stopped.

    Attributes:
        rungs: Epochs at which trials are compared.
        n_least: Trials of at most the same size that must have reached a rung before one is stopped there.
    """

    def __init__(self, rungs: tuple[int, ...], n_least: int = 4) -> None:
        self.rungs = rungs
        self.n_least = n_least

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at the epoch it reported last; `params` is among its user attributes."""
        rung = trial.last_step
        if rung not in self.rungs:
            return False
        ours, size = trial.intermediate_values[rung], trial.user_attrs["params"]
        values = sorted(
            other.intermediate_values[rung]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and rung in other.intermediate_values
            and other.user_attrs.get("params", math.inf) <= size
        )
        return len(values) >= self.n_least and ours < values[len(values) // 2]


def rungs(epochs: int) -> tuple[int, ...]:
    """The epochs at which trials are compared: after a quarter and after half of the training."""
    return tuple(sorted({max(1, math.ceil(epochs * share)) for share in (0.25, 0.5)} - {epochs}))


def make_pruner(name: str, epochs: int) -> BasePruner:
    """The pruner of a name: "front", "halving", "median" or "none"."""
    if name == "front":
        return FrontPruner(rungs(epochs))
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=max(1, epochs // 4), reduction_factor=2)
    if name == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 4))
    return NopPruner()
