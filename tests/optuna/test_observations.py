"""What trials of any study say: values of any kind as accuracies, pruned trials, and which objective counts."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import UsageError
from nas_budget.optuna.observations import SPAN, objective_of, observations_of
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.learning_curve import UNKNOWN
from nas_budget.train.optim.recipe import Recipe

UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def candidate(width: int) -> Candidate:
    return Candidate(ResNetSpec((8, width)), Recipe())


def ended(
    number: int, value: float | None = None, reports: dict[int, float] | None = None, **options: Any
) -> FrozenTrial:
    options = {"state": TrialState.COMPLETE if value is not None else TrialState.PRUNED, "value": value} | options
    trial = create_trial(intermediate_values=reports or {}, **options)
    trial.number = number
    return trial


def accuracies(trials: list[FrozenTrial], direction: StudyDirection = UP) -> list[tuple[float, float]]:
    """Accuracy and deviation of each trial, of which each has a network."""
    networks = {trial.number: candidate(8 + trial.number) for trial in trials}
    found = observations_of(trials, networks, 0, direction)
    assert all(one.params == cost(one.candidate.spec).params for one in found)
    return [(one.accuracy, one.deviation) for one in found]


def test_values_lie_between_the_worst_and_the_best() -> None:
    values = [3.0, 5.0, 4.0]
    up = accuracies([ended(i, value) for i, value in enumerate(values)])
    assert up == [(0.0, 0.0), (1.0, 0.0), (0.5, 0.0)]
    down = accuracies([ended(i, value) for i, value in enumerate(values)], DOWN)
    assert down == [(1.0, 0.0), (0.0, 0.0), (0.5, 0.0)]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12),
    st.lists(st.sampled_from([math.inf, -math.inf, 1e300, -1e300]), max_size=2),
)
def test_any_values_keep_their_order_from_0_to_1(values: list[float], wild: list[float]) -> None:
    given = [*values, *wild]
    found = [one for one, _ in accuracies([ended(i, value) for i, value in enumerate(given)])]
    assert all(0 <= one <= 1 for one in found)
    ranked = sorted(zip(given, found, strict=True))
    assert [one for _, one in ranked] == sorted(one for _, one in ranked)


def test_a_value_far_below_the_others_says_no_more_than_that_it_is_bad() -> None:
    values = [0.8, 0.9, 1.0, 1.0, 1.0, -1e9, -math.inf]
    found = [one for one, _ in accuracies([ended(i, value) for i, value in enumerate(values)])]
    assert found[5:] == [0.0, 0.0]
    assert found[1] - found[0] > 0.5 / (SPAN + 1) * 0.1
    assert max(found) == 1.0


def test_equal_values_are_no_better_and_no_worse() -> None:
    assert accuracies([ended(0, 2.0), ended(1, 2.0)]) == [(0.5, 0.0), (0.5, 0.0)]
    assert accuracies([ended(0, math.inf)]) == [(0.0, 0.0)]


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_pruned_trial_counts_with_what_its_last_report_lets_expect(direction: StudyDirection) -> None:
    sign = 1 if direction == UP else -1
    complete = [ended(i, sign * (0.5 + i / 10), {1: sign * i / 10, 2: sign * (0.5 + i / 10)}) for i in range(6)]
    [*_, (accuracy, deviation)] = accuracies([*complete, ended(6, None, {1: sign * 0.25})], direction)
    assert (accuracy, deviation) == (pytest.approx(0.5), pytest.approx(0.0, abs=1e-9))
    [*_, (accuracy, deviation)] = accuracies([*complete[:3], ended(6, None, {1: sign * 0.55})], direction)
    assert (accuracy, deviation) == (pytest.approx(0.25), UNKNOWN)  # too few to expect anything else


def test_what_says_nothing_is_left_out() -> None:
    trials = [
        ended(0, 1.0), ended(1), ended(2, None, {1: math.nan}), ended(3, state=TrialState.FAIL),
        ended(4, None, {1: 0.5, 2: math.nan}), ended(5, 2.0),
    ]  # fmt: skip
    networks = {number: candidate(8 + number) for number in range(5)}
    found = observations_of(trials, networks, 0, UP)
    assert [one.candidate for one in found] == [networks[0], networks[4]]
    assert observations_of([], {}, 0, UP) == []


def test_pruned_trials_alone_are_compared_by_their_reports() -> None:
    found = accuracies([ended(i, None, {1: i / 10}) for i in range(3)])
    assert found == [(0.0, UNKNOWN), (pytest.approx(0.5), UNKNOWN), (1.0, UNKNOWN)]


@pytest.mark.parametrize("unit", [1, 1e-6, 4])
def test_the_objective_that_is_not_the_size_counts(unit: float) -> None:
    networks = {number: candidate(8 + number) for number in range(3)}
    for place in range(2):
        study = optuna.create_study(directions=["minimize", "maximize"])
        for number, one in networks.items():
            values = [unit * cost(one.spec).params, 0.5 + number]
            study.add_trial(create_trial(values=values[::-1] if place == 0 else values))
        assert objective_of(study, networks, None) == place
        assert objective_of(study, networks, 1) == 1
        with pytest.raises(UsageError, match="objective: 2 is not one of the study's 2; give 0 to 1"):
            objective_of(study, networks, 2)
    assert objective_of(optuna.create_study(), networks, None) == 0
