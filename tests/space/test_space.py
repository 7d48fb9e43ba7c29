"""The space: what it holds, and proposals that always fit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, SpecError
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.neighbors import neighbors
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.spec_factory import contains, make_spec

WIDE = SearchSpace(stages=(2, 5), first_stride=(1, 2), stem_kernel=(1, 3), kernels=(1, 3, 5))
BUDGETS = [
    Budget(5_000_000),
    Budget(150_000),
    Budget(20_000, macs=2_000_000),
    Budget(None, macs=1_500_000),
    Budget(None, weight_bytes=50_000, weight_format="int8"),
    Budget(1_000_000, activation_bytes=60_000),
]
TINY = SearchSpace(stages=(1, 2), blocks=(1, 2), kernels=(3,), pool=(2,), width=(4, 6), shortcut_kernel=(1,))


def points(space: SearchSpace) -> st.SearchStrategy[dict[str, Any]]:
    values = {
        d.name: st.sampled_from(d.choices)
        if d.choices
        else st.integers(int(d.low), int(d.high))
        if d.whole
        else st.floats(d.low, d.high)
        for d in space.dimensions()
    }
    return st.fixed_dictionaries(values)


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
    every = {
        make_spec(TINY, widths, blocks, (3,) * n, (1, 2)[:n], {name: getattr(TINY, name)[0] for name in OPTIONS})
        for n in (1, 2)
        for widths in _tuples(range(4, 7), n)
        for blocks in _tuples(range(1, 3), n)
    }
    fitting = {spec for spec in every if feasible.fits(spec)}
    assert 0 < len(fitting) < len(every)
    seen: set[ResNetSpec] = set()
    start = next(iter(fitting))
    while (found := feasible.unseen(start, seen)) is not None:
        assert found not in seen
        seen.add(found)
    assert seen == fitting


def _tuples(values: range, n: int) -> list[tuple[int, ...]]:
    return [(a,) for a in values] if n == 1 else [(a, b) for a in values for b in values]


@settings(max_examples=40)
@given(points(WIDE))
def test_neighbors_are_in_the_space_and_differ(point: dict[str, Any]) -> None:
    spec = FeasibleSpace(WIDE, Budget(300_000)).decode(point)
    for near in neighbors(WIDE, spec):
        assert near != spec
        assert contains(WIDE, near)


def test_growth_is_kept_by_the_widths() -> None:
    space = SearchSpace(growth=(1.0, 2.0), stages=(4, 4), blocks=(1, 1))
    spec = FeasibleSpace(space, Budget(300_000)).decode(
        {"growth_2": 2.0, "growth_3": 1.0, "growth_4": 2.0, "size": 1.0}
    )
    assert all(1.0 <= b / a <= 2.1 for a, b in pairwise(spec.channels))


def test_nothing_fits_names_the_cheapest_network() -> None:
    with pytest.raises(NothingFitsError, match=r"cheapest network .* 4,034 parameters \(100 allowed\)"):
        FeasibleSpace(SearchSpace(), Budget(100))


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": (4, 3)},
        {"blocks": (0, 2)},
        {"kernels": (2,)},
        {"kernels": ()},
        {"pool": (0,)},
        {"width": (9, 15), "width_step": 8, "fill": (0.5, 2.0)},
        {"growth": (0.0, 2.0)},
    ],
)
def test_bounds_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        SearchSpace(**wrong)


def test_single_values_are_no_coordinates() -> None:
    space = SearchSpace(stages=(3, 3), blocks=(2, 2), kernels=(3,), pool=(2,), shortcut_kernel=(1,), growth=(2.0, 2.0))
    assert [d.name for d in space.dimensions()] == ["size"]
