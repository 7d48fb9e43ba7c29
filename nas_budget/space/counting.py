"""How many networks of a space fit a budget: exactly, and without looking at each.

The paths of a layered graph are split in halves that meet at a node in the middle. The costs of the halves on either
side are listed, and the pairs that fit together are counted by looking up sums. About the square root of the number
of networks is enough (the idea of Horowitz and Sahni 1974, "Computing partitions with applications to the knapsack
problem"). A half that cannot be completed within the limits is dropped as it arises. A half that fits however it is
completed is counted at once, with all its completions.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from nas_budget.arch.budget import Budget
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space.layout_graph import (
    Counts,
    Edges,
    LayeredGraph,
    build_graph,
    costs_to_go,
    has_repeats,
    head_choices,
    layouts,
    stage_variants,
    stem_choices,
)
from nas_budget.space.pair_counting import pairs_within, within
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import growth_bounds, width_grid

MOST_HALVES = 500_000_000
"""Halves that are listed before a count is given up: some ten seconds with one limit."""
MOST_HELD = 50_000_000
"""Halves that are held in memory at once."""
SMALL = 2**29
"""Limits below it are counted in 32 bits: two costs, each at most one over a limit, add up to less than 2^31."""


def count_fitting(space: SearchSpace, budget: Budget, on_progress: Callable[[float], None] = lambda _: None) -> int:
    """How many different networks of the space keep every limit, exactly.

    Args:
        space: The networks.
        budget: Limits on each of them.
        on_progress: Called with the share of the layouts that are counted, above 0 and up to 1.

    Raises:
        SpaceTooLargeError: There are too many halves to list.

    Examples:
        >>> from nas_budget import Budget, SearchSpace
        >>> space = SearchSpace(stages=(3, 4), blocks=(1, 2), width=(8, 64), width_step=8)
        >>> count_networks(space), count_fitting(space, Budget(params=150_000))
        (2429184, 407271)
    """
    total, every = 0, [*layouts(space)]
    for n_counted, layout in enumerate(every, start=1):
        graph = build_graph(space, layout, budget)
        total += count_paths(graph)
        if has_repeats(space, layout):  # the same networks count in the layout of another shortcut kernel
            total -= count_paths(graph.constant())
        on_progress(n_counted / len(every))
    return total


def count_networks(space: SearchSpace) -> int:
    """How many different networks the space holds, exactly."""
    grid = width_grid(space)
    bounds = [growth_bounds(space, width) for width in grid]
    # The widths that may follow a width are a range of the grid, here by the places of its ends.
    follow = [(bisect_left(grid, low), bisect_right(grid, high)) for low, high in bounds]
    total = 0
    stems = [_stems_before(space, width) for width in grid]
    for layout in layouts(space):
        n_stages, n_heads = len(layout["strides"]), len(head_choices(space, layout))
        n_variants = len(stage_variants(space, layout["block"]))
        # Backwards from the heads: how many completions each width of the stage has.
        beyond = [n_heads] * len(grid)
        for _ in range(n_stages - 1):
            sums = [0, *accumulate(beyond)]  # the sum over a range is the difference of two of these
            beyond = [n_variants * (sums[high] - sums[low]) for low, high in follow]
        total += n_variants * sum(len(before) * n for before, n in zip(stems, beyond, strict=True))
        if has_repeats(space, layout):
            # Networks of one width throughout project nothing: the layout of the least shortcut kernel has them.
            one_width = (
                sum(stem in (0, width) for stem in before)
                for width, before, (low, high) in zip(grid, stems, bounds, strict=True)
                if n_stages == 1 or low <= width <= high
            )
            total -= sum(one_width) * n_variants**n_stages * n_heads
    return total


def _stems_before(space: SearchSpace, width: int) -> list[int]:
    """Widths of the stems a first stage may have, none of them under two names."""
    return [stem for _, stem in stem_choices(space) if stem != width or 0 not in space.stem_width]


def count_paths(graph: LayeredGraph) -> int:
    """How many paths of a graph are within its limits."""
    if (graph.limits < 0).any():
        return 0
    left = _Side(graph.edges, graph.limits)
    right = _Side([edges.reversed() for edges in reversed(graph.edges)], graph.limits)
    total = 0
    # The shorter list grows first: the halves meet where the two lists are about as long.
    while left.level + right.level < len(graph.edges) - 2:
        if left.n_next() <= right.n_next():
            total += left.extend(wholesale=True)
        else:
            right.extend()
    _refuse_more_than(MOST_HALVES, left.n_next() + right.n_next())
    # The last step of both sides is made for one node at a time, so that what it lists is never held as a whole.
    for node in range(left.edges[left.level].open.shape[1]):
        half = left.step(node, wholesale=True)
        total += half.wholesale
        if half.costs.size:
            total += pairs_within(left.limits[:, None] - half.costs, right.step(node).costs)
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
    """The paths from one end of a graph through its first `level` layers of edges, sorted by the node they reach."""

    def __init__(self, edges: Sequence[Edges], limits: Counts) -> None:
        kind: Any = np.int32 if limits.max() < SMALL else np.int64  # half the memory to go through is half the time
        self.edges, self.level = edges, 0
        self.limits: Counts = limits.astype(kind)
        self.beyond = costs_to_go(edges)
        self._hold([np.zeros((len(limits), 1), kind)] * edges[0].open.shape[0])

    def _hold(self, costs: Sequence[Counts]) -> None:
        """Keep the paths to each node."""
        self.n_paths = np.array([reached.shape[1] for reached in costs])
        # A node that no path reaches gets a least cost over every limit, so that `step` leaves it out.
        over = (self.limits + 1)[:, None]
        self.least = np.stack([reached.min(axis=1, initial=over.max()) for reached in costs], axis=1)
        self.costs = np.concatenate(costs, axis=1)

    def n_next(self) -> int:
        """Paths through one layer more, if none were dropped."""
        branches = self.edges[self.level].open.sum(axis=(1, 2))
        return int(branches @ self.n_paths)

    def step(self, node: int, wholesale: bool = False) -> _Step:
        """The paths through one layer more that reach a node and can be completed within the limits."""
        edges, beyond = self.edges[self.level], self.beyond[self.level + 1]
        starts = np.concatenate([[0], np.cumsum(self.n_paths)])
        # Up to which cost a path has a completion that fits, and up to which all of them do; -1: at no cost.
        alive_up_to = np.clip(self.limits - beyond.least[:, node], -1, self.limits).astype(self.limits.dtype)
        sure_up_to = np.clip(self.limits - beyond.most[:, node], -1, self.limits).astype(self.limits.dtype)
        found, n_sure = [self.costs[:, :0]], 0
        for variant in range(edges.open.shape[2]):
            # An edge that is not open costs more than any limit, so that its paths are dropped with those over a limit.
            over = (self.limits + 1)[:, None]
            added = np.where(edges.open[:, node, variant], np.minimum(edges.costs[:, :, node, variant], over), over)
            added = added.astype(self.limits.dtype)
            useful = np.flatnonzero(within(self.least + added, alive_up_to))
            if not useful.size:
                continue
            # The paths lie sorted by node: those of all nodes from the first useful one to the last are one slice.
            first, last = useful[0], useful[-1] + 1
            costs = np.repeat(added[:, first:last], self.n_paths[first:last], axis=1)
            costs += self.costs[:, starts[first] : starts[last]]
            alive = within(costs, alive_up_to)
            if wholesale and (sure_up_to >= 0).all():
                # Each of these stands for as many networks as it has completions, and need not be listed any more.
                sure = within(costs, sure_up_to)
                n_sure += int(np.count_nonzero(sure))
                alive &= ~sure
            found.append(costs.compress(alive, axis=1))
        return _Step(np.concatenate(found, axis=1), n_sure * beyond.n_paths[node] if n_sure else 0)

    def extend(self, wholesale: bool = False) -> int:
        """Go through one layer more; gives how many networks were counted at once."""
        _refuse_more_than(MOST_HELD, self.n_next())
        steps = [self.step(node, wholesale) for node in range(self.edges[self.level].open.shape[1])]
        self._hold([step.costs for step in steps])
        self.level += 1
        return int(sum(step.wholesale for step in steps))
