"""The paths of a graph that fit by rounded costs: how many there are, and one of them drawn evenly.

Costs are rounded to a grid of some dozen steps along each limit, so that the ways to complete a path within what is
left of the limits can be tabled for each node, backwards from the last (dynamic programming).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.budget import Budget
from nas_budget.space.layout_graph import Counts, Edges, LayeredGraph, build_graph, costs_to_go, layouts
from nas_budget.space.space import SearchSpace

Floats = NDArray[np.float64]

WORK = 2e9
"""Multiplications of one layer's table that are worth a finer grid."""
FEWEST_STEPS, MOST_STEPS = 6, 256


@dataclass(frozen=True)
class Paths:
    """Paths of a graph.

    Attributes:
        nodes: Node before the first layer and after each, shape (layers + 1, paths).
        variants: Which of the edges that join two nodes each path takes, shape (layers, paths).
        costs: True costs, not the rounded ones, shape (limits, paths).
    """

    nodes: Counts
    variants: Counts
    costs: Counts


class PathSampler:
    """The paths of a graph that fit by rounded costs: how many there are, and a way to draw them evenly.

    With costs rounded down, every path that truly fits is among them, and each is drawn with the same chance: dropping
    the few that do not fit leaves even draws of those that do. A finer grid leaves fewer to drop, and takes longer.

    Args:
        graph: The paths.
        n_steps: Steps of the grid along each limit.
        up: Whether costs are rounded up instead: then there are no more paths than truly fit.
    """

    def __init__(self, graph: LayeredGraph, n_steps: int, up: bool = False) -> None:
        self.graph = graph
        beyond = costs_to_go(graph.edges)
        slack = graph.limits[:, None] - beyond[0].least
        self.starts = np.flatnonzero((beyond[0].n_paths > 0).astype(bool) & (slack >= 0).all(axis=0))
        slack = slack[:, self.starts]
        most = slack.max(axis=1, initial=0)
        self.step = most // n_steps + 1
        self.shape = tuple((most // self.step + 1).tolist())
        # An edge is charged what it adds to the least that completes a path: the grid spans only what can be chosen.
        pairs = zip(graph.edges, beyond, beyond[1:], strict=False)
        self.edges = [_rounded(edges, before.least, after, self.step, up) for edges, before, after in pairs]
        # A table holds, by node and by what is left of each limit, how many completions there are.
        self.tables = [np.ones((len(graph.heads), *self.shape))]
        for edges in reversed(self.edges):
            self.tables.insert(0, _completions(edges, self.tables[0]))
        self.cells = slack // self.step[:, None]
        self.weights: Floats = self.tables[0][(self.starts, *self.cells)]

    @property
    def exact(self) -> bool:
        """Whether the grid is as fine as the costs."""
        return bool((self.step == 1).all())

    def draw(self, n: int, rng: np.random.Generator) -> Paths:
        """`n` paths, each drawn evenly."""
        # Each step in proportion to the completions it leaves, so the chances along a path multiply to one in all.
        chosen = rng.choice(len(self.starts), n, p=self.weights / self.weights.sum())
        nodes, cells = self.starts[chosen], self.cells[:, chosen]
        reached, variants, costs = [nodes], [], np.zeros_like(cells)
        for place, edges in enumerate(self.edges):
            after, variant = self._follow(place, nodes, cells, rng)
            cells = cells - edges.costs[:, nodes, after, variant]
            costs = costs + self.graph.edges[place].costs[:, nodes, after, variant]
            nodes = after
            reached.append(nodes)
            variants.append(variant)
        return Paths(np.stack(reached), np.stack(variants), costs)

    def _follow(self, place: int, nodes: Counts, cells: Counts, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """The next node and the way there of each path, in proportion to how many completions it leaves."""
        edges, table = self.edges[place], self.tables[place + 1]
        # Paths at the same node with as much left have the same choice before them: one table of sums serves them all.
        same, member = np.unique(np.vstack([nodes, cells]), axis=1, return_inverse=True)
        member = member.ravel()  # NumPy 2.0, and no other, gives it two axes
        order = np.argsort(member, kind="stable")
        chosen = np.empty(len(nodes), np.int64)
        for (node, *cell), paths in zip(same.T, np.split(order, np.cumsum(np.bincount(member))[:-1]), strict=True):
            left = np.array(cell)[:, None, None] - edges.costs[:, node]
            may = np.flatnonzero(edges.open[node] & (left >= 0).all(axis=0))
            targets = may // edges.open.shape[2]
            sums = np.cumsum(table[(targets, *left.reshape(len(left), -1)[:, may])])
            chosen[paths] = may[np.searchsorted(sums, rng.random(len(paths)) * sums[-1], side="right")]
        return np.divmod(chosen, edges.open.shape[2])


def _rounded(edges: Edges, least_before: Counts, after: Any, step: Counts, up: bool) -> Edges:
    """The layer with what each edge adds to the least, in steps of the grid."""
    is_open = edges.open & (after.n_paths > 0).astype(bool)[None, :, None]
    more = np.where(is_open, edges.costs + after.least[:, None, :, None] - least_before[:, :, None, None], 0)
    # Rounded down, a path's steps never add up to more than its true cost, so no path that fits is lost. Rounded up,
    # they never add up to less, so only paths that fit are left.
    wide = step[:, None, None, None]
    return Edges(-(-more // wide) if up else more // wide, is_open)


def _completions(edges: Edges, table: Floats) -> Floats:
    """How many completions each node before the layer has, by what is left; `table` has those of the nodes after it."""
    n_from, n_to, _ = edges.open.shape
    shape = table.shape[1:]
    may = edges.open & (edges.costs < np.array(shape)[:, None, None, None]).all(axis=0)
    pairs = np.broadcast_to(np.arange(n_from * n_to).reshape(n_from, n_to, 1), may.shape)[may]
    shifts = np.ravel_multi_index([cost[may] for cost in edges.costs], shape)
    # Edges of the same cost look into the same part of the table: one matrix product does for all of them.
    order = np.argsort(shifts, kind="stable")
    kinds, begins = np.unique(shifts[order], return_index=True)
    # made[node, left] = sum over the edges of table[their end, left - their cost], for all `left` at once by slices.
    made = np.zeros((n_from, *shape))
    for kind, members in zip(kinds, np.split(pairs[order], begins[1:]), strict=True):
        shift = [int(i) for i in np.unravel_index(kind, shape)]
        how_many = np.bincount(members, minlength=n_from * n_to).reshape(n_from, n_to).astype(float)
        to = (slice(None), *(slice(s, None) for s in shift))
        source = (slice(None), *(slice(0, size - s) for s, size in zip(shift, shape, strict=True)))
        made[to] += np.tensordot(how_many, table[source], axes=1)
    return made


def path_samplers(space: SearchSpace, budget: Budget | None, finer: int = 1, up: bool = False) -> list[PathSampler]:
    """A sampler for each layout in which something may fit."""
    found = []
    for layout in layouts(space):
        graph = build_graph(space, layout, budget or Budget(None))
        if (graph.limits >= 0).all():
            found.append(PathSampler(graph, finer * _n_steps(graph), up))
    return [sampler for sampler in found if sampler.weights.sum() > 0]


def _n_steps(graph: LayeredGraph) -> int:
    """Steps along each limit that keep the work of a table in bounds."""
    # A table has steps^limits cells. Each adds up widths^2 products for every cost that edges have: at most as many
    # costs as cells, so the work is within widths^2 * steps^(2 * limits).
    per_cell = len(graph.widths) ** 2
    return int(np.clip((WORK / per_cell) ** (0.5 / len(graph.limits)), FEWEST_STEPS, MOST_STEPS))
