"""A space as layered graphs, so that what fits can be counted and drawn without looking at every network.

What a stage costs depends on its own choices and on the width of the stage before it. So the networks that share a
layout (count of stages, strides, kind of block, se_reduction, ...) are the paths of a layered graph: from a stem,
through a width after each stage, to a head. The costs of a path add up.
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
from nas_budget.arch.cost import BYTES_PER_NUMBER
from nas_budget.arch.cost_table import LATENCY, together
from nas_budget.arch.latency import LatencyModel
from nas_budget.arch.spec import map_sizes
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import choices_of, clip_pool, growth_bounds, stride_patterns, width_grid

MOST_CHOICES = 20_000_000
"""Edges of one layer that are held in memory."""
NO_LIMIT = 2**62
KINDS = ("block", "se_reduction", "shortcut_kernel", "groups", "stem_stride")
"""What the networks of a layout share beside their strides."""
STEMS, VARIANTS = ("stem_kernel", "stem_width"), ("blocks", "kernels", "expansions")
HEADS = ("pool", "head_width", "activation")
"""What a first node stands for, an edge beside its widths, and a last node. An activation costs nothing anywhere."""

Counts = NDArray[np.int64]
Resource = tuple[tuple[str, ...], int]
"""Columns of a cost whose sum a budget limits, and the limit."""


@dataclass(frozen=True)
class Edges:
    """One layer of a graph: which node may follow which, and at which cost.

    Attributes:
        costs: What an edge costs of each limit, over the least of the layer; shape (limits, from, to, variants).
        open: Which edges there are; shape (from, to, variants).
    """

    costs: Counts
    open: NDArray[np.bool_]

    def reversed(self) -> Edges:
        """The layer walked from its end."""
        return Edges(self.costs.transpose(0, 2, 1, 3), self.open.transpose(1, 0, 2))


@dataclass(frozen=True)
class CostToGo:
    """What lies beyond each node of one layer.

    Attributes:
        least: What the cheapest completion costs of each limit by itself, shape (limits, nodes).
        most: What the dearest one costs, shape (limits, nodes).
        n_paths: How many completions there are, shape (nodes,); Python's whole numbers, as int64 is too small.
    """

    least: Counts
    most: Counts
    n_paths: NDArray[np.object_]


def costs_to_go(layers: Sequence[Edges]) -> list[CostToGo]:
    """What completing a path costs from the nodes before each layer of edges, then from the last ones (nothing)."""
    n_limits, n_last = layers[-1].costs.shape[0], layers[-1].costs.shape[2]
    nothing = np.zeros((n_limits, n_last), np.int64)
    found = [CostToGo(nothing, nothing, np.ones(n_last, object))]
    # Backwards (Bellman 1957): what is best beyond a node does not depend on how it was reached.
    for edges in reversed(layers):
        beyond = found[0]
        # Where an edge is shut, or nothing lies beyond it, the least is over any limit and the most below any cost.
        shut = ~(edges.open & (beyond.n_paths > 0).astype(bool)[None, :, None])
        least = np.where(shut, NO_LIMIT, edges.costs + beyond.least[:, None, :, None]).min(axis=(2, 3))
        most = np.where(shut, -1, edges.costs + beyond.most[:, None, :, None]).max(axis=(2, 3))
        found.insert(0, CostToGo(least, most, edges.open.sum(axis=2).astype(object) @ beyond.n_paths))
    return found


@dataclass(frozen=True)
class LayeredGraph:
    """The networks of one layout, as the paths of a graph; a path takes one edge of each layer.

    Attributes:
        layout: What they share: strides and `KINDS`, as `cost_table` takes them.
        widths: The widths of the nodes after each stage.
        stems: `STEMS` of each first node; a width of 0 is that of the first stage.
        variants: `VARIANTS` of each of the edges that join two nodes.
        heads: `HEADS` of each last node.
        edges: The layers: one a stage, then one to the head.
        limits: What a path may cost in all, one number a limit; below 0 where nothing fits.
    """

    layout: dict[str, Any]
    widths: Counts
    stems: tuple[tuple[int, int], ...]
    variants: tuple[tuple[int, int, float], ...]
    heads: tuple[tuple[int, int, str], ...]
    edges: tuple[Edges, ...]
    limits: Counts

    def constant(self) -> LayeredGraph:
        """The paths of one width throughout."""
        stem_widths = np.array([width for _, width in self.stems])[:, None]
        kept = [(stem_widths == 0) | (stem_widths == self.widths)]
        # Ones on the diagonal: from each width only the edges to the same width stay open.
        kept += [np.eye(len(self.widths), dtype=bool)] * (len(self.edges) - 2)
        edges = [replace(x, open=x.open & y[:, :, None]) for x, y in zip(self.edges, kept, strict=False)]
        return replace(self, edges=(*edges, self.edges[-1]))


def layouts(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Every layout of a space: strides and `KINDS`, as `cost_table` takes them."""
    kinds = [
        (block, *rest)
        for block in dict.fromkeys(space.block)
        for rest in product(*(choices_of(space, block, name) for name in KINDS[1:]))
    ]
    for n in range(space.stages[0], space.stages[1] + 1):
        for strides, kind in product(dict.fromkeys(stride_patterns(space, n)), kinds):
            yield {"strides": strides, **dict(zip(KINDS, kind, strict=True))}


