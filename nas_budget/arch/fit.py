"""`fit`: the widest network of a shape that a budget allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost_table import Counts, columns_of, cost_table, countable_width, fits_table, limited_counts
from nas_budget.arch.spec import MAX_CHANNELS, ResNetSpec
from nas_budget.errors import NothingFitsError, SpecError

MOVED = 2
"""Steps that spending the remainder may move a width by: one, and two where that is a tenth of it or two channels."""
MOST_MOVES = 70_000


@dataclass(frozen=True)
class Fitted:
    """The widest network of a shape inside a budget.

    Attributes:
        spec: The network, with the remainder of the budget spent if that was asked for.
        multiplier: What the shape is multiplied by; no larger one fits.
        scaled: Widths before the remainder was spent: the multiplied shape, rounded.

    Examples:
        >>> fitted = fit((1, 2, 4), Budget(250_000), blocks=2, pool="global", shortcut_kernel=1)
        >>> fitted.scaled, fitted.spec.channels, round(fitted.multiplier, 2)
        ((19, 38, 76), (20, 37, 77), 19.0)
    """

    spec: ResNetSpec
    multiplier: float
    scaled: tuple[int, ...]


def fit(
    shape: Sequence[float], budget: Budget | None = None, step: int = 1, spend: bool = True, **options: Any
) -> Fitted:
    """The network with the largest multiple of a shape as its widths that keeps every limit.

    Every multiple that rounds to other widths is counted, so no larger one fits. A last step spends what rounding
    left: of all ways to move each width by a step or two, the one that uses most of the budget;
    then stages are widened until none can be by one more step.

    Args:
        shape: Width of each stage in proportion to the others, such as (1, 2, 4).
        budget: The limits; None for 5 M parameters.
        step: Widths are multiples of it.
        spend: Whether to spend the remainder; without, the proportions are kept.
        options: What else a `ResNetSpec` takes: blocks, kernels, pool, ...

    Raises:
        SpecError: A shape or options that make no network.
        NothingFitsError: Not even the narrowest fits.

    Examples:
        >>> from nas_budget import Budget, fit
        >>> fit((1, 2, 4), Budget(250_000), blocks=2, pool="global", shortcut_kernel=1).spec.channels
        (20, 37, 77)
    """
    budget = budget or Budget()
    spec = _narrowest(shape, step, options)
    arguments = {**table_arguments(spec), "stem_width": options.get("stem_width", 0)}
    widest = min(MAX_CHANNELS, countable_width(spec)) // step * step
    widths, multipliers = scaled_widths(shape, step, step, widest)
    found = _last_fitting(widths, budget, arguments)
    if found is None:
        raise NothingFitsError(
            f"nothing of this shape fits: its narrowest network ({spec}) needs {budget.check(spec).excess}; "
            "raise the limit, or give fewer blocks or a smaller step"
        )
    scaled = widths[found]
    channels = _spend(scaled, step, widest, budget, arguments) if spend else scaled
    return Fitted(ResNetSpec(channels.tolist(), **options), float(multipliers[found]), tuple(scaled.tolist()))


def _narrowest(shape: Sequence[float], step: int, options: Mapping[str, Any]) -> ResNetSpec:
    """The narrowest network of the shape, which also checks the options."""
    if not len(shape) or not all(isfinite(part) and part > 0 for part in shape):
        raise SpecError([f"shape: {shape!r} is not allowed; give a number above 0 for each stage, such as 1:2:4"])
    if not 1 <= step <= MAX_CHANNELS:
        raise SpecError([f"step: {step!r} is not allowed; give a whole number from 1 to {MAX_CHANNELS:,}"])
    return ResNetSpec((step,) * len(shape), **options)


def scaled_widths(shape: Sequence[float], step: int, narrowest: int, widest: int) -> tuple[Counts, NDArray[np.float64]]:
    """The widths of every multiple of a shape that rounds to others, shape (N, S), narrowest first; and the multiples.

    A width below `narrowest` becomes that, one above `widest` that; both are on the grid.
    """
    relative = np.asarray(shape, float)
    between = np.arange(narrowest // step, widest // step) + 0.5  # where the rounding goes up, in steps
    ups = np.unique(np.outer(between, step / relative))
    ups = ups[np.diff(ups, prepend=0.0) > 1e-9 * ups]  # the same multiple, reached by two stages
    if not len(ups):
        return np.full((1, len(relative)), narrowest), np.array([narrowest / relative.max()])
    multipliers = np.concatenate([[ups[0] / 2], (ups[:-1] + ups[1:]) / 2, [ups[-1] * 1.01]])
    rounded = np.floor(np.outer(multipliers, relative) / step + 0.5).astype(np.int64) * step
    return np.clip(rounded, narrowest, widest), multipliers


def _last_fitting(widths: Counts, budget: Budget, arguments: Mapping[str, Any]) -> int | None:
    """The last row of widths that keeps every limit, None where none does; the other arguments are `cost_table`'s."""
    fits = fits_table(cost_table(widths, **arguments, columns=columns_of(budget), latency=budget.latency_model), budget)
    return int(np.flatnonzero(fits)[-1]) if fits.any() else None


def table_arguments(spec: ResNetSpec) -> dict[str, Any]:
    """Everything but the widths of a spec, as `cost_table` takes it."""
    values = spec.to_dict()
    return {name: value for name, value in values.items() if name not in ("channels", "dropout")}


def _spend(widths: Counts, step: int, widest: int, budget: Budget, arguments: Mapping[str, Any]) -> Counts:
    """Widths close to these that use the tightest limit as far as can be, and cannot be widened further."""
    moves = _moves(len(widths))
    while True:
        rows = widths + step * moves
        near = np.abs(rows - widths) <= np.maximum(max(step, MOVED), widths // 10)
        rows = rows[(near & (rows >= step) & (rows <= widest)).all(axis=1)]
        counted = cost_table(rows, **arguments, columns=columns_of(budget), latency=budget.latency_model)
        used = np.where(fits_table(counted, budget), _share_used(counted, budget), -1.0)
        best = rows[used.argmax()]
        if (best == widths).all():
            return widths
        widths, moves = best, np.vstack([np.zeros_like(widths), moves[(moves >= 0).all(axis=1)]])


def _moves(n_stages: int) -> Counts:
    """Ways to move each width by some steps, none first; for very many stages only one of them, and only up."""
    most = next((n for n in range(MOVED, 0, -1) if (2 * n + 1) ** n_stages <= MOST_MOVES), 0)
    still = np.zeros((1, n_stages), np.int64)
    if not most:
        return np.vstack([still, np.eye(n_stages, dtype=np.int64)])
    return np.vstack([still, [*product(range(-most, most + 1), repeat=n_stages)]])


def _share_used(counted: Mapping[str, Counts], budget: Budget) -> NDArray[np.float64]:
    """Share of the tightest limit that each row uses."""
    shares: list[NDArray[Any]] = [used / limit for used, limit in limited_counts(counted, budget)]
    tightest: NDArray[np.float64] = np.max(shares or [counted["params"]], axis=0)
    return tightest
