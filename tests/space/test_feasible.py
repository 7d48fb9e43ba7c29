"""Proposals that always fit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains
from tests.space.spaces import WIDE, listed, points
from tests.strategies import DEVICE

BUDGETS = [
    Budget(5_000_000),
    Budget(150_000),
    Budget(20_000, macs=2_000_000),
    Budget(None, macs=1_500_000),
    Budget(None, weight_bytes=50_000, weight_format="int8"),
    Budget(1_000_000, activation_bytes=60_000),
    Budget(None, latency_ns=2_000_000, latency_model=DEVICE),
    Budget(300_000, latency_ns=400_000, latency_model=DEVICE),
]
TINY = SearchSpace(stages=(1, 2), blocks=(1, 2), kernels=(3,), pool=(2,), width=(4, 6), shortcut_kernel=(1,))


@settings(max_examples=150)
@given(points(WIDE), st.sampled_from(BUDGETS), st.sampled_from([1, 8]))
def test_every_proposal_is_in_the_space_and_in_the_budget(point: dict[str, Any], budget: Budget, step: int) -> None:
    space = SearchSpace(**{**vars(WIDE), "width_step": step})
    spec = FeasibleSpace(space, budget).decode(point)
    assert budget.check(spec).fits
    assert contains(space, spec)


@settings(max_examples=60)
@given(points(WIDE))
def test_a_proposal_of_full_size_uses_the_budget(point: dict[str, Any]) -> None:
    feasible = FeasibleSpace(WIDE, Budget(5_000_000))
    spec = feasible.decode({**point, "size": 1.0})
    wider = tuple(width + 1 for width in spec.channels)
    grown = ResNetSpec.from_dict({**spec.to_dict(), "channels": wider})
    assert not feasible.fits(grown) or max(spec.channels) == WIDE.width[1]


@settings(max_examples=60)
@given(points(WIDE), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_size_is_never_a_smaller_network(point: dict[str, Any], a: float, b: float) -> None:
    feasible = FeasibleSpace(WIDE, Budget(1_000_000))
    small, large = (cost(feasible.decode({**point, "size": size})).params for size in sorted((a, b)))
    assert small <= large


@pytest.mark.parametrize(("size", "share"), [(0.0, 0.25), (0.5, 0.4472), (1.0, 0.8)])
def test_a_size_is_a_share_of_the_largest_network_between_the_bounds_of_fill(size: float, share: float) -> None:
    point = {"growth_2": 1.5, "growth_3": 1.5, "size": size}
    largest = FeasibleSpace(SearchSpace(stages=(3, 3), fill=(0.5, 1.0)), Budget()).decode({**point, "size": 1.0})
    feasible = FeasibleSpace(SearchSpace(stages=(3, 3), fill=(0.25, 0.8)), Budget())
    spec = feasible.decode(point)
    assert share - 0.02 < cost(spec).params / cost(largest).params <= share + 1e-4
    assert feasible.encode(spec)["size"] == pytest.approx(size, abs=0.02)


def test_the_narrowest_network_is_the_least_size_where_fill_goes_below_it() -> None:
    feasible = FeasibleSpace(SearchSpace(stages=(3, 3), width=(40, 512), fill=(1e-6, 1.0)), Budget())
    spec = feasible.decode({"growth_2": 1.0, "growth_3": 1.0, "size": 0.0})
    assert spec.channels == (40, 40, 40)
    assert feasible.encode(spec)["size"] == 0.0


def test_widths_may_narrow_and_widen_again() -> None:
    space = SearchSpace(stages=(3, 3))
    point = {"stages": 3, "growth_2": 3.0, "growth_3": 0.5, "size": 1.0}
    widths = FeasibleSpace(space, Budget(200_000)).decode(point).channels
    assert widths[0] < widths[2] < widths[1]


def test_coordinates_of_a_spec_give_it_back() -> None:
    feasible = FeasibleSpace(SearchSpace(), Budget())
    reference = ResNetSpec((32, 64, 96, 128, 185))
    assert feasible.decode(feasible.encode(reference)) == reference


@settings(max_examples=60)
@given(points(WIDE))
def test_coordinates_of_a_proposal_give_nearly_its_size(point: dict[str, Any]) -> None:
    feasible = FeasibleSpace(WIDE, Budget(500_000))
    spec = feasible.decode(point)
    coordinates = feasible.encode(spec)
    again = feasible.decode(coordinates)
    assert all(d.contains(coordinates[d.name]) for d in WIDE.dimensions() if d.name in coordinates)
    assert (again.blocks, again.kernels, again.pool) == (spec.blocks, spec.kernels, spec.pool)
    assert 0.7 < cost(again).params / cost(spec).params < 1.4


def test_unseen_visits_every_feasible_network_once() -> None:
    feasible = FeasibleSpace(TINY, Budget(5_000))
    every = set(listed(TINY))
    fitting = {spec for spec in every if feasible.fits(spec)}
    assert 0 < len(fitting) < len(every)
    seen: set[ResNetSpec] = set()
    start = next(iter(fitting))
    while (found := feasible.unseen(start, seen)) is not None:
        assert found not in seen
        seen.add(found)
    assert seen == fitting


def test_growth_is_kept_by_the_widths() -> None:
    space = SearchSpace(growth=(1.0, 2.0), stages=(4, 4), blocks=(1, 1))
    spec = FeasibleSpace(space, Budget(300_000)).decode(
        {"growth_2": 2.0, "growth_3": 1.0, "growth_4": 2.0, "size": 1.0}
    )
    assert all(1.0 <= b / a <= 2.1 for a, b in pairwise(spec.channels))


def test_nothing_fits_names_the_cheapest_network() -> None:
    with pytest.raises(NothingFitsError, match=r"cheapest network .* 4,034 parameters \(100 allowed\)"):
        FeasibleSpace(SearchSpace(), Budget(100))
