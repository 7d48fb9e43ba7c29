"""What to try next: well-spread candidates first, then what Optuna's samplers propose."""

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
from nas_budget.search.samplers.evolution import Learned, mutated
from nas_budget.search.samplers.learning_curve import Forecast
from nas_budget.search.samplers.optuna_samplers import distribution, make_sampler, optuna_warnings_only


@dataclass(frozen=True)
class Proposal:
    """What is proposed.

    Attributes:
        candidate: To be tried; no trial had it before.
        point: Its coordinates.
        place: Of the proposal in the sampler's study; None where the sampler was not asked.
    """

    candidate: Candidate
    point: Mapping[str, Any]
    place: int | None = None


class Proposer:
    """Proposes candidates no trial had before.

    Optuna's sampler works on a study of its own in memory, not on the one that is stored. There it
    learns from trials that were stopped early too, by the accuracy their training loss lets expect;
    samplers such as GP and NSGA-II would otherwise ignore them.

    Args:
        space: What may be proposed.
        sampler: Its name, as in a study file.
        seed: Of the study.
        n_startup_trials: Points to propose before the sampler is asked.
        stream: Names its stream of chance; another for each worker, and when a study goes on, so that none repeats.
    """

    def __init__(
        self,
        space: CandidateSpace,
        sampler: str,
        seed: int,
        n_startup_trials: Sequence[Mapping[str, Any]] = (),
        stream: str = "",
    ) -> None:
        self.space = space
        self.name = sampler
        self.dimensions = space.dimensions()
        self.distributions = {d.name: distribution(d) for d in self.dimensions}
        self.n_startup_trials = n_startup_trials
        self.chance = random.Random(f"{seed} {stream}")
        with optuna_warnings_only():
            self.study = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, seed, stream))
        self.forecast = Forecast()
        self.places: dict[int, int] = {}
        self.learned: list[Learned] = []

    def propose(self, seen: Collection[Candidate]) -> Proposal | None:
        """What to try next; None when none is left."""
        point, place = self._wish()
        wished = self.space.decode(point)
        found = self.space.unseen(wished, seen)
        if found is None:
            return None
        return Proposal(found, point if found == wished else self.coordinates(found), place)

    def _wish(self) -> tuple[Mapping[str, Any], int | None]:
        """A point of the space, and its place in the sampler's study if it comes from there."""
        n_begun = len(self.places)
        if n_begun < len(self.n_startup_trials):
            return self.n_startup_trials[n_begun], None
        if not self.dimensions:
            return {}, None
        if self.name == "evolution" and self.learned:
            front = pareto_front(self.learned, lambda known: known.params, lambda known: known.accuracy)
            parent = self.coordinates(self.chance.choice(front).candidate)
            return mutated(parent, self.dimensions, self.chance), None
        asked = self.study.ask(self.distributions)
        return asked.params, asked.number

    def begin(self, number: int, proposal: Proposal) -> None:
        """A trial of this number has begun."""
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
        """A trial that had begun has ended: learn from it."""
        place = self.places[trial.number]
        curve = [value for _, value in sorted(trial.intermediate_values.items())]
        if trial.state == TrialState.FAIL or not curve:
            self.study.tell(place, state=TrialState.FAIL)
            return
        accuracy, losses = curve[-1], losses_of(trial)
        if trial.state == TrialState.COMPLETE:
            self.forecast.learn(losses, accuracy)
        elif not trial.user_attrs.get("diverged"):
            accuracy = self.forecast.final(losses, accuracy)
        self.learned.append(Learned(candidate, cost(candidate.spec).params, accuracy))
        self.study.tell(place, accuracy)

    def coordinates(self, candidate: Candidate) -> dict[str, Any]:
        """A value for each coordinate: those of the candidate, and the first there is where it has none."""
        known = self.space.encode(candidate)
        return {d.name: known.get(d.name, d.choices[0] if d.choices else d.low) for d in self.dimensions}
