"""When a trial is hopeless."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

Floats = NDArray[np.float64]

KEPT = 0.5
"""Share of the trials that goes on at each rung."""
SHARES = (0.125, 0.25, 0.375, 0.625)
"""Shares of the training after which trials are compared."""
N_COMPARED = 1_000
"""Trials a trial is compared with at most, the last ones."""


class FrontPruner(BasePruner):
    """Asynchronous halving by how many trials of at most its own size beat a trial.

    At each rung a trial goes on if it is among the share that the fewest trials beat: a trial beats
    another that has at least as many parameters and a worse score. What lies on the front of the rung is
    beaten by none and always goes on; a small network is never stopped because a large one is better; a
    large network that many smaller ones beat is.

    The score is the training loss of the epoch, or the accuracy it reached: of networks in their first
    epochs the loss ranks them far better (docs/search.md).

    Attributes:
        rungs: Epochs at which trials are compared.
        metric: "loss" or "accuracy".
        kept: Share that goes on at each rung.
        n_least: Trials that must have reached a rung before one is stopped there.
    """

    def __init__(self, rungs: tuple[int, ...], metric: str = "loss", kept: float = KEPT, n_least: int = 6) -> None:
        self.rungs = rungs
        self.metric = metric
        self.kept = kept
        self.n_least = n_least

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at the epoch it reported last; `params` is among its user attributes."""
        rung = trial.last_step
        if rung not in self.rungs:
            return False
        ours = self.score(trial, rung)
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        scores = [(other.user_attrs.get("params"), self.score(other, rung)) for other in others]
        reached = [(params, score) for params, score in scores if params is not None and score is not None]
        if ours is None or len(reached) < self.n_least:
            return False
        params, values = np.array([*reached[-N_COMPARED:], (trial.user_attrs["params"], ours)]).T
        beaten = beaten_by(params, values)
        return bool((beaten[:-1] < beaten[-1]).mean() >= self.kept)

    def score(self, trial: FrozenTrial, rung: int) -> float | None:
        """What a trial is compared by at a rung, higher is better; None when it has not reached it."""
        if self.metric == "accuracy":
            return trial.intermediate_values.get(rung)
        loss = trial.user_attrs.get(loss_key(rung))
        return None if loss is None else -loss


def beaten_by(params: Floats, scores: Floats) -> NDArray[np.int64]:
    """How many of the others beat each: have at most its parameters and a higher score, (n,) each."""
    beats = (params[:, None] <= params) & (scores[:, None] > scores)
    counts: NDArray[np.int64] = beats.sum(axis=0)
    return counts


def loss_key(epoch: int) -> str:
    """The name under which a trial keeps the training loss of an epoch."""
    return f"train_loss_{epoch}"


def losses_of(trial: FrozenTrial) -> dict[int, float]:
    """The training loss of the epochs for which a trial keeps it."""
    start = loss_key(0).removesuffix("0")
    return {int(k.removeprefix(start)): v for k, v in trial.user_attrs.items() if k.startswith(start)}


def default_rungs(epochs: int) -> tuple[int, ...]:
    """The epochs at which trials are compared: after 1, 2, 3 and 5 eighths of the training."""
    return tuple(sorted({max(1, math.ceil(epochs * share)) for share in SHARES} - {epochs}))


def make_pruner(name: str, rungs: tuple[int, ...], epochs: int, metric: str = "loss") -> BasePruner:
    """The pruner of a name, as in a study file; Optuna's compare the accuracy of all trials, whatever their size."""
    first = rungs[0] if rungs else epochs
    if name == "front":
        return FrontPruner(rungs, metric)
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=2)
    if name == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=2)
    if name == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=first)
    return NopPruner()
