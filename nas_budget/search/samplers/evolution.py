"""Candidates a change away from the best so far."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_budget.search.samplers.candidate import Candidate
from nas_budget.space.dimensions import Dimension

REACH = 0.2
"""Standard deviation of a change, as a share of the coordinate's range."""
SECOND_CHANGE = 0.4
"""Chance that another coordinate changes too."""


@dataclass(frozen=True)
class Learned:
    """A candidate that was tried, its parameters, and its accuracy, or the one expected of it, 0 to 1."""

    candidate: Candidate
    params: int
    accuracy: float


def mutated(point: Mapping[str, Any], dimensions: Sequence[Dimension], chance: random.Random) -> dict[str, Any]:
    """The point with one coordinate changed, or a few: the kernel of a stage, its growth, the size, ..."""
    changed = dict(point)
    while True:
        dimension = chance.choice(dimensions)
        changed[dimension.name] = _other(dimension, changed[dimension.name], chance)
        if chance.random() >= SECOND_CHANGE:
            return changed


def _other(dimension: Dimension, value: Any, chance: random.Random) -> Any:
    if dimension.choices:
        return chance.choice([choice for choice in dimension.choices if choice != value])
    low, high = dimension.low, dimension.high
    if dimension.whole:
        step = max(1, round(abs(chance.gauss(0, REACH)) * (high - low)))
        return int(min(max(value + chance.choice((-step, step)), low), high))
    if dimension.log:
        return min(max(value * (high / low) ** chance.gauss(0, REACH), low), high)
    return min(max(value + chance.gauss(0, REACH) * (high - low), low), high)