def stage_variants(space: SearchSpace, block: str) -> tuple[tuple[int, int, float], ...]:
    """`VARIANTS` of each variant of a stage with a kind of block."""
    blocks = range(space.blocks[0], space.blocks[1] + 1)
    return tuple(product(blocks, dict.fromkeys(space.kernels), choices_of(space, block, "expansions")))


def stem_choices(space: SearchSpace) -> tuple[tuple[int, int], ...]:
    """Kernel and width (0: that of the first stage) of each stem."""
    return tuple(product(dict.fromkeys(space.stem_kernel), dict.fromkeys(space.stem_width)))


def layout_maps(space: SearchSpace, layout: dict[str, Any]) -> tuple[int, ...]:
    """Height and width in pixels after the stem of a layout, and after each stage."""
    return map_sizes(space.image_size, (layout["stem_stride"], *layout["strides"]))


def head_choices(space: SearchSpace, layout: dict[str, Any]) -> tuple[tuple[int, int, str], ...]:
    """`HEADS` of each head, with the different pools on the last map of a layout."""
    size = layout_maps(space, layout)[-1]
    pools = dict.fromkeys(clip_pool(pool, size) for pool in space.pool)
    return tuple(product(pools, dict.fromkeys(space.head_width), dict.fromkeys(space.activation)))


def has_repeats(space: SearchSpace, layout: dict[str, Any]) -> bool:
    """Whether its networks that never change the shape belong to another layout too, and count there.

    A shortcut's kernel says nothing where there is no projection.
    """
    maps = layout_maps(space, layout)
    return maps[0] == maps[-1] and bool(layout["shortcut_kernel"] != min(space.shortcut_kernel))


