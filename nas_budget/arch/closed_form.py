"""What a stem, a stage and a head cost in closed form, for whole numbers or NumPy arrays of them.

Each function gives the columns it is asked for: "params", "macs", "buffers" and, by a model of latencies, "latency_ns",
which add up along a network, and "live_elements", elements alive at the worst moment: a network has the largest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import numpy as np

from nas_budget.arch.blocks import FAMILIES, Conv, Family
from nas_budget.arch.latency import MOST_NS, LatencyModel, Terms, unrounded_ns

Numbers = Any
"""A whole number, or an int64 array; all arrays of a call broadcast together."""
Counted = dict[str, Numbers]


def stem(
    block: str, in_channels: int, width: Numbers, kernel: Numbers, size_in: int, size_out: Numbers,
    columns: Collection[str], latency: LatencyModel | None = None,
) -> Counted:  # fmt: skip
    """The first convolution, and its batch norm where the family has one there."""
    weights, area = kernel * kernel * in_channels * width, size_out * size_out
    norms = 0 if FAMILIES[block].preact else 2 * width
    every = {
        "params": weights + norms,
        "macs": weights * area,
        "buffers": norms,
        "live_elements": in_channels * size_in * size_in + width * area,
    }
    if latency and "latency_ns" in columns:
        every["latency_ns"] = _layer_ns(latency, "conv", in_channels, width, kernel, (size_in * size_in, area))
    return {name: every[name] for name in columns}


def head(
    block: str, width: Numbers, size: Numbers, head_width: Numbers, pool: Numbers, classes: int,
    columns: Collection[str], latency: LatencyModel | None = None,
) -> Counted:  # fmt: skip
    """The last batch norm of preactivated blocks, the head's convolution, the average pool and the classifier.

    `head_width` 0 is no convolution; `pool` 0 is the whole map.
    """
    pooled, area = size // np.where(pool == 0, size, pool), size * size
    last = np.where(head_width == 0, width, head_width)
    features, weights = last * pooled * pooled, width * head_width
    norms = 2 * head_width + (2 * width if FAMILIES[block].preact else 0)
    live = np.maximum((width + head_width) * area, np.maximum(last * area + features, features + classes))
    linear = features * classes
    every = {
        "params": weights + norms + linear + classes,
        "macs": weights * area + linear,
        "buffers": norms,
        "live_elements": live,
    }
    if latency and "latency_ns" in columns:
        every["latency_ns"] = _layer_ns(latency, "linear", features, classes, 1, (1, 1))
        if np.any(head_width):
            conv = _layer_ns(latency, "conv", width, head_width, 1, (area, area))
            every["latency_ns"] = every["latency_ns"] + conv * (head_width > 0)
    return {name: every[name] for name in columns}


def stage(
    block: str, n_in: Numbers, n_out: Numbers, blocks: Numbers, kernel: Numbers, expansion: Numbers, groups: Numbers,
    size_in: Numbers, size_out: Numbers, shortcut_kernel: Numbers, se_reduction: Numbers, columns: Collection[str],
    latency: LatencyModel | None = None,
) -> Counted:  # fmt: skip
    """All blocks of a stage, from a map of `n_in` channels and `size_in` pixels to one of `n_out` and `size_out`.

    Only the first block can change the shape; where it does, its shortcut is a projection, or there is none.
    """
    family = FAMILIES[block]
    expansion, groups = _resolved(family, expansion), groups if family.grouped else 1
    widths, areas = _widths(family, n_in, n_out, expansion, groups), (size_in * size_in, size_out * size_out)
    changes = _changes(n_in, n_out, size_in, size_out)
    counted: Counted = {}
    if added := [name for name in columns if name not in ("live_elements", "latency_ns")]:
        counted = _main_path(block, widths, expansion, groups, blocks - 1, kernel * kernel, areas, added)
        if family.projects:
            project = _projection(family, n_in, n_out, shortcut_kernel, areas[1], added)
            for name in added:
                counted[name] = counted[name] + (project[name] if changes is True else project[name] * changes)
        if np.any(se_reduction):
            excite = _squeeze(family, widths, blocks - 1, se_reduction, added)
            for name in added:
                counted[name] = counted[name] + excite[name]
    same = {side: widths[_later(family, side)] for side in widths if side != "later"}
    if latency and "latency_ns" in columns:
        counted["latency_ns"] = _block_ns(latency, family, widths, kernel, expansion, groups, areas, se_reduction)
        if np.any(blocks > 1):
            later = _block_ns(latency, family, same, kernel, expansion, groups, (areas[1], areas[1]), se_reduction)
            counted["latency_ns"] = counted["latency_ns"] + (blocks - 1) * later
        if family.projects and np.any(changes):
            project = _layer_ns(latency, "conv", n_in, n_out, shortcut_kernel, areas)
            counted["latency_ns"] = counted["latency_ns"] + project * changes
    if "live_elements" in columns:
        first = _live(family, widths, expansion, areas, se_reduction, changes=True)
        later = _live(family, same, expansion, (areas[1], areas[1]), se_reduction, changes=False)
        counted["live_elements"] = np.maximum(first * changes, later * (blocks > changes))
    return counted


def _resolved(family: Family, expansion: Numbers) -> Numbers:
    """The expansion, with 0 replaced by what is usual."""
    if np.ndim(expansion) == 0:
        return expansion or family.expansion
    return np.where(expansion == 0, family.expansion, expansion)


def _widths(
    family: Family, n_in: Numbers, n_out: Numbers, expansion: Numbers, groups: Numbers
) -> Mapping[str, Numbers]:
    """What convolutions are as wide as, by side; "later" is "mid" of all blocks but the first where that differs."""
    if not family.expansion:
        return {"in": n_in, "out": n_out}
    later = _inner_width(n_out, expansion, groups)
    if family.of == "out":
        return {"in": n_in, "mid": later, "out": n_out}
    return {"in": n_in, "mid": _inner_width(n_in, expansion, groups), "out": n_out, "later": later}


def _inner_width(width: Numbers, expansion: Numbers, groups: Numbers) -> Numbers:
    """The same as `blocks.inner_width`, to the channel."""
    wide = np.floor(width * expansion + 1e-9).astype(np.int64)
    return np.maximum(1, wide // groups) * groups


def _later(family: Family, side: str) -> str:
    """What is as wide in a later block as this side in the first; a later block's input is the stage's output."""
    return {"in": "out", "mid": "later" if family.of == "in" else "mid"}.get(side, side)


def _changes(n_in: Numbers, n_out: Numbers, size_in: Numbers, size_out: Numbers) -> Numbers:
    """Whether the first block changes the shape; plain True where all do, which saves comparing every row."""
    if np.ndim(size_in) == np.ndim(size_out) == 0 and size_in != size_out:
        return True
    return (n_in != n_out) | (size_in != size_out)


@cache
def _weights_of(block: str) -> tuple[tuple[Conv, str, str, int, tuple[int, int]], ...]:
    """The convolutions of a stage's main path that cost alike.

    One of them; source, target and place (0 before, 1 after the stride) of all; how many the first block has, and each
    later.
    """
    found: dict[Any, tuple[Conv, list[int]]] = {}
    place, family = 0, FAMILIES[block]
    for conv in family.convs:
        place = place or int(conv.strided)
        kind = conv.kernel, conv.groups, conv.expands
        first = conv.source, conv.target, place
        later = _later(family, conv.source), _later(family, conv.target), 1
        found.setdefault((first, kind), (conv, [0, 0]))[1][0] += 1
        found.setdefault((later, kind), (conv, [0, 0]))[1][1] += 1
    return tuple((conv, *where, (first, later)) for (where, _), (conv, (first, later)) in found.items())


@cache
def _norms_of(block: str) -> tuple[tuple[str, bool, tuple[int, int]], ...]:
    """Widths of batch norms, whether they go with what expands; how many the first block has, and each later."""
    family, found = FAMILIES[block], dict[tuple[str, bool], list[int]]()
    for conv in family.convs:
        side = conv.source if family.preact else conv.target
        for which, width in enumerate((side, _later(family, side))):
            found.setdefault((width, conv.expands), [0, 0])[which] += 1
    return tuple((*kind, (first, later)) for kind, (first, later) in found.items())


def _main_path(
    block: str, widths: Mapping[str, Numbers], expansion: Numbers, groups: Numbers, n_later: Numbers,
    squares: Numbers, areas: tuple[Numbers, Numbers], columns: Collection[str],
) -> Counted:  # fmt: skip
    """Convolutions and batch norms of a stage's main path; `squares` is the kernel size squared."""

    def times(first: int, later: int, expands: bool) -> Numbers:
        many = first + later * n_later if later else first
        return many * (expansion != 1) if expands else many

    norms = sum(2 * times(*many, expands) * widths[side] for side, expands, many in _norms_of(block))
    params, macs = norms, 0
    for conv, source, target, place, many in _weights_of(block):
        pairs = _fan_in(conv, widths[source], groups) * widths[target]
        weights = (times(*many, conv.expands) * (conv.kernel * conv.kernel or squares)) * pairs
        params = params + weights
        if "macs" in columns:
            macs = macs + weights * areas[place]
    every = {"params": params, "macs": macs, "buffers": norms}
    return {name: every[name] for name in columns}


