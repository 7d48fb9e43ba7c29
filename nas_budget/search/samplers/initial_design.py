"""Initial design: the startup trials, before a sampler has anything to learn from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from nas_budget.search.samplers.candidate import CandidateSpace
from nas_budget.space.dimensions import Dimension
from nas_budget.space.sampling import sample


def startup_points(space: CandidateSpace, n: int, seed: int) -> list[dict[str, Any]]:
    """`n` points: half of networks drawn evenly from all that fit, the others spread over the coordinates.

    The drawn networks have the shapes and sizes that most networks within the budget have, so an accurate one is found
    soon. The others cover all sizes, and so the Pareto front.

    Args:
        space: Candidates that may be proposed.
        n: Number of points.
        seed: The same seed gives the same points.
    """
    feasible = space.feasible
    points = latin_hypercube(space.dimensions(), n, seed)
    drawn = sample(feasible.space, n // 2, feasible.budget, seed) if n > 1 else []
    for point, spec in zip(points, drawn, strict=False):
        point.update(feasible.encode(spec))
    return points


def latin_hypercube(dimensions: Sequence[Dimension], n: int, seed: int) -> list[dict[str, Any]]:
    """`n` points of which each n-th part of each coordinate holds one (Latin hypercube; McKay et al. 1979)."""
    rng = random.Random(f"spread {seed}")
    columns = {d.name: rng.sample(range(n), n) for d in dimensions}
    return [{d.name: _at(d, (columns[d.name][i] + rng.random()) / n) for d in dimensions} for i in range(n)]


def _at(dimension: Dimension, share: float) -> Any:
    """The value at a share of the way along a coordinate, 0 up to 1."""
    low, high = dimension.low, dimension.high
    if dimension.choices:
        return dimension.choices[int(share * len(dimension.choices))]
    if dimension.whole:
        return int(low) + int(share * (int(high) - int(low) + 1))
    return low * (high / low) ** share if dimension.log else low + share * (high - low)
