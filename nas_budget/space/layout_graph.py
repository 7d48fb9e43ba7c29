"""A space as chains of choices, so that what fits can be counted and drawn without looking at every network.

What a stage costs depends on its own choices and on the width of the stage before it. So the networks that share a
layout (count of stages, strides, kind of block, se_reduction, shortcut kernel) are the paths of a chain: from a stem,
through a width after each stage, to a pool; the costs of a path add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch import closed_form
from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import BYTES_PER_WEIGHT
from nas_budget.arch.cost_table import together
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import clip_pool, map_sizes, stride_patterns
from nas_budget.space.width_grid import growth_bounds, width_grid

MOST_CHOICES = 20_000_000
"""Choices of one link that are held in memory."""
NO_LIMIT = 2**62

Counts = NDArray[np.int64]
Resource = tuple[tuple[str, ...], int]
"""Columns of a cost whose sum a budget limits, and the limit."""


@dataclass(frozen=True)
class Link:
    """What may follow what between two nodes of a path, and at which cost.

    Attributes:
        costs: What a way costs of each limit, over the least of the link; shape (limits, from, to, ways).
        open: Which ways there are; shape (from, to, ways).
    """

    costs: Counts
    open: NDArray[np.bool_]

    def reversed(self) -> Link:
        """The link walked from its end."""
        return Link(self.costs.transpose(0, 2, 1, 3), self.open.transpose(1, 0, 2))


@dataclass(frozen=True)
class Ends:
    """What lies beyond each node: the least and most it costs, shape (limits, nodes), and in how many ways."""

    least: Counts
    most: Counts
    ways: NDArray[np.object_]


def ends(links: Sequence[Link]) -> list[Ends]:
    """What completing a path costs from the nodes before each link, then from the last ones (nothing)."""
    n_limits, n_last = links[-1].costs.shape[0], links[-1].costs.shape[2]
    nothing = np.zeros((n_limits, n_last), np.int64)
    found = [Ends(nothing, nothing, np.ones(n_last, object))]
    for link in reversed(links):
        beyond = found[0]
        shut = ~(link.open & (beyond.ways > 0).astype(bool)[None, :, None])
        least = np.where(shut, NO_LIMIT, link.costs + beyond.least[:, None, :, None]).min(axis=(2, 3))
        most = np.where(shut, -1, link.costs + beyond.most[:, None, :, None]).max(axis=(2, 3))
        found.insert(0, Ends(least, most, link.open.sum(axis=2).astype(object) @ beyond.ways))
    return found


@dataclass(frozen=True)
class Chain:
    """The networks of one layout; a path takes one way of each link.

    Attributes:
        layout: What they share: strides, block, se_reduction and shortcut_kernel, as `cost_table` takes them.
        widths: The widths of the nodes after each stage.
        stems: Kernel and width (0: that of the first stage) of each first node.
        ways: Blocks and kernel of each way through a stage.
        pools: Pool of each last node.
        links: One a stage, then one to the pool.
        limits: What a path may cost in all, one number a limit; below 0 where nothing fits.
    """

    layout: dict[str, Any]
    widths: Counts
    stems: tuple[tuple[int, int], ...]
    ways: tuple[tuple[int, int], ...]
    pools: tuple[int, ...]
    links: tuple[Link, ...]
    limits: Counts

    def constant(self) -> Chain:
        """The paths of one width throughout."""
        stem_widths = np.array([width for _, width in self.stems])[:, None]
        kept = [(stem_widths == 0) | (stem_widths == self.widths)]
        kept += [np.eye(len(self.widths), dtype=bool)] * (len(self.links) - 2)
        links = [replace(x, open=x.open & y[:, :, None]) for x, y in zip(self.links, kept, strict=False)]
        return replace(self, links=(*links, self.links[-1]))


def layouts(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Every layout of a space: strides, block, se_reduction and shortcut_kernel, as `cost_table` takes them."""
    kinds = [*product(*map(dict.fromkeys, (space.block, space.se_reduction, space.shortcut_kernel)))]
    for n in range(space.stages[0], space.stages[1] + 1):
        for strides in dict.fromkeys(stride_patterns(space, n)):
            for block, se_reduction, shortcut_kernel in kinds:
                yield {
                    "strides": strides,
                    "block": block,
                    "se_reduction": se_reduction,
                    "shortcut_kernel": shortcut_kernel,
                }


def ways_of(space: SearchSpace) -> tuple[tuple[int, int], ...]:
    """Blocks and kernel of each way through a stage."""
    return tuple(product(range(space.blocks[0], space.blocks[1] + 1), dict.fromkeys(space.kernels)))


def stems_of(space: SearchSpace) -> tuple[tuple[int, int], ...]:
    """Kernel and width (0: that of the first stage) of each stem."""
    return tuple(product(dict.fromkeys(space.stem_kernel), dict.fromkeys(space.stem_width)))


def pools_of(space: SearchSpace, layout: dict[str, Any]) -> tuple[int, ...]:
    """The different pools on the last map of a layout."""
    size = map_sizes(space, layout["strides"])[-1]
    return tuple(dict.fromkeys(clip_pool(pool, size) for pool in space.pool))


def repeats(space: SearchSpace, layout: dict[str, Any]) -> bool:
    """Whether its networks that never change the shape belong to another layout too, and count there.

    A shortcut's kernel says nothing where there is no projection.
    """
    keeps = map_sizes(space, layout["strides"])[-1] == space.image_size
    return keeps and bool(layout["shortcut_kernel"] != min(space.shortcut_kernel))


