"""Pruners by the names that a study file uses."""

from __future__ import annotations

from collections.abc import Container
from copy import copy

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.search.pruners.front import FrontPruner

KEPT, N_MIN_TRIALS = 0.7, 8
"""How gently a search prunes. What a model proposes is seldom bad, and it learns most from whole trainings."""


def make_pruner(name: str, rungs: tuple[int, ...], epochs: int, metric: str = "loss") -> BasePruner:
    """The pruner of a name; "none" and unknown names prune nothing.

    Optuna's pruners compare the accuracy of all trials, whatever the size of their networks.

    Args:
        name: "front", "halving", "hyperband", "median" or "none".
        rungs: Epochs at which "front" compares trials; the others start at the first of them.
        epochs: Epochs of a whole trial.
        metric: What "front" compares: "loss" or "accuracy".
    """
    first = rungs[0] if rungs else epochs
    if name == "front":
        return FrontPruner(rungs, metric, KEPT, N_MIN_TRIALS)
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=2)
    if name == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=2)
    if name == "median":
        return MedianOfProposed(n_startup_trials=5, n_warmup_steps=first)
    return NopPruner()


class MedianOfProposed(MedianPruner):
    """Optuna's median pruner, which does not compare with networks that were trained again at another width.

    The other pruners need no such care: they compare by what is noted at rungs, which those trainings have not.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether a trial is worse than the median of the proposed trials at its last epoch."""
        return super().prune(_proposed_of(study), trial)


def _proposed_of(study: Study) -> Study:
    """The study as if it had no trials but those of networks that were proposed."""

    def get_trials(deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return [trial for trial in study.get_trials(deepcopy, states) if "of" not in trial.user_attrs]

    seen = copy(study)
    seen.get_trials = get_trials  # type: ignore[method-assign]
    return seen


def explain_pruning(study: Study, trial: FrozenTrial) -> str:
    """Why the study's pruner stopped the trial at its last epoch, in one line with the numbers that it goes by."""
    if isinstance(study.pruner, FrontPruner):
        return study.pruner.explain(study, trial)
    epoch = trial.last_step or 0
    rule = "the median" if isinstance(study.pruner, MedianPruner) else type(study.pruner).__name__
    return f"pruned at epoch {epoch}: accuracy {trial.intermediate_values[epoch]:.4f} is too low for {rule}"
