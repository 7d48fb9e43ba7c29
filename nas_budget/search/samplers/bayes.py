"""`BayesSampler`: Bayesian optimization of the Pareto front, on features of the network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from nas_budget.arch.cost import cost
from nas_budget.records.predictions import ExpectedNetwork
from nas_budget.records.statistics import pareto_front
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.expected_gain import expected_gain
from nas_budget.search.samplers.features import Features
from nas_budget.search.samplers.gaussian_process import GaussianProcess
from nas_budget.search.samplers.sampler import CandidateSampler, Observation, Proposal
from nas_budget.space.network_rows import Rows, joined, n_rows, selected

Floats = NDArray[np.float64]

N_RELATIVES = 100
"""Relatives of networks on the front that are looked at for each proposal."""
USES = 4
"""Proposals that the same relatives are looked at for."""
MOST_OBSERVATIONS = 200
"""Observations that the model learns from at most: its time grows with the cube of their number."""
GROWTH = 1.15
"""The model's parameters are fitted anew when there are so many times the observations of the last fit."""
N_EXPECTED, LEAST_OBSERVATIONS = 30, 5
"""Sizes of the expected front, and observations without which nothing is expected."""
EXPECTED_RELATIVES = 1000
"""Relatives that are looked at for the expected front: once, so there may be many."""


