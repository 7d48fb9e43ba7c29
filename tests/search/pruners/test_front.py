from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from nas_budget.errors import UsageError
from nas_budget.search.pruners.front import FrontPruner, count_better, default_rungs, loss_key, losses_of


def study_with(metric: str, trials: Sequence[tuple[int, float]]) -> optuna.Study:
    """A study in which trials of these parameters and scores reached epoch 2."""
    study = optuna.create_study(direction="maximize", pruner=FrontPruner((2,), metric))
    for params, score in trials:
        finish(study, params, score)
    return study


def finish(study: optuna.Study, params: int, score: float, epoch: int = 2) -> bool:
    """Report the score, as accuracy and as loss, and say whether the trial would be pruned."""
    trial = study.ask()
    trial.set_user_attr("params", params)
    trial.set_user_attr(loss_key(epoch), 3 - score)
    metric = study.pruner.metric  # type: ignore[attr-defined]
    trial.report(score if metric == "accuracy" else 0.1, epoch)
    pruned = trial.should_prune()
    study.tell(trial, **{"values": score} if np.isfinite(score) else {"state": TrialState.FAIL})
    return pruned


LARGE = [(1000, 0.5), (1000, 0.6), (1000, 0.7), (1000, 0.8), (1000, 0.82), (1000, 0.84)]
both = pytest.mark.parametrize("metric", ["loss", "accuracy"])


@both
def test_the_worse_half_among_networks_no_larger_is_pruned(metric: str) -> None:
    study = study_with(metric, LARGE)
    assert finish(study, 1000, 0.75)  # three of six are ahead: just half of them
    assert not finish(study_with(metric, LARGE), 1000, 0.81)


@both
def test_a_small_network_is_not_pruned_because_large_ones_are_better(metric: str) -> None:
    assert not finish(study_with(metric, LARGE), 999, 0.1)


@both
def test_a_large_network_is_pruned_when_small_ones_are_better(metric: str) -> None:
    small = [(10 * i, accuracy) for i, (_, accuracy) in enumerate(LARGE, start=1)]  # a front: none beats another
    assert finish(study_with(metric, small), 1000, 0.83)
    assert not finish(study_with(metric, small), 1000, 0.85)


@both
def test_nothing_is_pruned_before_there_is_enough_to_compare_or_between_rungs(metric: str) -> None:
    assert not finish(study_with(metric, LARGE[:5]), 1000, 0.0)
    assert not finish(study_with(metric, LARGE), 1000, 0.0, epoch=1)


@both
def test_nan_is_the_worst_value(metric: str) -> None:
    study = study_with(metric, LARGE[:5])
    finish(study, 1000, float("nan"))
    assert finish(study, 1000, float("nan"))
    assert not finish(study, 999, float("nan"))  # the smallest network is on the front
    assert "NaN, worse than trial 4 (" in study.pruner.explain(study, study.trials[6])  # type: ignore[attr-defined]


@pytest.mark.parametrize("older", [0, 1])
def test_a_trial_is_compared_with_the_last_thousand(older: int) -> None:
    """Of the last thousand just half are ahead; with one trial more, or less, it would be under half."""
    study = optuna.create_study(direction="maximize", pruner=FrontPruner((2,), "accuracy"))
    scores = [0.1] * older + [0.9] + [0.1] * 500 + [0.9] * 499
    study.add_trials([ended(1000, score) for score in scores])
    assert finish(study, 1000, 0.5)


def ended(params: int, accuracy: float) -> optuna.trial.FrozenTrial:
    return create_trial(
        value=accuracy, user_attrs={"params": params}, intermediate_values={2: accuracy}, params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
    )  # fmt: skip


def test_the_reason_gives_the_numbers_compared() -> None:
    study = study_with("loss", LARGE)
    finish(study, 1000, 0.75)
    assert study.pruner.explain(study, study.trials[-1]) == (  # type: ignore[attr-defined]
        "pruned at epoch 2: training loss 2.250, worse than trial 5 (2.160, 1,000 parameters) "
        "and 2 more of at most its size"
    )


def test_the_number_better_is_counted_for_each() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        params, scores = rng.integers(1, 20, 30).astype(float), rng.random(30).round(1)
        counted = count_better(params, scores)
        for i in range(30):
            better = [j for j in range(30) if params[j] <= params[i] and scores[j] > scores[i]]
            assert counted[i] == len(better)


def test_bad_input_is_told() -> None:
    with pytest.raises(UsageError, match="metric: 'error' is unknown; allowed are loss, accuracy"):
        FrontPruner((2,), "error")
    study = study_with("accuracy", LARGE)
    trial = study.ask()
    trial.report(0.5, 2)
    with pytest.raises(UsageError, match="trial 6 has no user attribute 'params'"):
        trial.should_prune()


def test_the_losses_a_trial_keeps_are_read_back() -> None:
    trial = optuna.create_study().ask()
    trial.set_user_attr(loss_key(2), 1.5)
    trial.set_user_attr(loss_key(10), 1.25)
    trial.set_user_attr("params", 7)
    assert losses_of(trial.study.trials[0]) == {2: 1.5, 10: 1.25}


@pytest.mark.parametrize(("epochs", "expected"), [(1, ()), (2, (1,)), (6, (3, 4)), (16, (6, 10)), (150, (57, 94))])
def test_rungs_are_at_three_and_five_eighths(epochs: int, expected: tuple[int, ...]) -> None:
    assert default_rungs(epochs) == expected
