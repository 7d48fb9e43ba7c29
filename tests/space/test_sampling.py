"""Networks drawn from those that fit, against lists of every network."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.cost_table import cost_table, fits_table
from nas_budget.errors import NothingFitsError
from nas_budget.space import path_sampler, sampling
from nas_budget.space.sampling import draw_fitting, sample
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains, make_spec
from tests.space.spaces import BUDGETS, SMALL, fitting


def chi_square_share(n: int, counts: Counter[object], n_kinds: int) -> float:
    """How far the counts are from even, in standard deviations of a chi-square of so many kinds."""
    expected = n / n_kinds
    missing = n_kinds - len(counts)
    statistic = sum((count - expected) ** 2 for count in counts.values()) / expected + missing * expected
    return float((statistic - (n_kinds - 1)) / np.sqrt(2 * (n_kinds - 1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("budget", [None, *BUDGETS[:5]], ids=str)
def test_draws_are_even_over_what_fits(name: str, budget: Budget | None) -> None:
    space, listed = SMALL[name], fitting(name, budget)
    if not listed:
        with pytest.raises(NothingFitsError):
            sample(space, 1, budget)
        return
    n = min(20 * len(listed), 10_000)
    counts = Counter[object](sample(space, n, budget, seed=3))
    assert set(counts) <= listed
    if len(listed) > 1:
        assert abs(chi_square_share(n, counts, len(listed))) < 4


def test_uneven_draws_are_noticed() -> None:
    """The yardstick itself: a tenth of the kinds drawn half more often."""
    rng = np.random.default_rng(0)
    weights = np.where(np.arange(1_000) < 100, 1.5, 1.0)
    drawn = Counter[object](rng.choice(1_000, 20_000, p=weights / weights.sum()).tolist())
    assert chi_square_share(20_000, drawn, 1_000) > 4


def test_a_coarse_grid_is_made_finer_and_stays_even(monkeypatch: pytest.MonkeyPatch) -> None:
    space, budget = SMALL["plain"], Budget(3_500)
    listed = fitting("plain", budget)
    monkeypatch.setattr(path_sampler, "FEWEST_STEPS", 1)
    monkeypatch.setattr(path_sampler, "MOST_STEPS", 1)
    monkeypatch.setattr(sampling, "ENOUGH", 0.9)
    counts = Counter[object](sample(space, 20 * len(listed), budget))
    assert abs(chi_square_share(20 * len(listed), counts, len(listed))) < 4


def test_draws_of_a_small_budget_in_a_huge_space_fit() -> None:
    space = SearchSpace(stages=(3, 5), blocks=(1, 6), kernels=(3, 5, 7), width=(8, 1024), growth=(0.1, 10.0))
    largest = make_spec(space, (1024,) * 5, (6,) * 5, (7,) * 5, (0,) * 5, (1, 2, 2, 2, 2), {**OPTIONS, "pool": 2})
    assert cost(largest).params > 500_000_000
    budget = Budget(50_000)
    drawn = sample(space, 10_000, budget)
    assert len(drawn) == 10_000
    assert all(cost(spec).params <= 50_000 and contains(space, spec) for spec in drawn[:500])
    assert len(set(drawn)) > 9_900


OPTIONS = {
    "stem_kernel": 3, "shortcut_kernel": 3, "block": "basic", "se_reduction": 0, "stem_width": 0, "activation": "relu",
    "groups": 1, "stem_stride": 1, "head_width": 0,
}  # fmt: skip


def test_the_seed_gives_the_same_again() -> None:
    space = SMALL["options"]
    assert sample(space, 50, Budget(6_000), seed=1) == sample(space, 50, Budget(6_000), seed=1)
    assert sample(space, 50, Budget(6_000), seed=1) != sample(space, 50, Budget(6_000), seed=2)


@pytest.mark.parametrize("name", SMALL)
def test_rows_are_the_specs_as_arrays(name: str) -> None:
    budget = BUDGETS[4]
    rows, specs = draw_fitting(SMALL[name], 60, budget, 5), sample(SMALL[name], 60, budget, 5)
    counted = cost_table(**rows)
    assert fits_table(counted, budget).all()
    assert counted["params"].tolist() == [cost(spec).params for spec in specs]
    assert counted["macs"].tolist() == [cost(spec).macs for spec in specs]