def build_graph(space: SearchSpace, layout: dict[str, Any], budget: Budget) -> LayeredGraph:
    """The graph of a layout with the limits of a budget.

    Raises:
        SpaceTooLargeError: Too many widths to hold their pairs.
    """
    variants, stems, heads = stage_variants(space, layout["block"]), stem_choices(space), head_choices(space, layout)
    resources, latency = _resources(budget), budget.latency_model
    widths = _affordable(space, layout, resources, latency)
    if len(widths) ** 2 * len(variants) > MOST_CHOICES:
        coarse = -(-space.width_step * len(widths) // 500)
        raise SpaceTooLargeError(
            f"width: the pairs of {len(widths):,} widths are too many; width_step {coarse} would do"
        )
    counted = [*_counted(space, layout, widths, stems, variants, heads, resources, latency)]
    opened = [*_opened(space, widths, stems, len(heads), len(layout["strides"]))]
    if budget.activation_bytes is not None:
        # The worst moment lies within one stage, so this limit closes edges and adds up to nothing.
        most = budget.activation_bytes // BYTES_PER_NUMBER[budget.activation_format]
        opened = [is_open & (c["live_elements"] <= most) for c, is_open in zip(counted, opened, strict=True)]
    costs, limits = _relative(counted, resources)
    edges = tuple(Edges(c, np.broadcast_to(o, c.shape[1:])) for c, o in zip(costs, opened, strict=True))
    return LayeredGraph(layout, widths, stems, variants, heads, edges, limits)


def _resources(budget: Budget) -> list[Resource]:
    """The limits whose costs add up along a network; the parameters without one where there is none."""
    found: list[Resource] = []
    if budget.params is not None:
        found.append((("params",), budget.params))
    if budget.macs is not None:
        found.append((("macs",), budget.macs))
    if budget.weight_bytes is not None:
        # Counted in weights instead of bytes; a part of a weight is never stored, so the quotient may be rounded down.
        found.append((("params", "buffers"), budget.weight_bytes // BYTES_PER_NUMBER[budget.weight_format]))
    if budget.latency_ns is not None:
        found.append(((LATENCY,), budget.latency_ns))
    return found or [(("params",), NO_LIMIT)]


def _total(counted: closed_form.Counted, names: Sequence[str]) -> Counts:
    total: Counts = sum(counted[name] for name in names)
    return total


def _affordable(
    space: SearchSpace, layout: dict[str, Any], resources: list[Resource], latency: LatencyModel | None
) -> Counts:
    """The widths of the grid at which a stage of the cheapest kind is not beyond a limit by itself."""
    # Pairs of widths take the memory: a width that no budget pays for is left out before they are made.
    # A stage is cheapest after the narrowest one, or after one as wide as itself, where it needs no projection.
    grid, size = np.array(width_grid(space)), layout_maps(space, layout)[-1]
    kept, narrowest = np.ones(len(grid), bool), min([grid[0], *filter(None, space.stem_width)])
    block = layout["block"]
    least = space.blocks[0], min(space.kernels), min(choices_of(space, block, "expansions"))
    for names, limit in resources:
        stages = [
            closed_form.stage(
                block, n_in, grid, *least, layout["groups"], size, size, layout["shortcut_kernel"],
                layout["se_reduction"], names, latency,
            )
            for n_in in (narrowest, grid)
        ]  # fmt: skip
        kept &= np.minimum(*[_total(counted, names) for counted in stages]) <= limit
    return grid[kept] if kept.any() else grid[:1]


def _counted(
    space: SearchSpace, layout: dict[str, Any], widths: Counts, stems: Sequence[tuple[int, int]],
    variants: Sequence[tuple[int, int, float]], heads: Sequence[tuple[int, int, str]], resources: list[Resource],
    latency: LatencyModel | None,
) -> Iterator[closed_form.Counted]:  # fmt: skip
    """What the edges of each layer cost, in arrays of shape (from, to, variants)."""
    columns = [*dict.fromkeys(name for names, _ in resources for name in names), "live_elements"]
    blocks, kernels, expansions = map(np.array, zip(*variants, strict=True))
    # Axes of every array: what comes before, what comes after, what a stage has besides its width.
    pools, head_widths, _ = (np.array(values)[None, :, None] for values in zip(*heads, strict=True))
    (stem_kernels, stem_widths), (size, *maps) = np.array(stems).T[:, :, None, None], layout_maps(space, layout)
    block, n_out = layout["block"], widths[None, :, None]
    first = np.where(stem_widths == 0, n_out, stem_widths)
    shape = len(stems), len(widths), len(variants)
    stem = closed_form.stem(block, space.in_channels, first, stem_kernels, space.image_size, size, columns, latency)
    n_in = first
    for after in maps:
        counted = closed_form.stage(
            block, n_in, n_out, blocks, kernels, expansions, layout["groups"], size, after, layout["shortcut_kernel"],
            layout["se_reduction"], columns, latency,
        )  # fmt: skip
        # The stem has no layer of its own: its cost depends on its width and the first stage's, as that stage's does.
        counted = together(stem, counted) if stem else counted
        yield {name: np.broadcast_to(values, shape) for name, values in counted.items()}
        stem, n_in, size, shape = {}, widths[:, None, None], after, (len(widths), len(widths), len(variants))
    last = closed_form.head(block, n_in, size, head_widths, pools, space.classes, columns, latency)
    yield {name: np.broadcast_to(values, (len(widths), len(heads), 1)) for name, values in last.items()}


def _opened(
    space: SearchSpace, widths: Counts, stems: Sequence[tuple[int, int]], n_heads: int, n_stages: int
) -> Iterator[NDArray[np.bool_]]:
    """Which nodes may follow which: the growth is kept, and no network appears twice."""
    stem_widths = np.array([width for _, width in stems])[:, None]
    # A stem of width 0 is as wide as the first stage: where that is allowed, the same width by number is a repeat.
    yield ((stem_widths != widths) | (0 not in space.stem_width))[:, :, None]
    low, high = np.array([growth_bounds(space, int(width)) for width in widths]).T[:, :, None]
    for _ in range(n_stages - 1):
        yield ((low <= widths) & (widths <= high))[:, :, None]
    yield np.ones((len(widths), n_heads, 1), bool)


def _relative(counted: Sequence[closed_form.Counted], resources: list[Resource]) -> tuple[list[Counts], Counts]:
    """Costs over the least of each layer, and what is left of the limits; in the largest unit that divides them all."""
    # Every path pays the least of each layer: what is left are smaller numbers, and looser roundings of the sampler.
    costs = [np.stack([_total(c, names) for names, _ in resources]) for c in counted]
    least = [c.min(axis=(1, 2, 3), keepdims=True) for c in costs]
    costs = [c - low for c, low in zip(costs, least, strict=True)]
    limits = np.array([limit for _, limit in resources]) - sum(low.ravel() for low in least)
    # Widths in steps make costs in steps: counted in them, tables of sums are smaller and stay exact.
    units = np.gcd.reduce([np.gcd.reduce(c.reshape(len(resources), -1), axis=1) for c in costs], axis=0)
    units = np.maximum(units, 1)
    return [c // units[:, None, None, None] for c in costs], limits // units
