"""Random networks that fit, thousands at once: of all sizes alike, and like given ones.

Both kinds are shapes with a size to reach. Their widths are the widest in the shape's proportions that keep the budget
and that size. So a network near the budget has relatives near the budget, whatever else changes.
"""

from __future__ import annotations

from itertools import product
from math import log

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.cost import cost
from nas_budget.arch.cost_table import fits_table
from nas_budget.space.feasible import FeasibleSpace, growing
from nas_budget.space.network_rows import Rows, count_rows, selected
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.spec_factory import DEPENDENT, choices_of, clip_pool, width_grid

SECTIONS, ROUNDS = 6, 6
"""Parts into which the range of a multiple of widths is cut, and how often: to within a 40,000th of the range."""
REACH = 0.3
"""Standard deviation of the logarithm of a changed width or size."""

Floats = NDArray[np.float64]


def random_networks(
    feasible: FeasibleSpace, n: int, rng: np.random.Generator, sizes: tuple[float, float] = (0.0, 1.0)
) -> Rows:
    """Up to `n` networks that fit, their sizes spread evenly on a log scale; shapes that do not fit are left out.

    Args:
        feasible: Space and budget.
        n: Networks to try.
        rng: Random numbers.
        sizes: Least and most size, from 0 to 1, the most that fits.
    """
    space = feasible.space
    most = space.stages[1]
    n_stages = rng.integers(space.stages[0], most + 1, n)
    absent = np.arange(most) >= n_stages[:, None]
    shapes: Rows = {
        "blocks": rng.integers(space.blocks[0], space.blocks[1] + 1, (n, most)),
        "kernels": rng.choice(space.kernels, (n, most)),
        "strides": np.column_stack([rng.choice(space.first_stride, n), rng.choice(space.strides, (n, most - 1))]),
    }
    for values in shapes.values():
        values[absent] = 1
    shapes |= {name: _choice(getattr(space, name), n, rng) for name in OPTIONS}
    shapes["expansions"] = np.zeros((n, most))
    _settle(space, shapes, rng)
    growth = np.exp(rng.uniform(log(space.growth[0]), log(space.growth[1]), (n, most - 1)))
    relative = np.where(absent, 0.0, np.cumprod(np.column_stack([np.ones(n), growth]), axis=1))
    return widened(feasible, shapes, relative, rng.uniform(*sizes, n))


def mutated_networks(feasible: FeasibleSpace, parents: Rows, rng: np.random.Generator) -> Rows:
    """Relatives of networks that fit: each with a width, blocks, a kernel, a stride or an option changed, or the size.

    One that no longer fits becomes narrower; those that cannot are left out.

    Args:
        feasible: Space and budget.
        parents: The networks, one relative each.
        rng: Random numbers.
    """
    space = feasible.space
    n = len(parents["channels"])
    relative = parents["channels"].astype(float)
    children = {name: values.copy() for name, values in parents.items() if name != "channels"}
    present = relative > 0
    # One stage of each, evenly of those that it has.
    stage = (rng.random(n) * present.sum(axis=1)).astype(int)
    rows = np.arange(n)
    kind = rng.integers(4, size=n)
    widths, blocks, others = rows[kind <= 1], rows[kind == 2], rows[kind == 3]
    relative[widths, stage[widths]] *= np.exp(rng.normal(0, REACH, len(widths)))
    children["blocks"][blocks, stage[blocks]] += rng.choice((-1, 1), len(blocks))
    np.clip(children["blocks"], *space.blocks, out=children["blocks"])
    children["blocks"][~present] = 1
    _change_others(space, children, others, stage, rng)
    sizes = np.log(count_rows(space, parents, feasible.budget)["params"])
    # Half of them keep their size, so that what was changed shows.
    sizes += np.where(rng.random(n) < 0.5, 0.0, rng.normal(0, REACH, n))
    low, high = size_bounds(feasible)
    return widened(feasible, children, relative, np.clip((sizes - low) / max(high - low, 1e-9), 0, 1))


