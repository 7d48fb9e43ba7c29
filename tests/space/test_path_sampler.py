"""Paths counted by rounded costs, against exact counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from nas_budget.arch.budget import Budget
from nas_budget.space.counting import count_paths
from nas_budget.space.layout_graph import build_graph, layouts
from nas_budget.space.path_sampler import PathSampler
from nas_budget.space.space import SearchSpace
from tests.space.spaces import SMALL


def test_rounded_counts_enclose_the_exact_count() -> None:
    space, budget = SearchSpace(stages=(4, 4), width=(8, 64), width_step=8), Budget(300_000, macs=40_000_000)
    for layout in layouts(space):
        graph = build_graph(space, layout, budget)
        exact = count_paths(graph)
        bounds = [
            (PathSampler(graph, n, up=True).weights.sum(), PathSampler(graph, n).weights.sum()) for n in (8, 16, 32)
        ]
        for (low, high), (closer_low, closer_high) in pairwise(bounds):
            assert low <= closer_low <= exact <= closer_high <= high


def test_a_grid_as_fine_as_the_costs_counts_exactly_and_draws_only_what_fits() -> None:
    space, budget = SMALL["plain"], Budget(6_000)
    for layout in layouts(space):
        graph = build_graph(space, layout, budget)
        sampler = PathSampler(graph, n_steps=10**6)
        assert sampler.exact
        assert sampler.weights.sum() == count_paths(graph)
        drawn = sampler.draw(50, np.random.default_rng(0))
        assert (drawn.costs <= graph.limits[:, None]).all()
