"""How many networks of a space fit a budget: exactly, and without looking at each.

The paths of a chain are split in halves that meet at a node in the middle. What the halves on either side cost is
listed, and the pairs that fit together are counted by looking up sums: about the square root of the number of networks
is enough (the idea of Horowitz and Sahni 1974, "Computing partitions with applications to the knapsack problem").
Halves that cannot be completed within the limits are dropped as they arise; those that fit however they are completed
are counted wholesale.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from nas_budget.arch.budget import Budget
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space.layout_graph import (
    Chain,
    Counts,
    Ends,
    Link,
    ends,
    layouts,
    make_chain,
    pools_of,
    repeats,
    stems_of,
    ways_of,
)
from nas_budget.space.space import SearchSpace
from nas_budget.space.width_grid import growth_bounds, width_grid

MOST_HALVES = 500_000_000
"""Halves that are listed before a count is given up: some ten seconds with one limit."""
MOST_HELD = 50_000_000
"""Halves that are held in memory at once."""
FEW_PAIRS = 20_000
"""Pairs that are compared directly."""


def count_fitting(space: SearchSpace, budget: Budget) -> int:
    """How many different networks of the space keep every limit, exactly.

    Raises:
        SpaceTooLargeError: There are too many halves to list.
    """
    total = 0
    for layout in layouts(space):
        chain = make_chain(space, layout, budget)
        total += count_paths(chain)
        if repeats(space, layout):
            total -= count_paths(chain.constant())
    return total


def count_networks(space: SearchSpace) -> int:
    """How many different networks the space holds, exactly."""
    grid = width_grid(space)
    bounds = [growth_bounds(space, width) for width in grid]
    follow = [(bisect_left(grid, low), bisect_right(grid, high)) for low, high in bounds]
    n_ways, total = len(ways_of(space)), 0
    stems = [_stems_before(space, width) for width in grid]
    for layout in layouts(space):
        n_stages, n_pools = len(layout["strides"]), len(pools_of(space, layout))
        beyond = [n_pools] * len(grid)
        for _ in range(n_stages - 1):
            sums = [0, *accumulate(beyond)]
            beyond = [n_ways * (sums[high] - sums[low]) for low, high in follow]
        total += n_ways * sum(len(before) * n for before, n in zip(stems, beyond, strict=True))
        if repeats(space, layout):
            one_width = (
                sum(stem in (0, width) for stem in before)
                for width, before, (low, high) in zip(grid, stems, bounds, strict=True)
                if n_stages == 1 or low <= width <= high
            )
            total -= sum(one_width) * n_ways**n_stages * n_pools
    return total


def _stems_before(space: SearchSpace, width: int) -> list[int]:
    """Widths of the stems a first stage may have, none of them under two names."""
    return [stem for _, stem in stems_of(space) if stem != width or 0 not in space.stem_width]


def count_paths(chain: Chain) -> int:
    """How many paths of a chain are within its limits."""
    if (chain.limits < 0).any():
        return 0
    left = _Side(chain.links, chain.limits)
    right = _Side([link.reversed() for link in reversed(chain.links)], chain.limits)
    total = 0
    while left.level + right.level < len(chain.links) - 2:
        if left.n_next() <= right.n_next():
            total += left.extend(wholesale=True)
        else:
            right.extend()
    _refuse_more_than(MOST_HALVES, left.n_next() + right.n_next())
    for node in range(left.links[left.level].open.shape[1]):
        half = left.step(node, wholesale=True)
        total += half.wholesale
        if half.costs.size:
            total += pairs_within(half.costs, right.step(node).costs, chain.limits)
    return total


def _refuse_more_than(most: int, n: int) -> None:
    if n > most:
        raise SpaceTooLargeError(
            f"the space is too large to count exactly ({n:.0e} halves of networks to list, {most:.0e} at most); "
            "a larger width_step, or fewer stages, would do"
        )


class _Step(NamedTuple):
    """Costs of the paths that reach a node, shape (limits, paths), and how many networks were counted at once."""

    costs: Counts
    wholesale: int


class _Side:
    """The paths from one end of a chain through its first `level` links: node reached and cost of each."""

    def __init__(self, links: Sequence[Link], limits: Counts) -> None:
        self.links, self.limits, self.level = links, limits, 0
        self.beyond: list[Ends] = ends(links)
        n = links[0].open.shape[0]
        self.nodes, self.costs = np.arange(n), np.zeros((len(limits), n), limits.dtype)

    def n_next(self) -> int:
        """Paths through one link more, if none were dropped."""
        branches = self.links[self.level].open.sum(axis=(1, 2))
        return int(branches[self.nodes].sum())

    def step(self, node: int, wholesale: bool = False) -> _Step:
        """The paths through one link more that reach a node and can be completed within the limits."""
        link, beyond = self.links[self.level], self.beyond[self.level + 1]
        least, most, found, n_sure = beyond.least[:, node, None], beyond.most[:, node, None], [], 0
        for way in range(link.open.shape[2]):
            may = link.open[:, node, way][self.nodes]
            nodes, before = (self.nodes, self.costs) if may.all() else (self.nodes[may], self.costs[:, may])
            costs = before + link.costs[:, :, node, way][:, nodes]
            alive = (costs + least <= self.limits[:, None]).all(axis=0)
            if wholesale:
                sure = (costs + most <= self.limits[:, None]).all(axis=0)
                n_sure += int(sure.sum())
                alive &= ~sure
            found.append(costs[:, alive])
        return _Step(np.concatenate(found, axis=1), n_sure * beyond.ways[node] if n_sure else 0)

    def extend(self, wholesale: bool = False) -> int:
        """Go through one link more; gives how many networks were counted at once."""
        _refuse_more_than(MOST_HELD, self.n_next())
        steps = [self.step(node, wholesale) for node in range(self.links[self.level].open.shape[1])]
        self.nodes = np.repeat(np.arange(len(steps)), [step.costs.shape[1] for step in steps])
        self.costs = np.concatenate([step.costs for step in steps], axis=1)
        self.level += 1
        return int(sum(step.wholesale for step in steps))


def pairs_within(left: Counts, right: Counts, limits: Counts) -> int:
    """How many pairs of a column of `left` and one of `right`, shapes (limits, n), add up to within every limit."""
    n_pairs: int = left.shape[1] * right.shape[1]
    if n_pairs == 0 or (left.min(axis=1) + right.min(axis=1) > limits).any():
        return 0
    open_limits = left.max(axis=1) + right.max(axis=1) > limits
    left, right, limits = left[open_limits], right[open_limits], limits[open_limits]
    if not len(limits):
        return n_pairs
    if len(limits) == 1:
        return _sums_within(left[0], right[0], int(limits[0]))
    if n_pairs <= FEW_PAIRS:
        return int((left[:, :, None] + right[:, None, :] <= limits[:, None, None]).all(axis=0).sum())
    if left.shape[1] < right.shape[1]:
        left, right = right, left
    spread = (left.max(axis=1) - left.min(axis=1)) / (limits + 1)
    order = np.argsort(left[spread.argmax()])
    half = len(order) // 2
    return sum(pairs_within(left[:, part], right, limits) for part in (order[:half], order[half:]))


def _sums_within(left: Counts, right: Counts, limit: int) -> int:
    """How many pairs add up to at most the limit."""
    left, right = left[left <= limit], right[right <= limit]
    if limit > 8 * (len(left) + len(right)):
        found = np.searchsorted(np.sort(right), limit - np.sort(left), side="right")
    else:
        found = np.cumsum(np.bincount(right, minlength=limit + 1))[limit - left]
    return int(found.sum())