def _change_others(
    space: SearchSpace, children: Rows, rows: NDArray[np.int64], stage: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Change one choice of each of these rows: a kernel, a stride or an option, say, that the space leaves open."""
    names = ("kernels", "expansions", "strides", "first_stride", *OPTIONS)
    open_fields = [name for name in names if len(getattr(space, name)) > 1]
    if not open_fields:
        return
    fields = rng.integers(len(open_fields), size=len(rows))
    for i, name in enumerate(open_fields):
        these = rows[fields == i]
        drawn = _choice(getattr(space, name), len(these), rng)
        if name in OPTIONS:
            children[name][these] = drawn
        elif name == "first_stride":
            children["strides"][these, 0] = drawn
        else:
            at = stage[these]
            keeps = (at == 0) & (name == "strides")  # that of the first stage is a choice of its own
            children[name][these, at] = np.where(keeps, children[name][these, at], drawn)
    _settle(space, children, rng)


def _settle(space: SearchSpace, shapes: Rows, rng: np.random.Generator) -> None:
    """Draw what a row's kind of block does not have anew, of what it has."""
    for block, name in product(space.block, DEPENDENT):
        allowed, values = np.array(choices_of(space, block, name)), shapes[name]
        here = (shapes["block"] == block).reshape(-1, *[1] * (values.ndim - 1))
        wrong = here & ~np.isin(values, allowed)
        values[wrong] = rng.choice(allowed, np.count_nonzero(wrong))


def widened(feasible: FeasibleSpace, shapes: Rows, relative: Floats, sizes: Floats) -> Rows:
    """The networks of some shapes, as wide as budget and size allow; those that do not fit are left out.

    Args:
        feasible: Space and budget.
        shapes: Everything but the widths.
        relative: Proportions of the widths, shape (N, S), 0 for absent stages.
        sizes: From 0, the smallest parameters that the space asks for, to 1, the most that fit, on a log scale.
    """
    space, budget, grid = feasible.space, feasible.budget, width_grid(feasible.space)
    low, high = size_bounds(feasible)
    targets = np.exp(low + sizes * (high - low)) * (1 + 1e-9)
    shapes = shapes | {"pool": _clipped_pools(space, shapes, relative)}
    absent = relative == 0
    present = np.where(absent, np.nan, relative)
    # From all widths at their least to all at their most.
    start = np.log(grid[0] / np.nanmax(present, axis=1)) - 1e-9
    length = np.log((grid[-1] + grid.step) / np.nanmin(present, axis=1)) - start

    def rows_at(multiples: Floats) -> tuple[Rows, NDArray[np.bool_]]:
        """The networks of some multiples of each shape, (N, K), one after the other; and which are within limits."""
        each = np.repeat(np.arange(len(relative)), multiples.shape[1])
        widths = np.exp(multiples).reshape(-1, 1) * relative[each]
        snapped = np.clip(np.floor(widths / grid.step + 0.5).astype(np.int64) * grid.step, grid[0], grid[-1])
        rows = selected(shapes, each) | {"channels": np.where(absent[each], 0, snapped)}
        counted = count_rows(space, rows, budget)
        return rows, fits_table(counted, budget) & (counted["params"] <= targets[each])

    # Costs rise with the multiple, so the last part that begins within the limits holds the widest network that is.
    for _ in range(ROUNDS):
        length = length / SECTIONS
        _, fits = rows_at(start[:, None] + length[:, None] * np.arange(SECTIONS))
        start = start + length * np.maximum(fits.reshape(-1, SECTIONS).sum(axis=1) - 1, 0)
    rows, fits = rows_at(start[:, None])
    return selected(rows, fits & growing(space, rows["channels"]))


def size_bounds(feasible: FeasibleSpace) -> tuple[float, float]:
    """Logarithms of the least and the most parameters of networks to propose."""
    low, high = (log(share * feasible.most_params) for share in feasible.space.fill)
    # Below the smallest network there is nothing to propose.
    return min(max(low, log(cost(feasible.smallest).params)), high), high


def _clipped_pools(space: SearchSpace, shapes: Rows, relative: Floats) -> NDArray[np.int64]:
    """The pools, at most the last map of each row; one that the space does not have there becomes its last choice."""
    size = -(-space.image_size // shapes["stem_stride"])
    for stride, here in zip(shapes["strides"].T, (relative > 0).T, strict=True):
        size = np.where(here, -(-size // stride), size)
    choices = np.array([[clip_pool(pool, most) for pool in space.pool] for most in range(space.image_size + 1)])[size]
    pool = np.where(shapes["pool"] == 0, size, np.minimum(shapes["pool"], size))
    return np.where((choices == pool[:, None]).any(axis=1), pool, choices[:, -1])


def _choice(choices: tuple[object, ...], n: int, rng: np.random.Generator) -> NDArray[np.generic]:
    """`n` of the choices; "global" among numbers is 0."""
    numbers = [0 if choice == "global" else choice for choice in choices]
    drawn: NDArray[np.generic] = np.array(numbers)[rng.integers(len(numbers), size=n)]
    return drawn
