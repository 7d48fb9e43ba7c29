"""Networks drawn from those that fit: every one equally likely, however small a share of a space they are.

Paths are drawn evenly from those that fit by costs rounded down, and the few that are over a limit by true costs are
drawn again: what remains is even among those that fit. Where the few are many the grid is made finer. That comes to an
end, as at steps of one the rounded costs are the true ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.budget import Budget
from nas_budget.arch.spec import ResNetSpec
from nas_budget.space.counting import count_fitting
from nas_budget.space.feasible import nothing_fits
from nas_budget.space.layout_graph import HEADS, KINDS, STEMS, VARIANTS, LayeredGraph, has_repeats
from nas_budget.space.network_rows import PADDING, spec_of
from nas_budget.space.path_sampler import Paths, PathSampler, path_samplers
from nas_budget.space.space import SearchSpace

BATCH = 1_000
ENOUGH = 0.1
"""Share of draws kept below which the grid is made finer."""
MOST_CELLS = 30_000_000
"""Cells of a table beyond which it is not."""

Rows = dict[str, Any]
"""Networks as arguments of `cost_table`."""


def sample(space: SearchSpace, n: int, budget: Budget | None = None, seed: int = 0) -> list[ResNetSpec]:
    """`n` networks, each drawn on its own and evenly from those that keep every limit (None: from the whole space).

    Raises:
        NothingFitsError: None does.
        SpaceTooLargeError: Too many widths to hold their pairs.
    """
    rows = draw_fitting(space, n, budget, seed)
    return [spec_of(space, rows, i) for i in range(n)]


def draw_fitting(space: SearchSpace, n: int, budget: Budget | None, seed: int) -> Rows:
    """The same as arguments of `cost_table`, which is faster."""
    rng, finer, kept, n_kept = np.random.default_rng(seed), 1, list[Rows](), 0
    found = path_samplers(space, budget)
    while n_kept < n:
        if not found:
            raise nothing_fits(space, budget or Budget(None))
        # A batch is larger than what is missing, as some draws are dropped.
        n_drawn = max(BATCH, round(1.2 * (n - n_kept)))
        batch = _batch(space, found, n_drawn, rng)
        kept.append(batch)
        n_kept += len(batch["channels"])
        if len(batch["channels"]) < ENOUGH * n_drawn:
            found, finer = _finer(space, budget, found, finer)
    image = {name: getattr(space, name) for name in ("image_size", "in_channels", "classes")}
    return {**{name: np.concatenate([rows[name] for rows in kept])[:n] for name in kept[0]}, **image}


def estimate_fitting(space: SearchSpace, budget: Budget, seed: int = 0) -> tuple[float, float, float]:
    """About how many networks keep every limit, where an exact count would take too long: least, likely, most.

    The least and the most are certain (costs rounded up and down); the likely number is the most times the share of
    4,000 draws that truly fit.
    """
    found = path_samplers(space, budget)
    if not found:
        return 0.0, 0.0, 0.0
    # Rounded down, the costs of all that fit and of some more are within the limits: `most`. Of those, draws are even,
    # so the share of draws that truly fit tells how much of `most` does. Rounded up, only some that fit are left.
    most = float(sum(sampler.weights.sum() for sampler in found))
    kept = len(_batch(space, found, 4 * BATCH, np.random.default_rng(seed))["channels"])
    least = float(sum(sampler.weights.sum() for sampler in path_samplers(space, budget, up=True)))
    return min(least, most * kept / (4 * BATCH)), most * kept / (4 * BATCH), most


def _finer(
    space: SearchSpace, budget: Budget | None, found: list[PathSampler], finer: int
) -> tuple[list[PathSampler], int]:
    """Samplers on a grid twice as fine, or the same where that is of no use."""
    if all(sampler.exact for sampler in found):
        return found, finer
    if max(table.size << table.ndim for sampler in found for table in sampler.tables) > MOST_CELLS:
        # A finer grid would not fit into memory. Drawing on ends only if something fits, which the exact count says.
        return (found if count_fitting(space, budget or Budget(None)) else []), finer
    return path_samplers(space, budget, 2 * finer), 2 * finer


def _batch(space: SearchSpace, found: list[PathSampler], n: int, rng: np.random.Generator) -> Rows:
    """Of so many draws those that truly fit, in an order that says nothing."""
    # A layout gets draws by how many of its paths fit rounded costs; those over a limit then drop out evenly.
    weights = np.array([sampler.weights.sum() for sampler in found])
    shares, parts = rng.multinomial(n, weights / weights.sum()), []
    for sampler, n_drawn in zip(found, shares, strict=True):
        if not n_drawn:
            continue
        drawn = sampler.draw(n_drawn, rng)
        rows = _rows(sampler.graph, drawn, space.stages[1])
        fits = (drawn.costs <= sampler.graph.limits[:, None]).all(axis=0)
        if has_repeats(space, sampler.graph.layout):
            # These networks have another layout's draws too: left out here, they are as likely as all others.
            fits &= ~_one_width(rows, len(sampler.graph.layout["strides"]))
        parts.append({name: values[fits] for name, values in rows.items()})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # Layouts come one after the other: without this the first draws would be of one kind.
    order = rng.permutation(len(whole["channels"]))
    return {name: values[order] for name, values in whole.items()}


def _rows(graph: LayeredGraph, drawn: Paths, most_stages: int) -> Rows:
    """Paths as arguments of `cost_table`; stages there are not have width 0."""
    n_stages, n = len(graph.layout["strides"]), drawn.nodes.shape[1]
    stages = {
        "channels": graph.widths[drawn.nodes[1:-1].T],
        "strides": np.tile(graph.layout["strides"], (n, 1)),
        **_picked(VARIANTS, graph.variants, drawn.variants[:n_stages].T),
    }
    absent = ((0, 0), (0, most_stages - n_stages))
    return {
        **{name: np.pad(values, absent, constant_values=PADDING[name]) for name, values in stages.items()},
        **_picked(STEMS, graph.stems, drawn.nodes[0]),
        **_picked(HEADS, graph.heads, drawn.nodes[-1]),
        **{name: np.full(n, graph.layout[name]) for name in KINDS},
    }


def _picked(names: Sequence[str], choices: Sequence[tuple[Any, ...]], which: NDArray[np.int64]) -> Rows:
    """The values of chosen tuples, by name."""
    return {name: np.array(values)[which] for name, values in zip(names, zip(*choices, strict=True), strict=True)}


def _one_width(rows: Rows, n_stages: int) -> NDArray[np.bool_]:
    widths, stem = rows["channels"][:, :n_stages], rows["stem_width"]
    same: NDArray[np.bool_] = (widths == widths[:, :1]).all(axis=1) & ((stem == 0) | (stem == widths[:, 0]))
    return same
