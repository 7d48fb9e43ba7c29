"""Every pruner by name: what each must do on any study."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas_budget.search.pruners.factory import explain_pruning, make_pruner
from nas_budget.search.pruners.front import default_rungs

NAMES = ["front", "halving", "hyperband", "median", "none"]
PRUNING = NAMES[:-1]


def study_of(name: str, epochs: int) -> optuna.Study:
    pruner = make_pruner(name, default_rungs(epochs), epochs, "accuracy")
    return optuna.create_study(study_name="s", direction="maximize", pruner=pruner)


def train(study: optuna.Study, accuracy: float, epochs: int) -> bool:
    """A trial with the same accuracy at each epoch; whether it was pruned."""
    trial = study.ask()
    trial.set_user_attr("params", 1000)
    for epoch in range(1, epochs):
        trial.report(accuracy, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return True
    study.tell(trial, accuracy)
    return False


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epochs", [1, 6, 150])
def test_the_first_trial_is_never_pruned(name: str, epochs: int) -> None:
    assert not train(study_of(name, epochs), 0.5, epochs + 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_goes_on_and_the_worst_does_not(name: str) -> None:
    study = study_of(name, 8)
    for i in range(12):
        train(study, 0.5 + i / 100, 8)  # each better than all before
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 12
    pruned = [train(study, 0.1, 8) for _ in range(8)]
    assert any(pruned) == (name in PRUNING)


@pytest.mark.parametrize("name", PRUNING)
def test_the_reason_gives_epoch_and_accuracy(name: str) -> None:
    study = study_of(name, 8)
    for accuracy in [0.5 + i / 100 for i in range(12)] + [0.1] * 8:
        train(study, accuracy, 8)
    trial = next(trial for trial in study.trials if trial.state == TrialState.PRUNED)
    assert explain_pruning(study, trial).startswith(f"pruned at epoch {trial.last_step}: accuracy 0.1")


def test_a_name_that_prunes_nothing() -> None:
    assert isinstance(make_pruner("none", (), 6), optuna.pruners.NopPruner)


@pytest.mark.parametrize("name", NAMES)
def test_networks_trained_again_wider_are_not_compared_with(name: str) -> None:
    study = study_of(name, 8)
    for _ in range(12):
        train(study, 0.5, 8)
    for _ in range(20):  # far better, as they are wider
        wider = study.ask()
        wider.set_user_attr("of", 0)
        for epoch in range(1, 8):
            wider.report(0.9, epoch)
        study.tell(wider, 0.9)
    assert not any(train(study, 0.6, 8) for _ in range(4))
