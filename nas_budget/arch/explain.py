"""`explain`: what one more channel, block or kernel size of each stage of a network costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from nas_budget.arch.blocks import FAMILIES, MAX_EXPANSION
from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.cost_table import columns_of, cost_table, countable_width, fits_table
from nas_budget.arch.fit import table_arguments
from nas_budget.arch.spec import MAX_BLOCKS, MAX_CHANNELS, MAX_KERNEL, ResNetSpec
from nas_budget.errors import SpecError


@dataclass(frozen=True)
class Change:
    """One number of one stage made a little larger, all else as it is.

    Attributes:
        name: "channels", "blocks" or "kernels"; of inverted blocks "expansions" too.
        stage: From 1.
        value: What it is.
        next: What it would be.
        params: Parameters that would add.
        macs: Multiply-accumulates that would add.
        latency_ns: Nanoseconds that would add, where the budget has a model of latencies; else None.
        fits: Whether the network would then keep every limit.
        largest: The largest value that does; None where none does.
    """

    name: str
    stage: int
    value: float
    next: int
    params: int
    macs: int
    fits: bool
    largest: int | None
    latency_ns: int | None = None


@dataclass(frozen=True)
class Explanation:
    """What small changes of a network cost.

    Attributes:
        changes: One more channel, one more block, the next kernel size and the next expansion of each stage.
        shortcut_params: Parameters that 1x1 shortcuts would save.

    Examples:
        >>> explanation = explain(ResNetSpec((8, 16), blocks=1))
        >>> [(change.name, change.params) for change in explanation.changes if change.stage == 2]
        [('channels', 1087), ('blocks', 4672), ('kernels', 6144)]
        >>> explanation.shortcut_params
        1024
    """

    changes: tuple[Change, ...]
    shortcut_params: int

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready values."""
        return {"changes": [asdict(change) for change in self.changes], "shortcut_params": self.shortcut_params}


def explain(spec: ResNetSpec, budget: Budget | None = None) -> Explanation:
    """What one more channel, one more block and the next kernel size of each stage cost, and how far each can go.

    Args:
        spec: The network.
        budget: The limits; None for 5 M parameters.

    Raises:
        SpecError: A network too large to count in a table.

    Examples:
        >>> wider = explain(ResNetSpec((32, 64, 96, 128, 185))).changes[4]
        >>> wider.stage, wider.params, wider.largest
        (5, 25705, 188)
    """
    changes = tuple(_changes(spec, budget or Budget()))
    saved = cost(spec).params - cost(replace(spec, shortcut_kernel=1)).params
    return Explanation(changes, saved)


def _changes(spec: ResNetSpec, budget: Budget) -> Iterator[Change]:
    ranges: dict[str, Sequence[int]] = {
        "channels": range(1, min(MAX_CHANNELS, countable_width(spec)) + 1),
        "blocks": range(1, MAX_BLOCKS + 1),
        "kernels": _kernels(spec, budget),
    }
    if FAMILIES[spec.block].least_expansion == 1:  # others narrow: by a fraction that has no next one
        ranges["expansions"] = range(1, MAX_EXPANSION + 1)
    now = cost(spec)
    for name, allowed in ranges.items():
        for stage, value in enumerate(getattr(spec, name)):
            larger = int(value) + (2 if name == "kernels" else 1)
            if name == "kernels" and larger not in allowed:
                continue
            try:
                then = cost(_changed(spec, name, stage, larger))
            except SpecError:  # it is at its most
                continue
            params, macs, fits = then.params - now.params, then.macs - now.macs, budget.check(then).fits
            largest = _largest(spec, name, stage, allowed, budget)
            model = budget.latency_model
            slower = model.network_ns(then.timed) - model.network_ns(now.timed) if model else None
            yield Change(name, stage + 1, value, larger, params, macs, fits, largest, slower)


def _kernels(spec: ResNetSpec, budget: Budget) -> Sequence[int]:
    """The kernel sizes that stages may have: with a model of latencies those that were timed."""
    sizes, model = range(1, MAX_KERNEL + 1, 2), budget.latency_model
    kinds = {conv.timed_as(spec.groups) for conv in FAMILIES[spec.block].convs if not conv.kernel}
    timed = {(kind, kernel) for kind, kernel, _ in model.terms} if model else set()
    return [size for size in sizes if not model or all((kind, size) in timed for kind in kinds)]


def _changed(spec: ResNetSpec, name: str, stage: int, value: int) -> ResNetSpec:
    values = getattr(spec, name)
    changed: dict[str, Any] = {name: (*values[:stage], value, *values[stage + 1 :])}
    return replace(spec, **changed)


def _largest(spec: ResNetSpec, name: str, stage: int, allowed: Sequence[int], budget: Budget) -> int | None:
    """The largest value of one number that keeps every limit, whatever smaller ones do."""
    values = np.tile(getattr(spec, name), (len(allowed), 1))
    values[:, stage] = allowed
    arguments = {"channels": np.tile(spec.channels, (len(allowed), 1)), **table_arguments(spec), name: values}
    fits = fits_table(cost_table(**arguments, columns=columns_of(budget), latency=budget.latency_model), budget)
    return int(allowed[int(np.flatnonzero(fits)[-1])]) if fits.any() else None
