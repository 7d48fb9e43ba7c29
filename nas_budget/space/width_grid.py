"""The grid of widths of a space, and which widths may follow each other."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor

from nas_budget.space.space import SearchSpace


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
