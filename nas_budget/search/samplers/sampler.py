"""`CandidateSampler`: proposes the startup trials, then what one of the samplers derived from it chooses."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from nas_budget.arch.cost import cost
from nas_budget.search.pruners.front import losses_of
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace
from nas_budget.search.samplers.learning_curve import LearningCurve
from nas_budget.space.dimensions import Dimension
from nas_budget.space.network_rows import Rows, joined

N_RANDOM = 600
"""Random candidates that a model chooses from; a quarter of them as large as fits."""
N_STARTUP = 100
"""Random candidates that a startup trial is chosen from."""
LARGEST = 0.1
"""Share of those of one size of which a startup trial is one; the largest of them are nearest to that size."""
STARTUP_SIZES = (2 / 3, 1.0)
"""Sizes of the first two startup trials. One that fills the budget says little of the front below it."""
THIRDS = (0, 1, 2)
"""The thirds of the sizes that the next ones are from: small, middle, large, and so on."""


@dataclass(frozen=True)
class Proposal:
    """A candidate to try next.

    Attributes:
        candidate: One that no trial had before.
        point: Its coordinates.
        predicted: The accuracy that a model expects, and its standard deviation; None without a model.
        place: Number of the proposal in the study of an Optuna sampler; None where none was asked.
    """

    candidate: Candidate
    point: Mapping[str, Any]
    predicted: tuple[float, float] | None = None
    place: int | None = None


@dataclass(frozen=True)
class Observation:
    """A candidate that was tried, and what came of it.

    Attributes:
        candidate: Network and recipe.
        params: Parameters of the network.
        accuracy: Its accuracy, or for a pruned trial the one predicted for it, 0 to 1.
        deviation: Standard deviation of that prediction; 0 for what was measured.
    """

    candidate: Candidate
    params: int
    accuracy: float
    deviation: float = 0.0


class CandidateSampler(ABC):
    """Proposes candidates that fit and that no trial had before.

    The startup trials come first. Their sizes are on a log scale. The first is at two thirds of the way to the largest
    that fits, the second is one of the largest. The following ones are from the small, the middle and the large third
    of the sizes, in turn. Several workers get one each. Then the sampler chooses. A candidate that a trial already had
    is replaced by the nearest one that none had.

    A pruned trial is an observation too, with the final accuracy that `LearningCurve` predicts. A trial that diverged
    counts with the accuracy that it had. A failed trial teaches nothing.

    The same arguments and the same trials give the same proposals.

    Args:
        space: Candidates that may be proposed.
        seed: Seed of the study.
        n_startup_trials: Trials before the sampler chooses; those that others made count too.
        stream: Name of a stream of random numbers. Each worker, and each start of a study, has its own, so that two do
            not propose the same.

    Attributes:
        pending: Candidates of running trials, by number.
        observations: Of trials that ended, in that order.
    """

    def __init__(self, space: CandidateSpace, seed: int, n_startup_trials: int = 0, stream: str = "") -> None:
        self.space = space
        self.dimensions = space.dimensions()
        self.seed, self.n_startup_trials = seed, n_startup_trials
        self.reseed(stream)
        self.learning_curve = LearningCurve()
        self.pending: dict[int, Candidate] = {}
        self.n_begun = 0
        self.observations: list[Observation] = []

    def reseed(self, stream: str) -> None:
        """Draw from the stream of this name from now on."""
        self.rng = random.Random(f"{self.seed} {stream}")
        start = hashlib.sha256(f"{self.seed} {stream}".encode()).digest()
        self.generator = np.random.default_rng([*start[:16]])

    @cached_property
    def random_rows(self) -> Rows:
        """Random candidates of all sizes, more of them near the budget."""
        of_all_sizes = self.space.random(N_RANDOM * 3 // 4, self.generator)
        return joined(of_all_sizes, self.space.random(N_RANDOM // 4, self.generator, (1.0, 1.0)))

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """How Optuna knows the coordinates."""
        return {d.name: distribution(d) for d in self.dimensions}

    def propose(self, seen: Collection[Candidate]) -> Proposal | None:
        """The candidate to try next; None when all that fit have been tried.

        Args:
            seen: Candidates of all trials so far.
        """
        chosen = self._startup() if self.n_begun < self.n_startup_trials else self.choose(seen)
        found = self.space.unseen(chosen.candidate, seen)
        if found is None or found == chosen.candidate:
            return chosen if found else None
        return Proposal(found, self.coordinates(found), place=chosen.place)

    @abstractmethod
    def choose(self, seen: Collection[Candidate]) -> Proposal:
        """What to try next; what has been seen is replaced."""

    def begin(self, number: int, proposal: Proposal) -> None:
        """Note that the trial of this number has started with a proposal."""
        self.n_begun += 1
        self.pending[number] = proposal.candidate

    def end(self, trial: FrozenTrial, candidate: Candidate) -> Observation | None:
        """Learn from a trial that has ended; the observation, None of a trial that teaches nothing."""
        del self.pending[trial.number]
        curve = [value for _, value in sorted(trial.intermediate_values.items())]
        if trial.state == TrialState.FAIL or not curve:
            return None
        accuracy, deviation, losses = curve[-1], 0.0, losses_of(trial)
        if trial.state == TrialState.COMPLETE:
            self.learning_curve.add(losses, accuracy)
        elif not trial.user_attrs.get("diverged"):
            accuracy, deviation = self.learning_curve.predict(losses, accuracy)
        params = trial.user_attrs.get("params") or cost(candidate.spec).params  # what is stored need not be counted
        self.observations.append(Observation(candidate, params, accuracy, deviation))
        return self.observations[-1]

    def replace_observations(self, observations: Sequence[Observation]) -> None:
        """Take these for all that is known, in place of what was known before."""
        self.observations = [*observations]

    def coordinates(self, candidate: Candidate) -> dict[str, Any]:
        """A value for each coordinate: those of the candidate, and the first there is where it has none."""
        known = self.space.encode(candidate)
        return {d.name: known.get(d.name, d.choices[0] if d.choices else d.low) for d in self.dimensions}

    def point_of(self, trial: FrozenTrial, candidate: Candidate) -> Mapping[str, Any]:
        """The coordinates of a trial: those stored with it. To find those of a network takes milliseconds."""
        is_whole = all(d.name in trial.params for d in self.dimensions)
        return trial.params if is_whole else self.coordinates(candidate)

    def _startup(self) -> Proposal:
        """The next startup trial: the n-th of the study, whoever began those before."""
        n_before, thirds = self.n_begun, [(third / 3, (third + 1) / 3) for third in THIRDS]
        one_size = n_before < len(STARTUP_SIZES)
        sizes = (STARTUP_SIZES[n_before],) * 2 if one_size else thirds[(n_before - len(STARTUP_SIZES)) % 3]
        rows = self.space.random(N_STARTUP, self.generator, sizes)
        params = self.space.networks.params(rows)
        if not len(params):  # hardly anything fits, and no random shape did
            return self.propose_point(self.random_point())
        n = max(1, round(LARGEST * len(params))) if one_size else len(params)
        candidate = self.space.candidate(rows, int(self.generator.choice(np.argsort(params)[-n:])))
        return Proposal(candidate, self.coordinates(candidate))

    def propose_point(self, point: Mapping[str, Any], place: int | None = None) -> Proposal:
        """The proposal of a point in the coordinates."""
        return Proposal(self.space.decode(point), point, place=place)

    def random_point(self) -> dict[str, Any]:
        """A random value of each coordinate."""
        return {d.name: value_at(d, self.rng.random()) for d in self.dimensions}


def distribution(dimension: Dimension) -> BaseDistribution:
    """The distribution by which Optuna knows a coordinate."""
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def value_at(dimension: Dimension, share: float) -> Any:
    """The value at a share of the way along a coordinate, 0 up to, but not, 1."""
    low, high = dimension.low, dimension.high
    if dimension.choices:
        return dimension.choices[int(share * len(dimension.choices))]
    if dimension.whole:
        return int(low) + int(share * (int(high) - int(low) + 1))
    return low * (high / low) ** share if dimension.log else low + share * (high - low)


class RandomSampler(CandidateSampler):
    """Random values of the coordinates: a baseline for the others.

    Examples:
        >>> from nas_budget import Budget, SearchSpace
        >>> from nas_budget.search.samplers.candidate import RecipeSpace
        >>> from nas_budget.search.samplers.resnet_networks import ResNetNetworks
        >>> from nas_budget.train.optim.recipe import Recipe
        >>> networks = ResNetNetworks(SearchSpace(stages=(2, 2), width=(4, 64)), Budget(params=20_000))
        >>> sampler = RandomSampler(CandidateSpace(networks, RecipeSpace(Recipe())), seed=0)
        >>> first = sampler.propose(seen=set())
        >>> networks.fits(first.candidate.spec)
        True
        >>> sampler.begin(0, first)
        >>> sampler.propose(seen={first.candidate}).candidate == first.candidate
        False
    """

    def choose(self, seen: Collection[Candidate]) -> Proposal:
        """A random point."""
        del seen
        return self.propose_point(self.random_point())
