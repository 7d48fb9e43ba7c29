from __future__ import annotations

import numpy as np
import pytest

from nas_budget.search.samplers.expected_gain import BEST_WEIGHT, expected_gain, expected_improvement

FRONT = np.array([2.0, 4.0]), np.array([0.5, 0.7])
SURE = 1e-9
BOUNDS = (1.0, 5.0)


def gain(mean: float, size: float, deviation: float = SURE, aim: str = "front") -> float:
    return float(expected_gain(np.array([mean]), np.array([deviation]), np.array([size]), FRONT, BOUNDS, aim)[0])


def test_expected_improvement_is_the_mean_over_draws() -> None:
    draws = np.random.default_rng(0).normal(0.6, 0.05, 1_000_000)
    for level in (0.5, 0.6, 0.7):
        exact = float(expected_improvement(np.array([0.6]), np.array([0.05]), level)[0])
        assert exact == pytest.approx(np.maximum(draws - level, 0).mean(), abs=2e-4)


def test_a_sure_network_gains_the_area_that_it_adds_to_the_front() -> None:
    # 0.1 above the front from size 3 to size 4, of a range of 4, and nothing from there on.
    assert gain(0.6, 3.0) == pytest.approx(0.1 / 4, rel=0.05)
    assert gain(0.6, 4.0) == 0.0
    # Below the smallest network the front is taken as the least accuracy known.
    assert gain(0.5, 1.0) == pytest.approx(0.0, abs=1e-6)
    # A new best counts at every larger size, and again for itself.
    assert gain(0.8, 4.0) == pytest.approx(0.1 / 4 + BEST_WEIGHT * 0.1, rel=0.05)


def test_smaller_is_better_and_so_is_less_sure() -> None:
    assert gain(0.69, 2.5, 0.02) > gain(0.69, 3.5, 0.02)
    assert gain(0.6, 4.0, 0.1) > gain(0.6, 4.0, 0.01)


def test_the_best_network_alone_may_be_the_aim() -> None:
    assert gain(0.6, 3.0, aim="best") == 0.0
    assert gain(0.8, 4.9, aim="best") == pytest.approx(gain(0.8, 1.0, aim="best")) == pytest.approx(0.1)


def test_before_anything_is_known_the_most_accurate_gains_most() -> None:
    nothing = np.empty(0), np.empty(0)
    found = expected_gain(np.array([0.3, 0.6]), np.array([0.1, 0.1]), np.array([2.0, 2.0]), nothing, BOUNDS)
    assert found[1] > found[0]
