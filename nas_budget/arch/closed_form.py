"""What a stem, a stage and a head cost in closed form, for whole numbers or NumPy arrays of them.

Each function gives the columns it is asked for: "params", "macs" and "buffers", which add up along a network, and
"live_elements", elements alive at the worst moment, of which a network has the largest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import numpy as np

from nas_budget.arch.blocks import FAMILIES, Family

Numbers = Any
"""A whole number, or an int64 array; all arrays of a call broadcast together."""
Counted = dict[str, Numbers]


def stem(
    block: str, in_channels: int, width: Numbers, kernel: Numbers, image_size: int, columns: Collection[str]
) -> Counted:
    """The first convolution, and its batch norm where the family has one there."""
    weights, area = kernel * kernel * in_channels * width, image_size * image_size
    norms = 0 if FAMILIES[block].preact else 2 * width
    every = {
        "params": weights + norms,
        "macs": weights * area,
        "buffers": norms,
        "live_elements": (in_channels + width) * area,
    }
    return {name: every[name] for name in columns}


def head(block: str, width: Numbers, size: Numbers, pool: Numbers, classes: int, columns: Collection[str]) -> Counted:
    """The last batch norm of preactivated blocks, the average pool and the classifier; `pool` 0 is the whole map."""
    pooled = size // np.where(pool == 0, size, pool)
    features = width * pooled * pooled
    norms = 2 * width if FAMILIES[block].preact else 0
    live = np.maximum(width * size * size + features, features + classes)
    macs = features * classes
    every = {"params": macs + classes + norms, "macs": macs, "buffers": norms, "live_elements": live}
    return {name: every[name] for name in columns}


def stage(
    block: str, n_in: Numbers, n_out: Numbers, blocks: Numbers, kernel: Numbers, size_in: Numbers, size_out: Numbers,
    shortcut_kernel: Numbers, se_reduction: Numbers, columns: Collection[str],
) -> Counted:  # fmt: skip
    """All blocks of a stage, from a map of `n_in` channels and `size_in` pixels to one of `n_out` and `size_out`.

    Only the first block can change the shape; where it does, its shortcut is a projection.
    """
    family = FAMILIES[block]
    mid = np.maximum(1, n_out // family.narrowing) if family.narrowing > 1 else n_out
    widths, areas = {"in": n_in, "mid": mid, "out": n_out}, (size_in * size_in, size_out * size_out)
    changes = _changes(n_in, n_out, size_in, size_out)
    counted: Counted = {}
    if added := [name for name in columns if name != "live_elements"]:
        path = _main_path(block, widths, blocks - 1, kernel * kernel, areas, added)
        project = _projection(family, n_in, n_out, shortcut_kernel, areas[1], added)
        excite = _squeeze(n_out, se_reduction, added)
        for name in added:
            counted[name] = path[name] + (project[name] if changes is True else project[name] * changes)
            if excite:
                counted[name] = counted[name] + excite[name] * blocks
    if "live_elements" in columns:
        first = _live(family, widths, areas, se_reduction, projects=True)
        later = _live(family, {**widths, "in": n_out}, (areas[1], areas[1]), se_reduction, projects=False)
        counted["live_elements"] = np.maximum(first * changes, later * (blocks > changes))
    return counted


def _changes(n_in: Numbers, n_out: Numbers, size_in: Numbers, size_out: Numbers) -> Numbers:
    """Whether the first block changes the shape; plain True where all do, which saves comparing every row."""
    if np.ndim(size_in) == np.ndim(size_out) == 0 and size_in != size_out:
        return True
    return (n_in != n_out) | (size_in != size_out)


@cache
def _weights_of(block: str) -> tuple[tuple[tuple[str, str, int, int], tuple[int, int]], ...]:
    """The convolutions of a stage's main path that cost alike: what they are and how many.

    Source, target, own kernel and place (0 before, 1 after the stride); how many the first block has, and each later.
    """
    found: dict[tuple[str, str, int, int], list[int]] = {}
    place = 0
    for conv in FAMILIES[block].convs:
        place = place or int(conv.strided)
        found.setdefault((conv.source, conv.target, conv.kernel, place), [0, 0])[0] += 1
        source = "out" if conv.source == "in" else conv.source
        found.setdefault((source, conv.target, conv.kernel, 1), [0, 0])[1] += 1
    return tuple((kind, (first, later)) for kind, (first, later) in found.items())


@cache
def _norms_of(block: str) -> tuple[tuple[str, tuple[int, int]], ...]:
    """Widths of batch norms; how many of each the first block of a stage has, and each later block."""
    family = FAMILIES[block]
    sides = [conv.source if family.preact else conv.target for conv in family.convs]
    later = ["out" if side == "in" else side for side in sides]
    return tuple((side, (sides.count(side), later.count(side))) for side in dict.fromkeys(sides + later))


def _main_path(
    block: str, widths: Mapping[str, Numbers], n_later: Numbers, squares: Numbers, areas: tuple[Numbers, Numbers],
    columns: Collection[str],
) -> Counted:  # fmt: skip
    """Convolutions and batch norms of a stage's main path; `squares` is the kernel size squared."""
    norms = sum(2 * (first + later * n_later) * widths[side] for side, (first, later) in _norms_of(block))
    params, macs = norms, 0
    for (source, target, own, place), (first, later) in _weights_of(block):
        times = first + later * n_later if later else first
        weights = (times * (own * own or squares)) * (widths[source] * widths[target])
        params = params + weights
        if "macs" in columns:
            macs = macs + weights * areas[place]
    every = {"params": params, "macs": macs, "buffers": norms}
    return {name: every[name] for name in columns}


def _projection(
    family: Family, n_in: Numbers, n_out: Numbers, kernel: Numbers, area: Numbers, columns: Collection[str]
) -> Counted:
    weights = (kernel * kernel) * (n_in * n_out)
    norms = 0 if family.preact else 2 * n_out
    every = {"params": weights + norms, "buffers": norms, "macs": weights * area if "macs" in columns else 0}
    return {name: every[name] for name in columns}


def _squeeze(width: Numbers, reduction: Numbers, columns: Collection[str]) -> Counted:
    """A squeeze-excitation; empty where no network has one."""
    if not np.any(reduction):
        return {}
    macs = (reduction > 0) * 2 * width * _few(width, reduction)
    biases = (reduction > 0) * (width + _few(width, reduction))
    every = {"params": macs + biases, "macs": macs, "buffers": 0}
    return {name: every[name] for name in columns}


def _few(width: Numbers, reduction: Numbers) -> Numbers:
    return np.maximum(1, width // np.maximum(1, reduction))


def _live(
    family: Family, widths: Mapping[str, Numbers], areas: tuple[Numbers, Numbers], se_reduction: Numbers, projects: bool
) -> Numbers:
    """Elements alive at the worst moment of one block; `arch/layers.py` says what is held when."""
    held, out = widths["in"] * areas[0], widths["out"] * areas[1]
    now, peak, strided = held, 0, False
    for i, conv in enumerate(family.convs):
        strided = strided or conv.strided
        after = widths[conv.target] * areas[int(strided)]
        beside = held if i > 0 or (family.preact and not projects) else 0
        peak = np.maximum(peak, beside + now + after)
        now = after
    if np.any(se_reduction):
        features = widths["out"] + _few(widths["out"], se_reduction)
        peak = np.maximum(peak, (se_reduction > 0) * (held + out + features))
    return np.maximum(peak, held + 2 * out) if projects else peak
