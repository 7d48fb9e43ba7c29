"""From coordinates and widths to specs.

First the width grid of a space, and which widths may follow each other. Then the spec factory: specs made from their
parts, the smallest ones of a space, and whether a spec belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from math import ceil, floor
from typing import Any

from nas_budget.arch.spec import ResNetSpec, map_sizes
from nas_budget.space.space import OPTIONS, Pool, SearchSpace


def width_grid(space: SearchSpace) -> range:
    """The widths a stage may have: the multiples of `space.width_step` within `space.width`."""
    step = space.width_step
    return range(-(-space.width[0] // step) * step, space.width[1] // step * step + 1, step)


def snap_width(space: SearchSpace, width: float) -> int:
    """The width of the grid that is nearest; halves are rounded up."""
    grid = width_grid(space)
    return min(max(floor(width / grid.step + 0.5) * grid.step, grid[0]), grid[-1])


def growth_bounds(space: SearchSpace, width: int) -> tuple[int, int]:
    """The narrowest and the widest that may follow a stage of this width.

    A width on the grid stands for every real width that rounds to it, so both widths get half a step of slack.
    """
    grid, half = width_grid(space), space.width_step / 2
    low = floor(space.growth[0] * (width - half) - half)
    high = ceil(space.growth[1] * (width + half) + half)
    return min(low, grid[-1]), max(high, grid[0])


def least_widths(space: SearchSpace, n_stages: int, first: int = 0) -> tuple[int, ...]:
    """The smallest widths of `n_stages` stages that keep to the growth, the first of them at least `first`."""
    least, step = width_grid(space)[0], space.width_step
    widths = [max(least, first)] + [least] * (n_stages - 1)
    before: list[int] = []
    while widths != before:  # raise what is too narrow beside its neighbor until nothing is
        before = list(widths)
        for i, (left, right) in enumerate(pairwise(before)):
            low, high = growth_bounds(space, left)
            widths[i + 1] = max(widths[i + 1], -(-low // step) * step)
            if right > high:
                widths[i] = max(widths[i], left + step)
    return tuple(widths)


def make_spec(
    space: SearchSpace, channels: Sequence[int], blocks: Sequence[int], kernels: Sequence[int],
    strides: Sequence[int], options: Mapping[str, Any],
) -> ResNetSpec:  # fmt: skip
    """The spec with these parts, the same for all parts that build the same network.

    A pool larger than the last map becomes the whole map. Where no block changes the shape there is no
    shortcut convolution, and `shortcut_kernel` becomes the least of the space.

    Args:
        space: Gives the image's size, channels and classes, and the dropout.
        channels: Width of each stage.
        blocks: Blocks of each.
        kernels: Kernel size of each.
        strides: Stride of each.
        options: A value for each of `OPTIONS`.
    """
    size = map_sizes(space.image_size, strides)[-1]
    options = {**options, "pool": clip_pool(options["pool"], size)}
    if len({options["stem_width"] or channels[0], *channels}) == 1 and size == space.image_size:
        options["shortcut_kernel"] = min(space.shortcut_kernel)
    image = {name: getattr(space, name) for name in ("dropout", "image_size", "in_channels", "classes")}
    return ResNetSpec(channels, blocks, kernels, strides=strides, **options, **image)


def clip_pool(pool: Pool, size: int) -> int:
    """The pool's size on a map of `size` pixels: at most the whole map."""
    return size if pool == "global" else min(pool, size)


def stride_patterns(space: SearchSpace, n_stages: int) -> Iterator[tuple[int, ...]]:
    """Every choice of strides for `n_stages` stages."""
    return product(space.first_stride, *[space.strides] * (n_stages - 1))


def smallest_specs(space: SearchSpace) -> tuple[ResNetSpec, ...]:
    """The networks with every number at its least, for each choice that has no least, such as strides.

    If none of them keeps a budget, nothing in the space does.
    """
    least = {"stem_kernel": min(space.stem_kernel), "shortcut_kernel": min(space.shortcut_kernel)}
    se_reduction = 0 if 0 in space.se_reduction else max(space.se_reduction)
    return tuple(
        make_spec(
            space, widths, (space.blocks[0],) * n, (min(space.kernels),) * n, strides,
            {**least, "pool": pool, "block": block, "se_reduction": se_reduction, "stem_width": stem_width},
        )
        for n in range(space.stages[0], space.stages[1] + 1)
        for strides in stride_patterns(space, n)
        for pool, block, stem_width in product(space.pool, space.block, space.stem_width)
        # A wide stem is cheapest either before the least widths, or where the first stage needs no projection.
        for widths in dict.fromkeys((least_widths(space, n), least_widths(space, n, snap_width(space, stem_width))))
    )  # fmt: skip


def contains(space: SearchSpace, spec: ResNetSpec) -> bool:
    """Whether the space may propose the spec; growth is held to within the rounding of widths."""
    n = len(spec.channels)
    if not space.stages[0] <= n <= space.stages[1]:
        return False
    options = {name: getattr(spec, name) for name in OPTIONS}
    if spec != make_spec(space, spec.channels, spec.blocks, spec.kernels, spec.strides, options):
        return False
    grid, stems = width_grid(space), {width or spec.channels[0] for width in space.stem_width}
    return (
        all(space.blocks[0] <= blocks <= space.blocks[1] for blocks in spec.blocks)
        and set(spec.kernels) <= set(space.kernels)
        and all(options[name] in getattr(space, name) for name in OPTIONS if name not in ("pool", "stem_width"))
        and spec.stem_channels in stems
        and spec.pool in {clip_pool(pool, spec.maps[-1]) for pool in space.pool}
        and spec.strides[0] in space.first_stride
        and set(spec.strides[1:]) <= set(space.strides)
        and all(width in grid for width in spec.channels)
        and all(_grows(space, before, after) for before, after in pairwise(spec.channels))
    )


def _grows(space: SearchSpace, before: int, after: int) -> bool:
    low, high = growth_bounds(space, before)
    return low <= after <= high
