"""`FrontPruner`: stops trials early, comparing each with networks of at most its size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas_budget.errors import UsageError

Floats = NDArray[np.float64]

METRICS = {"loss": "training loss", "accuracy": "accuracy"}
KEPT = 0.5
"""Share of the trials that goes on at each rung."""
SHARES = (0.375, 0.625)
"""Shares of the training after which trials are compared."""
N_COMPARED = 1_000
"""Number of trials, the most recent ones, that a trial is compared with at most."""


@dataclass(frozen=True)
class Comparison:
    """A trial among those that have reached the same rung.

    Attributes:
        better: Numbers of the trials with at most its parameters and a better value, the best first.
        n_ahead: Trials that fewer such trials beat; a tie does not count.
        n_allowed: The most that may be ahead of a trial that goes on.
    """

    better: tuple[int, ...]
    n_ahead: int
    n_allowed: int


class FrontPruner(BasePruner):
    """Pruner for a trade-off of accuracy and size: asynchronous halving by Pareto rank.

    One trial beats another at a rung if it has at most the other's parameters and a better value. A trial is pruned
    if at least half of the other trials at that rung are beaten by fewer trials than it is. A trial on the Pareto front
    of the rung is beaten by none and is never pruned. A small network is not pruned because larger ones are better. A
    large network is, if many smaller ones are better.

    Only rungs are looked at: other epochs never prune. A trial is compared with all trials that reached the rung,
    whether they are running, complete or pruned, without waiting for others (asynchronous). The first `n_min_trials`
    at a rung go on.

    The value is the training loss of the epoch or the reported accuracy. In the first epochs the training loss
    predicts the final rank of networks far better (measured in docs/search.md). A NaN counts as the worst value.

    Each trial needs its parameter count as the user attribute `params`. With the metric "loss" it also needs the loss
    as the user attribute `loss_key(epoch)`; an epoch without it is not a rung of that trial. With "accuracy" the
    reported values are compared, and the study must maximize. Trials with another value of the attribute `proxy`, the
    width they are trained at, are not compared.

    Source: asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), for several objectives (Schmucker et al.
    2021, arXiv:2106.12639), ranked by how many others are better (Fonseca and Fleming 1993).

    Args:
        rungs: Epochs at which trials are compared. More rungs prune more often.
        metric: "loss" (lower is better) or "accuracy" (higher is better).
        kept: Share of trials that goes on at each rung, between 0 and 1. A smaller share prunes more.
        n_min_trials: Other trials that must have reached a rung before any is pruned there.

    Raises:
        UsageError: An unknown metric, or a trial without `params`.

    Examples:
        Twelve networks, from 100 to 1,200 parameters. Number 8 learns less than smaller ones:

        >>> import optuna
        >>> from nas_budget import FrontPruner
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(direction="maximize", pruner=FrontPruner(rungs=(1,), metric="accuracy"))
        >>> def objective(trial):
        ...     params = 100 * (trial.number + 1)
        ...     trial.set_user_attr("params", params)
        ...     accuracy = 0.2 if trial.number == 8 else params / 2000
        ...     trial.report(accuracy, step=1)
        ...     if trial.should_prune():
        ...         raise optuna.TrialPruned
        ...     return accuracy
        >>> study.optimize(objective, n_trials=12)
        >>> [trial.number for trial in study.trials if trial.state.name == "PRUNED"]
        [8]
        >>> print(study.pruner.explain(study, study.trials[8]))
        pruned at epoch 1: accuracy 0.200, worse than trial 7 (0.400, 800 parameters) and 3 more of at most its size
    """

    def __init__(self, rungs: tuple[int, ...], metric: str = "loss", kept: float = KEPT, n_min_trials: int = 6) -> None:
        if metric not in METRICS:
            raise UsageError(f"metric: {metric!r} is unknown; allowed are {', '.join(METRICS)}")
        self.rungs = rungs
        self.metric = metric
        self.kept = kept
        self.n_min_trials = n_min_trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at the epoch that it reported last."""
        found = self.compare(study, trial)
        return found is not None and found.n_ahead > found.n_allowed

    def explain(self, study: Study, trial: FrozenTrial) -> str:
        """Why the trial was pruned at the epoch that it reported last, in one line with both numbers.

        It names the best of the trials that beat it, with its value and its parameters. Of a trial that none beats
        there is only the epoch to say.
        """
        epoch = trial.last_step or 0
        found, score = self.compare(study, trial), self.score(trial, epoch)
        if found is None or score is None or not found.better:
            return f"pruned at epoch {epoch}"
        first, *others = found.better
        best = study.get_trials(deepcopy=False)[first]
        value, theirs = (_shown(one) for one in (score, self.score(best, epoch) or 0.0))
        more = f" and {len(others)} more of at most its size" if others else ""
        return (
            f"pruned at epoch {epoch}: {METRICS[self.metric]} {value}, worse than trial {first} "
            f"({theirs}, {best.user_attrs['params']:,} parameters){more}"
        )

    def compare(self, study: Study, trial: FrozenTrial) -> Comparison | None:
        """The trial among those that reached its last epoch; None where that is no rung, or too few have reached it."""
        rung = trial.last_step
        if rung not in self.rungs or (ours := self.score(trial, rung)) is None:
            return None
        if "params" not in trial.user_attrs:
            raise UsageError(f"trial {trial.number} has no user attribute 'params'; set it before should_prune()")
        width = trial.user_attrs.get("proxy")
        others = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and other.user_attrs.get("proxy") == width
        ]
        scores = [(other.number, other.user_attrs.get("params"), self.score(other, rung)) for other in others]
        reached = [one for one in scores if one[1] is not None and one[2] is not None][-N_COMPARED:]
        if len(reached) < self.n_min_trials:
            return None
        numbers, params, values = np.array([*reached, (trial.number, trial.user_attrs["params"], ours)], float).T
        counts = count_better(params, values)
        beats = np.flatnonzero((params <= params[-1]) & (values > values[-1]))
        order = beats[np.argsort(-values[beats], kind="stable")]
        n_allowed = math.ceil(len(reached) * self.kept) - 1
        n_ahead = int((counts[:-1] < counts[-1]).sum())
        return Comparison(tuple(numbers[order].astype(int).tolist()), n_ahead, n_allowed)

    def score(self, trial: FrozenTrial, rung: int) -> float | None:
        """What a trial is compared by at a rung, higher is better; None where it has not reached it."""
        if self.metric == "accuracy":
            value = trial.intermediate_values.get(rung)
        else:
            loss = trial.user_attrs.get(loss_key(rung))
            value = None if loss is None else -loss
        return -math.inf if value is not None and math.isnan(value) else value


def _shown(score: float) -> str:
    return "NaN" if math.isinf(score) else f"{abs(score):.3f}"


def count_better(params: Floats, scores: Floats) -> NDArray[np.int64]:
    """How many others have at most the parameters of each and a higher score, (n,) each."""
    beats = (params[:, None] <= params) & (scores[:, None] > scores)
    counts: NDArray[np.int64] = beats.sum(axis=0)
    return counts


def loss_key(epoch: int) -> str:
    """The user attribute in which a trial keeps the training loss of an epoch."""
    return f"train_loss_{epoch}"


def losses_of(trial: FrozenTrial) -> dict[int, float]:
    """The training losses that a trial keeps, by epoch."""
    start = loss_key(0).removesuffix("0")
    return {int(k.removeprefix(start)): v for k, v in trial.user_attrs.items() if k.startswith(start)}


def default_rungs(epochs: int) -> tuple[int, ...]:
    """The epochs at which trials are compared: after 3 and 5 eighths of the training."""
    return tuple(sorted({max(1, math.ceil(epochs * share)) for share in SHARES} - {epochs}))
