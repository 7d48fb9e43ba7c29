"""`CandidateSampler`: proposes the startup trials, then what Optuna's samplers or evolution suggest."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.arch.cost import cost
from nas_budget.records.statistics import pareto_front
from nas_budget.search.pruners.front import losses_of
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace
from nas_budget.search.samplers.evolution import Observation, mutated
from nas_budget.search.samplers.learning_curve import LearningCurve
from nas_budget.search.samplers.optuna_samplers import distribution, make_sampler, optuna_warnings_only


@dataclass(frozen=True)
class Proposal:
    """A candidate to try next.

    Attributes:
        candidate: One that no trial had before.
        point: Its coordinates.
        place: Number of the proposal in the sampler's own study; None where the sampler was not asked.
    """

    candidate: Candidate
    point: Mapping[str, Any]
    place: int | None = None


class CandidateSampler:
    """Proposes candidates that fit and that no trial had before.

    The startup points come first. Then Optuna's sampler is asked, or, with "evolution", a candidate on the Pareto front
    of all trials is changed in a coordinate or two. A candidate that a trial already had is replaced by the nearest one
    that none had.

    Optuna's sampler works on a study of its own in memory, not on the stored one. There it also learns from pruned
    trials, by the final accuracy that `LearningCurve` predicts: GP and NSGA-II would otherwise ignore them. A trial
    that diverged counts with the accuracy that it had; a failed trial teaches nothing.

    The same arguments and the same trials give the same proposals.

    Args:
        space: Candidates that may be proposed.
        sampler: "tpe", "gp", "nsga2", "cmaes", "evolution" or "random".
        seed: Seed of the study.
        startup_points: Points to propose before the sampler is asked.
        stream: Name of a stream of random numbers. Each worker, and each start of a study, has its own, so that two do
            not propose the same.

    Examples:
        >>> from nas_budget import Budget, FeasibleSpace, SearchSpace
        >>> from nas_budget.search.samplers.candidate import RecipeSpace
        >>> from nas_budget.train.optim.recipe import Recipe
        >>> networks = FeasibleSpace(SearchSpace(stages=(2, 2), width=(4, 64)), Budget(params=20_000))
        >>> sampler = CandidateSampler(CandidateSpace(networks, RecipeSpace(Recipe())), "random", seed=0)
        >>> first = sampler.propose(seen=set())
        >>> networks.fits(first.candidate.spec)
        True
        >>> sampler.begin(0, first)
        >>> sampler.propose(seen={first.candidate}).candidate == first.candidate
        False
    """

    def __init__(
        self,
        space: CandidateSpace,
        sampler: str,
        seed: int,
        startup_points: Sequence[Mapping[str, Any]] = (),
        stream: str = "",
    ) -> None:
        self.space = space
        self.name = sampler
        self.dimensions = space.dimensions()
        self.distributions = {d.name: distribution(d) for d in self.dimensions}
        self.startup_points = startup_points
        self.rng = random.Random(f"{seed} {stream}")
        with optuna_warnings_only():
            self.study = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, seed, stream))
        self.learning_curve = LearningCurve()
        self.places: dict[int, int] = {}
        self.observations: list[Observation] = []

    def propose(self, seen: Collection[Candidate]) -> Proposal | None:
        """The candidate to try next; None when all that fit have been tried.

        Args:
            seen: Candidates of all trials so far.
        """
        point, place = self._wish()
        wished = self.space.decode(point)
        found = self.space.unseen(wished, seen)
        if found is None:
            return None
        return Proposal(found, point if found == wished else self.coordinates(found), place)

    def _wish(self) -> tuple[Mapping[str, Any], int | None]:
        """A point of the space, and its place in the sampler's study if it comes from there."""
        n_begun = len(self.places)
        if n_begun < len(self.startup_points):
            return self.startup_points[n_begun], None
        if not self.dimensions:
            return {}, None
        if self.name == "evolution" and self.observations:
            front = pareto_front(self.observations, lambda known: known.params, lambda known: known.accuracy)
            parent = self.coordinates(self.rng.choice(front).candidate)
            return mutated(parent, self.dimensions, self.rng), None
        asked = self.study.ask(self.distributions)
        return asked.params, asked.number

    def begin(self, number: int, proposal: Proposal) -> None:
        """Note that the trial of this number has started with a proposal."""
        place = proposal.place
        if place is None:
            place = len(self.study.get_trials(deepcopy=False))
            running = create_trial(
                state=TrialState.RUNNING, params=dict(proposal.point), distributions=self.distributions
            )
            running.datetime_start = datetime.now(UTC)
            self.study.add_trial(running)
        self.places[number] = place

    def end(self, trial: FrozenTrial, candidate: Candidate) -> None:
        """Learn from a trial that has ended."""
        place = self.places[trial.number]
        curve = [value for _, value in sorted(trial.intermediate_values.items())]
        if trial.state == TrialState.FAIL or not curve:
            self.study.tell(place, state=TrialState.FAIL)
            return
        accuracy, losses = curve[-1], losses_of(trial)
        if trial.state == TrialState.COMPLETE:
            self.learning_curve.add(losses, accuracy)
        elif not trial.user_attrs.get("diverged"):
            accuracy = self.learning_curve.predict(losses, accuracy)
        self.observations.append(Observation(candidate, cost(candidate.spec).params, accuracy))
        self.study.tell(place, accuracy)

    def coordinates(self, candidate: Candidate) -> dict[str, Any]:
        """A value for each coordinate: those of the candidate, and the first there is where it has none."""
        known = self.space.encode(candidate)
        return {d.name: known.get(d.name, d.choices[0] if d.choices else d.low) for d in self.dimensions}
