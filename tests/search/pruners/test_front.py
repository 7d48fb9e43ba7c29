from collections.abc import Sequence

import numpy as np
import optuna
import pytest

from nas_budget.search.pruners.front import FrontPruner, beaten_by, default_rungs, loss_key, losses_of, make_pruner


def study_with(metric: str, trials: Sequence[tuple[int, float]]) -> optuna.Study:
    """A study in which trials of these parameters and scores reached epoch 2."""
    study = optuna.create_study(direction="maximize", pruner=FrontPruner((2,), metric))
    for params, score in trials:
        finish(study, params, score)
    return study


def finish(study: optuna.Study, params: int, score: float, epoch: int = 2) -> bool:
    """Report the score, as accuracy and as loss, and say whether the trial would be stopped."""
    trial = study.ask()
    trial.set_user_attr("params", params)
    trial.set_user_attr(loss_key(epoch), 3 - score)
    metric = study.pruner.metric  # type: ignore[attr-defined]
    trial.report(score if metric == "accuracy" else 0.1, epoch)
    stop = trial.should_prune()
    study.tell(trial, score)
    return stop


LARGE = [(1000, 0.5), (1000, 0.6), (1000, 0.7), (1000, 0.8), (1000, 0.82), (1000, 0.84)]
both = pytest.mark.parametrize("metric", ["loss", "accuracy"])


@both
def test_the_worse_half_among_networks_no_larger_is_stopped(metric: str) -> None:
    study = study_with(metric, LARGE)
    assert finish(study, 1000, 0.65)
    assert not finish(study, 1000, 0.81)


@both
def test_a_small_network_is_not_stopped_for_being_worse_than_large_ones(metric: str) -> None:
    assert not finish(study_with(metric, LARGE), 999, 0.1)


@both
def test_a_large_network_is_stopped_when_small_ones_are_better(metric: str) -> None:
    small = [(10 * i, accuracy) for i, (_, accuracy) in enumerate(LARGE, start=1)]  # a front: none beats another
    assert finish(study_with(metric, small), 1000, 0.83)
    assert not finish(study_with(metric, small), 1000, 0.85)


@both
def test_nothing_is_stopped_before_there_is_enough_to_compare_or_between_rungs(metric: str) -> None:
    assert not finish(study_with(metric, LARGE[:5]), 1000, 0.0)
    assert not finish(study_with(metric, LARGE), 1000, 0.0, epoch=1)


def test_whatever_lies_on_the_front_of_a_rung_goes_on() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        params, scores = chance.integers(1, 20, 30).astype(float), chance.random(30).round(1)
        beaten = beaten_by(params, scores)
        for i in range(30):
            better = [j for j in range(30) if params[j] <= params[i] and scores[j] > scores[i]]
            assert beaten[i] == len(better)


def test_the_losses_a_trial_keeps_are_read_back() -> None:
    trial = optuna.create_study().ask()
    trial.set_user_attr(loss_key(2), 1.5)
    trial.set_user_attr(loss_key(10), 1.25)
    trial.set_user_attr("params", 7)
    assert losses_of(trial.study.trials[0]) == {2: 1.5, 10: 1.25}


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, ()), (2, (1,)), (6, (1, 2, 3, 4)), (16, (2, 4, 6, 10)), (150, (19, 38, 57, 94))]
)
def test_rungs_are_in_the_first_five_eighths(epochs: int, expected: tuple[int, ...]) -> None:
    assert default_rungs(epochs) == expected


@pytest.mark.parametrize("name", ["front", "halving", "hyperband", "median", "none"])
@pytest.mark.parametrize("epochs", [1, 6, 150])
def test_every_pruner_can_be_made_for_any_length(name: str, epochs: int) -> None:
    study = optuna.create_study(
        study_name="s", direction="maximize", pruner=make_pruner(name, default_rungs(epochs), epochs)
    )
    trial = study.ask()
    trial.set_user_attr("params", 1)
    trial.report(0.5, 1)
    assert not trial.should_prune()