def _fan_in(conv: Conv, width: Numbers, groups: Numbers) -> Numbers:
    """Input channels that each output channel of a convolution sees."""
    if conv.groups == "each":
        return 1
    return width // groups if conv.groups == "groups" else width


def _projection(
    family: Family, n_in: Numbers, n_out: Numbers, kernel: Numbers, area: Numbers, columns: Collection[str]
) -> Counted:
    weights = (kernel * kernel) * (n_in * n_out)
    norms = 0 if family.preact else 2 * n_out
    every = {"params": weights + norms, "buffers": norms, "macs": weights * area if "macs" in columns else 0}
    return {name: every[name] for name in columns}


def _squeeze(
    family: Family, widths: Mapping[str, Numbers], n_later: Numbers, reduction: Numbers, columns: Collection[str]
) -> Counted:
    """The squeeze-excitations of a stage."""
    side = family.convs[family.squeezed - 1].target
    macs = biases = 0
    for width, times in (widths[side], 1), (widths[_later(family, side)], n_later):
        few = _few(width, reduction)
        macs = macs + (reduction > 0) * times * 2 * width * few
        biases = biases + (reduction > 0) * times * (width + few)
    every = {"params": macs + biases, "macs": macs, "buffers": 0}
    return {name: every[name] for name in columns}


