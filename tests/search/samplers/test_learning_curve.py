from collections.abc import Sequence

import pytest

from nas_budget.search.samplers.learning_curve import LearningCurve

LOSSES = (1.0, 1.2, 1.4, 1.6, 1.8)


def curve_of(slope: float, losses: Sequence[float] = LOSSES) -> LearningCurve:
    """A curve that knows five trials on a line; their mean accuracy is 0.5."""
    curve = LearningCurve()
    for loss in losses:
        curve.add({2: loss}, 0.5 + slope * (loss - 1.4))
    return curve


def test_it_follows_the_line_of_loss_and_accuracy_within_0_and_1() -> None:
    curve = curve_of(-0.25)
    assert curve.predict({2: 1.5}, 0.1) == pytest.approx((0.475, 0.0))
    assert curve.predict({1: 9.9, 2: 1.5}, 0.1) == pytest.approx((0.475, 0.0))  # the last epoch counts
    assert curve.predict({2: 99.0}, 0.1)[0] == 0.0
    assert curve.predict({2: -99.0}, 0.1)[0] == 1.0


def test_a_line_that_rises_is_taken_as_flat() -> None:
    curve = curve_of(0.25)
    assert curve.predict({2: 1.8}, 0.1) == curve.predict({2: 1.0}, 0.1) == pytest.approx((0.5, 0.0913), abs=1e-4)


def test_equal_losses_give_the_mean() -> None:
    curve = LearningCurve()
    for accuracy in (0.2, 0.3, 0.4, 0.5, 0.6):
        curve.add({2: 1.0}, accuracy)
    assert curve.predict({2: 3.0}, 0.1)[0] == pytest.approx(0.4)
    assert curve.predict({2: 3.0}, 0.1)[1] == pytest.approx((0.1 / 3) ** 0.5)  # five values, two of them fitted


@pytest.mark.parametrize("losses", [{}, {1: 1.5}])
def test_without_a_loss_that_is_known_it_is_the_accuracy_so_far(losses: dict[int, float]) -> None:
    assert curve_of(-0.25).predict(losses, 0.2) == (0.2, 0.1)


def test_four_complete_trials_are_too_few() -> None:
    curve = curve_of(-0.25, LOSSES[:-1])
    assert curve.predict({2: 1.5}, 0.3) == (0.3, 0.1)
