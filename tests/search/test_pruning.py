import optuna
import pytest

from nas_budget.search.pruning import FrontPruner, make_pruner, rungs


def study_with(*trials: tuple[int, float]) -> optuna.Study:
    """A study in which trials of these parameters and accuracies reached epoch 2."""
    study = optuna.create_study(direction="maximize", pruner=FrontPruner(rungs=(2,)))
    for params, accuracy in trials:
        finish(study, params, accuracy)
    return study


def finish(study: optuna.Study, params: int, accuracy: float, epoch: int = 2) -> bool:
    """Report the accuracy at the epoch and say whether the trial would be stopped."""
    trial = study.ask()
    trial.set_user_attr("params", params)
    trial.report(accuracy, epoch)
    stop = trial.should_prune()
    study.tell(trial, accuracy)
    return stop


LARGE = [(1000, 0.5), (1000, 0.6), (1000, 0.7), (1000, 0.8)]


def test_the_worse_half_among_networks_no_larger_is_stopped() -> None:
    study = study_with(*LARGE)
    assert finish(study, 1000, 0.55)
    assert not finish(study, 1000, 0.75)


def test_a_small_network_is_not_stopped_for_being_worse_than_large_ones() -> None:
    assert not finish(study_with(*LARGE), 999, 0.1)


def test_a_large_network_is_stopped_when_small_ones_are_better() -> None:
    assert finish(study_with(*[(10, accuracy) for _, accuracy in LARGE]), 1000, 0.55)


def test_nothing_is_stopped_before_there_is_enough_to_compare_or_between_rungs() -> None:
    assert not finish(study_with(*LARGE[:3]), 1000, 0.0)
    assert not finish(study_with(*LARGE), 1000, 0.0, epoch=1)


@pytest.mark.parametrize(("epochs", "expected"), [(1, ()), (2, (1,)), (6, (2, 3)), (16, (4, 8)), (150, (38, 75))])
def test_rungs_are_a_quarter_and_half_of_the_way(epochs: int, expected: tuple[int, ...]) -> None:
    assert rungs(epochs) == expected


@pytest.mark.parametrize("name", ["front", "halving", "median", "none"])
@pytest.mark.parametrize("epochs", [1, 6, 150])
def test_every_pruner_can_be_made_for_any_length(name: str, epochs: int) -> None:
    assert isinstance(make_pruner(name, epochs), optuna.pruners.BasePruner)