def _block_ns(
    latency: LatencyModel, family: Family, widths: Mapping[str, Numbers], kernel: Numbers, expansion: Numbers,
    groups: Numbers, areas: tuple[Numbers, Numbers], se_reduction: Numbers,
) -> Numbers:  # fmt: skip
    """Nanoseconds of the main path of one block."""
    total, place = 0, 0
    for conv in family.convs:
        after = max(place, int(conv.strided))
        n_in, n_out = widths[conv.source], widths[conv.target]
        here = expansion != 1 if conv.expands else True
        if np.any(here):
            size, through = conv.kernel or kernel, (areas[place], areas[after])
            total = total + here * _conv_ns(latency, conv, n_in, n_out, size, through, groups)
        place = after
        if family.squeezes(conv) and np.any(se_reduction):
            few = _few(n_out, se_reduction)
            ends = ((n_out, few), (few, n_out))
            excite = sum(_layer_ns(latency, "linear", *end, 1, (1, 1)) for end in ends)
            total = total + (se_reduction > 0) * excite
    return total


def _conv_ns(
    latency: LatencyModel, conv: Conv, n_in: Numbers, n_out: Numbers, kernel: Numbers,
    areas: tuple[Numbers, Numbers], groups: Numbers,
) -> Numbers:  # fmt: skip
    """Nanoseconds of a convolution, whose kind depends on how many groups there are."""
    kinds = {conv.timed_as(2 if many else 1): many for many in (False, True)}
    found = 0
    for kind, many in kinds.items():
        which = True if len(kinds) == 1 else (groups > 1) == many
        if np.any(which):
            here = {"one": 1, "groups": groups, "each": n_in}[conv.groups]
            found = found + which * _layer_ns(latency, kind, n_in, n_out, kernel, areas, here)
    return found


def _layer_ns(
    latency: LatencyModel, kind: str, n_in: Numbers, n_out: Numbers, kernel: Numbers, areas: tuple[Numbers, Numbers],
    groups: Numbers = 1,
) -> Numbers:  # fmt: skip
    """Nanoseconds of a layer, rounded up as `LatencyModel.layer_ns` does."""
    terms = _terms(latency, kind, kernel)
    ns = unrounded_ns(terms, n_in // groups * n_out, n_in, n_out, *areas)
    return np.ceil(np.minimum(ns, MOST_NS)).astype(np.int64)


def _terms(latency: LatencyModel, kind: str, kernel: Numbers) -> Terms:
    """The four numbers of a kind of layer, for one kernel size or arrays of them."""
    if np.ndim(kernel) == 0:
        return latency.of(kind, int(kernel))
    sizes, places = np.unique(kernel, return_inverse=True)
    known = np.array([latency.of(kind, int(size)) for size in sizes]).reshape(-1, 4)
    numbers = known[places.reshape(np.shape(kernel))]
    return numbers[..., 0], numbers[..., 1], numbers[..., 2], numbers[..., 3]


def _few(width: Numbers, reduction: Numbers) -> Numbers:
    return np.maximum(1, width // np.maximum(1, reduction))


def _live(
    family: Family, widths: Mapping[str, Numbers], expansion: Numbers, areas: tuple[Numbers, Numbers],
    se_reduction: Numbers, changes: bool,
) -> Numbers:  # fmt: skip
    """Elements alive at the worst moment of one block; `arch/layers.py` says what is held when."""
    now, out = widths["in"] * areas[0], widths["out"] * areas[1]
    held = now if family.projects or not changes else 0
    beside = held if family.preact and not changes else 0
    peak, strided = 0, False
    for conv in family.convs:
        strided = strided or conv.strided
        here = expansion != 1 if conv.expands else True
        after = widths[conv.target] * areas[int(strided)]
        peak = np.maximum(peak, (beside + now + after) * here)
        # What is left out leaves its input as it was: at an expansion of 1 both are of one size.
        now, beside = after, beside + (held - beside) * here
        if family.squeezes(conv) and np.any(se_reduction):
            features = widths[conv.target] + _few(widths[conv.target], se_reduction)
            peak = np.maximum(peak, (se_reduction > 0) * (held + after + features))
    return np.maximum(peak, held + 2 * out) if changes and family.projects else peak
