"""Exact counts against lists of every network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.arch.budget import Budget
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space import counting, pair_counting
from nas_budget.space.counting import count_fitting, count_networks
from nas_budget.space.pair_counting import pairs_within
from nas_budget.space.space import SearchSpace
from tests.space.spaces import BUDGETS, SMALL, every, fitting

LARGE = SearchSpace(
    stages=(5, 5), blocks=(1, 6), kernels=(3,), pool=(2,), shortcut_kernel=(3,), width=(16, 256), width_step=16,
    growth=(0.01, 100.0),
)  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_counts_are_those_of_a_list(name: str) -> None:
    assert count_networks(SMALL[name]) == len(every(name))
    for budget in BUDGETS:
        assert count_fitting(SMALL[name], budget) == len(fitting(name, budget)), str(budget)


def test_a_space_of_eight_billion() -> None:
    assert count_networks(LARGE) == (16 * 6) ** 5 == 8_153_726_976
    n_fitting = count_fitting(LARGE, Budget(5_000_000))
    assert n_fitting == 1_950_306_924
    assert n_fitting / count_networks(LARGE) == pytest.approx(0.239, abs=5e-4)


def test_a_space_is_counted_as_the_parts_it_falls_into() -> None:
    whole = SearchSpace(**{**vars(LARGE), "stages": (3, 4), "kernels": (3, 5)})
    parts = [SearchSpace(**{**vars(whole), "stages": (n, n)}) for n in (3, 4)]
    budget = Budget(1_000_000, macs=200_000_000)
    assert count_fitting(whole, budget) == sum(count_fitting(part, budget) for part in parts)


def test_everything_fits_a_budget_beyond_all() -> None:
    assert count_fitting(LARGE, Budget(10**12)) == count_fitting(LARGE, Budget(None)) == count_networks(LARGE)


def test_a_count_that_would_take_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_HALVES", 1_000)
    with pytest.raises(SpaceTooLargeError, match="width_step"):
        count_fitting(LARGE, Budget())


@given(st.integers(1, 4), st.integers(1, 60), st.integers(1, 60), st.integers(1, 10**6), st.integers(0, 2**31))
def test_pairs_are_those_compared_one_by_one(n_limits: int, n: int, m: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, most, (n_limits, n)), rng.integers(0, most, (n_limits, m))
    limits = rng.integers(0, 2 * most, n_limits)
    expected = int((left[:, :, None] + right[:, None, :] <= limits[:, None, None]).all(axis=0).sum())
    before, pair_counting.FEW_PAIRS = pair_counting.FEW_PAIRS, 4
    try:
        assert pairs_within(limits[:, None] - left, right) == expected
    finally:
        pair_counting.FEW_PAIRS = before
