"""Pruners by the names that a study file uses."""

from __future__ import annotations

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

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
        return MedianPruner(n_startup_trials=5, n_warmup_steps=first)
    return NopPruner()


def explain_pruning(study: Study, trial: FrozenTrial) -> str:
    """Why the study's pruner stopped the trial at its last epoch, in one line with the numbers that it goes by."""
    if isinstance(study.pruner, FrontPruner):
        return study.pruner.explain(study, trial)
    epoch = trial.last_step or 0
    rule = type(study.pruner).__name__
    return f"pruned at epoch {epoch}: accuracy {trial.intermediate_values[epoch]:.4f} is too low for {rule}"
