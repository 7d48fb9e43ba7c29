"""`EvolutionSampler`: candidates that differ in a coordinate or two from one on the Pareto front."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nas_budget.records.statistics import pareto_front
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.sampler import CandidateSampler, Proposal
from nas_budget.space.dimensions import Dimension

REACH = 0.2
"""Standard deviation of a change, as a share of the coordinate's range."""
SECOND_CHANGE = 0.4
"""Probability that another coordinate changes too."""


class EvolutionSampler(CandidateSampler):
    """Changes a candidate on the Pareto front of all trials in a coordinate or a few."""

    def choose(self, seen: Collection[Candidate]) -> Proposal:
        """A relative of a candidate on the front; a random point before there is any."""
        del seen
        if not self.observations or not self.dimensions:
            return self.propose_point(self.random_point())
        front = pareto_front(self.observations, lambda known: known.params, lambda known: known.accuracy)
        parent = self.coordinates(self.rng.choice(front).candidate)
        return self.propose_point(mutated(parent, self.dimensions, self.rng))


def mutated(point: Mapping[str, Any], dimensions: Sequence[Dimension], rng: random.Random) -> dict[str, Any]:
    """The point with one coordinate changed, or a few: the kernel of a stage, its growth, the size, ...

    A number moves by a normal distribution with the standard deviation `REACH` times its range (on a log scale where
    the coordinate has one) and stays within it; a choice becomes another choice.
    """
    changed = dict(point)
    while True:
        dimension = rng.choice(dimensions)
        changed[dimension.name] = _other(dimension, changed[dimension.name], rng)
        if rng.random() >= SECOND_CHANGE:
            return changed


def _other(dimension: Dimension, value: Any, rng: random.Random) -> Any:
    if dimension.choices:
        return rng.choice([choice for choice in dimension.choices if choice != value])
    low, high = dimension.low, dimension.high
    if dimension.whole:
        step = max(1, round(abs(rng.gauss(0, REACH)) * (high - low)))
        return int(min(max(value + rng.choice((-step, step)), low), high))
    if dimension.log:
        return min(max(value * (high / low) ** rng.gauss(0, REACH), low), high)
    return min(max(value + rng.gauss(0, REACH) * (high - low), low), high)