def make_chain(space: SearchSpace, layout: dict[str, Any], budget: Budget) -> Chain:
    """The chain of a layout with the limits of a budget.

    Raises:
        SpaceTooLargeError: Too many widths to hold their pairs.
    """
    ways, stems, pools = ways_of(space), stems_of(space), pools_of(space, layout)
    maps = map_sizes(space, layout["strides"])
    resources = _resources(budget)
    widths = _affordable(space, layout, maps, resources)
    if len(widths) ** 2 * len(ways) > MOST_CHOICES:
        coarse = -(-space.width_step * len(widths) // 500)
        raise SpaceTooLargeError(
            f"width: the pairs of {len(widths):,} widths are too many; width_step {coarse} would do"
        )
    counted = [*_counted(space, layout, widths, stems, ways, pools, resources)]
    opened = [*_opened(space, widths, stems, len(pools), len(maps))]
    if budget.activation_bytes is not None:
        live = budget.activation_bytes // BYTES_PER_WEIGHT["fp32"]
        opened = [is_open & (c["live"] <= live) for c, is_open in zip(counted, opened, strict=True)]
    costs, limits = _relative(counted, resources)
    links = tuple(Link(c, np.broadcast_to(o, c.shape[1:])) for c, o in zip(costs, opened, strict=True))
    return Chain(layout, widths, stems, ways, pools, links, limits)


def _resources(budget: Budget) -> list[Resource]:
    """The limits whose costs add up along a network; the parameters without one where there is none."""
    found: list[Resource] = []
    if budget.params is not None:
        found.append((("params",), budget.params))
    if budget.macs is not None:
        found.append((("macs",), budget.macs))
    if budget.weight_bytes is not None:
        found.append((("params", "buffers"), budget.weight_bytes // BYTES_PER_WEIGHT[budget.weight_format]))
    return found or [(("params",), NO_LIMIT)]


def _total(counted: closed_form.Counted, names: Sequence[str]) -> Counts:
    total: Counts = sum(counted[name] for name in names)
    return total


def _affordable(space: SearchSpace, layout: dict[str, Any], maps: Sequence[int], resources: list[Resource]) -> Counts:
    """The widths of the grid at which a stage of the cheapest kind is not beyond a limit by itself."""
    grid = np.array(width_grid(space))
    kept = np.ones(len(grid), bool)
    for names, limit in resources:
        stages = [
            closed_form.stage(
                layout["block"], n_in, grid, space.blocks[0], min(space.kernels), maps[-1], maps[-1],
                layout["shortcut_kernel"], layout["se_reduction"], names,
            )
            for n_in in (grid[0], grid)
        ]  # fmt: skip
        kept &= np.minimum(*[_total(counted, names) for counted in stages]) <= limit
    return grid[kept] if kept.any() else grid[:1]


def _counted(
    space: SearchSpace, layout: dict[str, Any], widths: Counts, stems: Sequence[tuple[int, int]],
    ways: Sequence[tuple[int, int]], pools: Sequence[int], resources: list[Resource],
) -> Iterator[closed_form.Counted]:  # fmt: skip
    """What each way of each link costs, in arrays of shape (from, to, ways)."""
    columns = [*dict.fromkeys(name for names, _ in resources for name in names), "live"]
    blocks, kernels = np.array(ways).T
    (stem_kernels, stem_widths), size = np.array(stems).T[:, :, None, None], space.image_size
    block, n_out = layout["block"], widths[None, :, None]
    first = np.where(stem_widths == 0, n_out, stem_widths)
    shape = len(stems), len(widths), len(ways)
    begun = closed_form.stem(block, space.in_channels, first, stem_kernels, size, columns)
    n_in = first
    for after in map_sizes(space, layout["strides"]):
        counted = closed_form.stage(
            block, n_in, n_out, blocks, kernels, size, after, layout["shortcut_kernel"], layout["se_reduction"], columns
        )
        counted = together(begun, counted) if begun else counted
        yield {name: np.broadcast_to(values, shape) for name, values in counted.items()}
        begun, n_in, size, shape = {}, widths[:, None, None], after, (len(widths), len(widths), len(ways))
    last = closed_form.head(block, n_in, size, np.array(pools)[None, :, None], space.classes, columns)
    yield {name: np.broadcast_to(values, (len(widths), len(pools), 1)) for name, values in last.items()}


def _opened(
    space: SearchSpace, widths: Counts, stems: Sequence[tuple[int, int]], n_pools: int, n_stages: int
) -> Iterator[NDArray[np.bool_]]:
    """Which nodes may follow which: the growth is kept, and no network appears twice."""
    stem_widths = np.array([width for _, width in stems])[:, None]
    yield ((stem_widths != widths) | (0 not in space.stem_width))[:, :, None]
    low, high = np.array([growth_bounds(space, int(width)) for width in widths]).T[:, :, None]
    for _ in range(n_stages - 1):
        yield ((low <= widths) & (widths <= high))[:, :, None]
    yield np.ones((len(widths), n_pools, 1), bool)


def _relative(counted: Sequence[closed_form.Counted], resources: list[Resource]) -> tuple[list[Counts], Counts]:
    """Costs over the least of each link, and what is left of the limits; in the largest unit that divides them all."""
    costs = [np.stack([_total(c, names) for names, _ in resources]) for c in counted]
    least = [c.min(axis=(1, 2, 3), keepdims=True) for c in costs]
    costs = [c - low for c, low in zip(costs, least, strict=True)]
    limits = np.array([limit for _, limit in resources]) - sum(low.ravel() for low in least)
    units = np.gcd.reduce([np.gcd.reduce(c.reshape(len(resources), -1), axis=1) for c in costs], axis=0)
    units = np.maximum(units, 1)
    return [c // units[:, None, None, None] for c in costs], limits // units
