"""The networks one change away."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from nas_budget.arch.budget import Budget
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.neighbors import neighbors
from nas_budget.space.spec_factory import contains
from tests.space.spaces import WIDE, points


@settings(max_examples=40)
@given(points(WIDE))
def test_neighbors_are_in_the_space_and_differ(point: dict[str, Any]) -> None:
    spec = FeasibleSpace(WIDE, Budget(300_000)).decode(point)
    for near in neighbors(WIDE, spec):
        assert near != spec
        assert contains(WIDE, near)
