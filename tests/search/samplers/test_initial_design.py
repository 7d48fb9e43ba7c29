from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nas_budget.arch.cost import cost
from nas_budget.search.samplers.initial_design import latin_hypercube, startup_points
from nas_budget.space.dimensions import Dimension
from tests.search.samplers.spaces import space_of


@given(st.integers(1, 30), st.integers(0, 5))
def test_a_latin_hypercube_is_spread_along_every_coordinate(n: int, seed: int) -> None:
    dimensions = [Dimension("a", 0, 1), Dimension("b", 1, 9, whole=True), Dimension("c", choices=("x", "y", "z"))]
    points = latin_hypercube(dimensions, n, seed)
    assert sorted(int(point["a"] * n) for point in points) == list(range(n))
    assert all(1 <= point["b"] <= 9 for point in points)
    counts = [sum(point["c"] == choice for point in points) for choice in "xyz"]
    assert max(counts) - min(counts) <= 2
    assert points == latin_hypercube(dimensions, n, seed)
    assert n == 1 or points != latin_hypercube(dimensions, n, seed + 1)


def test_startup_points_have_small_networks_and_large_ones() -> None:
    space = space_of()
    sizes = sorted(cost(space.decode(point).spec).params for point in startup_points(space, 12, 0))
    assert sizes[0] < 5_000
    assert sizes[-1] > 20_000


def test_half_of_the_startup_points_are_drawn_from_what_fits() -> None:
    space = space_of()
    points = startup_points(space, 40, 0)
    assert points == startup_points(space, 40, 0)
    drawn, evenly = ([cost(space.decode(p).spec).params for p in some] for some in (points[:20], points[20:]))
    assert sorted(drawn)[10] > sorted(evenly)[10]  # most of what fits is large
    assert all(d.contains(p[d.name]) for p in points for d in space.dimensions())
