"""The layered graphs of a space, against lists of its every network."""

from __future__ import annotations

from typing import Any

import pytest

from nas_budget.arch.budget import Budget
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space import layout_graph
from nas_budget.space.layout_graph import KINDS, NO_LIMIT, build_graph, costs_to_go, has_repeats, layouts
from nas_budget.space.space import SearchSpace
from tests.space.spaces import SMALL, every


@pytest.mark.parametrize("name", SMALL)
def test_paths_are_the_networks_and_the_least_costs_those_of_the_cheapest(name: str) -> None:
    space, n_paths = SMALL[name], 0
    cheapest = min(used.params for used in every(name).values())
    in_reach = {cheapest: 0, cheapest - 1: 0}
    for layout in layouts(space):
        graph = build_graph(space, layout, Budget(None))
        n_paths += costs_to_go(graph.edges)[0].n_paths.sum()
        if has_repeats(space, layout):
            n_paths -= costs_to_go(graph.constant().edges)[0].n_paths.sum()
        for params in in_reach:
            graph = build_graph(space, layout, Budget(params))
            in_reach[params] += bool(costs_to_go(graph.edges)[0].least.min() <= graph.limits[0])
    assert n_paths == len(every(name))
    assert in_reach[cheapest] > 0 == in_reach[cheapest - 1]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("column", ["params", "macs"])
def test_a_width_is_kept_where_its_cheapest_network_just_fits(name: str, column: str) -> None:
    least: dict[tuple[Any, ...], int] = {}
    for spec, used in every(name).items():
        for width in {*spec.channels}:
            key = (width, spec.strides, *(getattr(spec, kind) for kind in KINDS))
            least[key] = min(getattr(used, column), least.get(key, NO_LIMIT))
    for (width, strides, *kinds), cost in least.items():
        layout = {"strides": strides, **dict(zip(KINDS, kinds, strict=True))}
        budget = Budget(**{"params": None, column: cost})
        assert width in build_graph(SMALL[name], layout, budget).widths, (layout, width)


def test_widths_that_no_network_can_pay_for_are_left_out() -> None:
    space = SearchSpace(stages=(1, 1), blocks=(1, 1), kernels=(3,), block=("inverted",), width=(8, 512), width_step=8)
    few, many = (build_graph(space, next(layouts(space)), Budget(limit)).widths for limit in (20_000, 5_000_000))
    assert few[-1] < many[-1] == 512


def test_too_many_pairs_of_widths_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_graph, "MOST_CHOICES", 1_000)
    space = SearchSpace()
    with pytest.raises(SpaceTooLargeError, match="width_step"):
        build_graph(space, next(layouts(space)), Budget())