class BayesSampler(CandidateSampler):
    """Learns what makes a network accurate, and chooses where the largest gain of the Pareto front is expected.

    A Gaussian process predicts accuracy from features of network and recipe (`Features`): sizes, widths, depth,
    kernels, resolution. It is asked about 600 random candidates of all sizes, and about relatives of the
    networks on the front. The one with the largest expected gain (`expected_gain`) is proposed.

    What is known of pruned trials is less sure, and the model is told so. Running trials count with their predicted
    accuracy: so several workers do not propose the same kind of network. The model learns from the last 200 trials and
    those on the front, which keeps a proposal below a twentieth of a second.

    Args:
        aim: "front" for the best network of every size, "best" for the most accurate one.
        arguments: As `CandidateSampler` takes them.

    Attributes:
        front: Observations that are no predictions and that no other beats, from the smallest.

    Examples:
        >>> from nas_budget import Budget, SearchSpace, cost
        >>> from nas_budget.search.samplers.candidate import CandidateSpace, RecipeSpace
        >>> from nas_budget.search.samplers.resnet_networks import ResNetNetworks
        >>> from nas_budget.train.optim.recipe import Recipe
        >>> networks = ResNetNetworks(SearchSpace(stages=(2, 2), width=(4, 64)), Budget(params=20_000))
        >>> sampler = BayesSampler(CandidateSpace(networks, RecipeSpace(Recipe())), seed=0, n_startup_trials=4)
        >>> first = sampler.propose(seen=set())
        >>> cost(first.candidate.spec).params < 20_000
        True
    """

    def __init__(self, *arguments: Any, aim: str = "front", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.aim = aim
        self.n_fitted = self.n_uses = 0
        self.relatives_of: list[tuple[int, float]] = []
        self.front: list[Observation] = []
        self._features_of: dict[Candidate, Floats] = {}

    @cached_property
    def features(self) -> Features:
        """The features, scaled to the space."""
        return Features(self.space.networks, self.random_rows)

    @cached_property
    def random_features(self) -> Floats:
        """Those of the random candidates."""
        return self.features(self.random_rows)

    @cached_property
    def model(self) -> GaussianProcess:
        """The model of accuracy."""
        return GaussianProcess(self.features.groups)

    def end(self, trial: FrozenTrial, candidate: Candidate) -> Observation | None:
        """Learn from a trial that has ended; the front is of observations that are no predictions."""
        observation = super().end(trial, candidate)
        if observation:
            self.front = _front((*self.front, observation))
        return observation

    def replace_observations(self, observations: Sequence[Observation]) -> None:
        """Take these for all that is known, in place of what was known before."""
        super().replace_observations(observations)
        self.front = _front(observations)
        if len(observations) < self.n_fitted:  # of another study: what was fitted to the last one says nothing here
            self.n_fitted = 0

    def choose(self, seen: Collection[Candidate]) -> Proposal:
        """The candidate that promises the largest gain."""
        if not self.observations or not n_rows(self.random_rows):
            return self._startup()
        rows, features, front = self.random_rows, self.random_features, self.front
        if front:
            relatives, theirs = self._relatives(front)
            rows, features = joined(rows, relatives), np.vstack([features, theirs])
        running, accuracies = self._fit()
        mean, deviation = self.model.predict(features)
        sizes = self.features.log_params(features)
        known = (
            np.concatenate([np.log([one.params for one in front]), self.features.log_params(running)]),
            np.concatenate([[one.accuracy for one in front], accuracies]),
        )
        gain = expected_gain(mean, deviation, sizes, known, self.space.networks.size_bounds(), self.aim)
        order = np.argsort(-gain, kind="stable")
        for i in order.tolist():
            candidate = self.space.candidate(rows, i)
            if candidate not in seen:
                return Proposal(candidate, self.coordinates(candidate), (float(mean[i]), float(deviation[i])))
        return Proposal(candidate, {})

    def expected_front(self) -> list[ExpectedNetwork]:
        """The networks that the model expects to be the most accurate up to each of 30 sizes, from the smallest.

        The sizes are spread evenly on a log scale. The model is asked about the random candidates, the networks on the
        front and relatives of them. There is nothing to expect after fewer than five observations.
        """
        if len(self.observations) < LEAST_OBSERVATIONS or not n_rows(self.random_rows):
            return []
        rows = self.random_rows
        if front := self.front:
            parents = self.space.rows([one.candidate for one in front])
            each = self.generator.integers(len(front), size=EXPECTED_RELATIVES)
            rows = joined(rows, parents, self.space.mutated(selected(parents, each), self.generator))
        self._fit()
        features = self.features(rows)
        mean, deviation = self.model.predict(features)
        sizes, bounds = self.features.log_params(features), self.space.networks.size_bounds()
        within = [np.flatnonzero(sizes <= limit + 1e-9) for limit in np.linspace(*bounds, N_EXPECTED)]
        best = dict.fromkeys(int(these[mean[these].argmax()]) for these in within if len(these))
        specs = {i: self.space.candidate(rows, i).spec for i in best}
        return [
            ExpectedNetwork(cost(spec).params, float(mean[i].clip(0, 1)), float(deviation[i]), spec.to_json())
            for i, spec in specs.items()
        ]

    def _relatives(self, front: Sequence[Observation]) -> tuple[Rows, Floats]:
        """Relatives of networks on the front, and their features; new ones when the front changes, or now and then."""
        sizes = [(one.params, one.accuracy) for one in front]
        self.n_uses += 1
        if sizes != self.relatives_of or self.n_uses > USES:
            self.relatives_of, self.n_uses = sizes, 1
            parents = self.space.rows([one.candidate for one in front])
            each = self.generator.integers(len(front), size=N_RELATIVES)
            rows = self.space.mutated(selected(parents, each), self.generator)
            self.relatives = rows, self.features(rows)
        return self.relatives

    def _fit(self) -> tuple[Floats, Floats]:
        """Fit the model to what is known; the features and predicted accuracies of running trials."""
        known = self._informative()
        if new := [*dict.fromkeys(one.candidate for one in known if one.candidate not in self._features_of)]:
            self._features_of |= zip(new, self.features(self.space.rows(new)), strict=True)
        features = np.array([self._features_of[one.candidate] for one in known])
        accuracies = np.array([one.accuracy for one in known])
        noise = np.array([one.deviation for one in known])
        tune = len(self.observations) >= GROWTH * self.n_fitted
        if tune:
            self.n_fitted = len(self.observations)
        self.model.fit(features, accuracies, noise, tune)
        if not self.pending:
            return features[:0], accuracies[:0]
        running = self.features(self.space.rows([*self.pending.values()]))
        predicted, _ = self.model.predict(running)
        both = np.vstack([features, running]), np.concatenate([accuracies, predicted])
        self.model.fit(*both, np.append(noise, np.zeros(len(running))), tune=False)
        return running, predicted

    def _informative(self) -> list[Observation]:
        """The observations to learn from: all, or those on the front and the most recent."""
        if len(self.observations) <= MOST_OBSERVATIONS:
            return self.observations
        best = self.front[-MOST_OBSERVATIONS // 2 :]
        known = {id(one) for one in best}
        recent = [one for one in self.observations[-MOST_OBSERVATIONS:] if id(one) not in known]
        return [*best, *recent[len(best) - MOST_OBSERVATIONS :]]


def _front(observations: Sequence[Observation]) -> list[Observation]:
    """Those that are no predictions and that no other beats, from the smallest."""
    measured = (one for one in observations if not one.deviation)
    return pareto_front(measured, lambda known: known.params, lambda known: known.accuracy)
