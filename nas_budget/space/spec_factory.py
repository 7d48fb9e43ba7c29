"""From coordinates and widths to specs.

First the width grid of a space, and which widths may follow each other. Then the spec factory: specs made from their
parts, the smallest ones of a space, and whether a spec belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise, product
from math import ceil, floor
from typing import Any

from nas_budget.arch.blocks import FAMILIES
from nas_budget.arch.spec import ResNetSpec, map_sizes
from nas_budget.space.space import OPTIONS, PER_STAGE, Pool, SearchSpace

DEPENDENT = ("shortcut_kernel", "groups", "expansions")
"""Choices that not every kind of block has."""


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


@cache
def choices_of(space: SearchSpace, block: str, name: str) -> tuple[Any, ...]:
    """The different values of a field of the space that networks of a kind of block have.

    Where the kind has no use for the field it is one value, so that no network has two names.
    """
    family = FAMILIES[block]
    if name == "shortcut_kernel" and not family.projects:
        return (min(space.shortcut_kernel),)
    if name == "groups" and not family.grouped:
        return (1,)
    if name == "expansions":
        resolved = (value or family.expansion for value in space.expansions)
        allowed = (value for value in resolved if value >= family.least_expansion)
        return tuple(dict.fromkeys(allowed) if family.expansion else ()) or (family.expansion,)
    return tuple(dict.fromkeys(getattr(space, name)))


def settled(space: SearchSpace, expansions: Sequence[float], options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Expansions and options with values that networks of this kind of block have, for others the first of them."""
    block, found = options["block"], dict(options)
    usual = FAMILIES[block].expansion
    allowed = {name: choices_of(space, block, name) for name in DEPENDENT}
    for name in DEPENDENT[:2]:
        if found[name] not in allowed[name]:
            found[name] = allowed[name][0]
    values = (value or usual for value in expansions)
    return tuple(v if v in allowed["expansions"] else allowed["expansions"][0] for v in values), found


def make_spec(
    space: SearchSpace, channels: Sequence[int], blocks: Sequence[int], kernels: Sequence[int],
    expansions: Sequence[float], strides: Sequence[int], options: Mapping[str, Any],
) -> ResNetSpec:  # fmt: skip
    """The spec with these parts, the same for all parts that build the same network.

    A pool larger than the last map becomes the whole map. Where no block changes the shape there is no
    shortcut convolution, and `shortcut_kernel` becomes the least of the space. What a kind of block does not have
    becomes the first that it has.

    Args:
        space: Gives the image's size, channels and classes, and the dropout.
        channels: Width of each stage.
        blocks: Blocks of each.
        kernels: Kernel size of each.
        expansions: Expansion of each; 0 for what is usual.
        strides: Stride of each.
        options: A value for each of `OPTIONS`.
    """
    expansions, options = settled(space, expansions, options)
    stem_map, *maps = map_sizes(space.image_size, (options["stem_stride"], *strides))
    options["pool"] = clip_pool(options["pool"], maps[-1])
    if len({options["stem_width"] or channels[0], *channels}) == 1 and maps[-1] == stem_map:
        options["shortcut_kernel"] = min(space.shortcut_kernel)
    image = {name: getattr(space, name) for name in ("dropout", "image_size", "in_channels", "classes")}
    return ResNetSpec(channels, blocks, kernels, strides=strides, expansions=expansions, **options, **image)


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
    least: dict[str, Any] = {name: min(getattr(space, name)) for name in ("stem_kernel", "shortcut_kernel")}
    least["se_reduction"] = 0 if 0 in space.se_reduction else max(space.se_reduction)
    least |= {"stem_stride": max(space.stem_stride), "activation": space.activation[0]}
    # Groups spare weights and widen narrow blocks inside; a head's convolution may spare weights of the classifier.
    free = ("pool", "block", "stem_width", "groups", "head_width")
    found = (
        make_spec(
            space, widths, (space.blocks[0],) * n, (min(space.kernels),) * n,
            (min(choices_of(space, options["block"], "expansions")),) * n, strides, options,
        )
        for n in range(space.stages[0], space.stages[1] + 1)
        for strides in stride_patterns(space, n)
        for values in product(*(dict.fromkeys(getattr(space, name)) for name in free))
        for options in [{**least, **dict(zip(free, values, strict=True))}]
        # A wide stem is cheapest either before the least widths, or where the first stage needs no projection.
        for widths in dict.fromkeys(
            (least_widths(space, n), least_widths(space, n, snap_width(space, options["stem_width"])))
        )
    )  # fmt: skip
    return tuple(dict.fromkeys(found))


def parts_of(spec: ResNetSpec) -> dict[str, Any]:
    """What of a spec `make_spec` takes beside the space."""
    return {name: getattr(spec, name) for name in PER_STAGE} | {"options": options_of(spec)}


def options_of(spec: ResNetSpec) -> dict[str, Any]:
    """The spec's value for each of `OPTIONS`."""
    return {name: getattr(spec, name) for name in OPTIONS}


def contains(space: SearchSpace, spec: ResNetSpec) -> bool:
    """Whether the space may propose the spec; growth is held to within the rounding of widths."""
    n = len(spec.channels)
    if not space.stages[0] <= n <= space.stages[1] or spec.block not in space.block:
        return False
    if spec != make_spec(space, **parts_of(spec)):
        return False
    choices = {name: choices_of(space, spec.block, name) for name in (*OPTIONS, "expansions")}
    grid, stems = width_grid(space), {width or spec.channels[0] for width in space.stem_width}
    return (
        all(space.blocks[0] <= blocks <= space.blocks[1] for blocks in spec.blocks)
        and set(spec.kernels) <= set(space.kernels)
        and set(spec.expansions) <= set(choices["expansions"])
        and all(getattr(spec, name) in choices[name] for name in OPTIONS if name not in ("pool", "stem_width"))
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
