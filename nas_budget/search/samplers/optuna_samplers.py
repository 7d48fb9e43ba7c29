"""`OptunaSampler`: Optuna's samplers by name, learning from every trial."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.errors import UsageError
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.sampler import CandidateSampler, Observation, Proposal
from nas_budget.space.dimensions import Dimension

POPULATION = 20


class OptunaSampler(CandidateSampler):
    """Asks a sampler of Optuna.

    It works on a study of its own in memory, not on the stored one. There it also learns from pruned trials, by their
    predicted accuracy: GP and NSGA-II would otherwise ignore them. Running trials of other workers are in it as
    running.

    Args:
        name: "tpe", "gp", "nsga2" or "cmaes".
        arguments: As `CandidateSampler` takes them.
    """

    def __init__(self, name: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        with optuna_warnings_only():
            sampler = make_sampler(name, int(self.generator.integers(2**32)))
            self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.places: dict[int, int] = {}

    def choose(self, seen: Collection[Candidate]) -> Proposal:
        """The point that the sampler suggests."""
        del seen
        if not self.dimensions:
            return self.propose_point({})
        asked = self.study.ask(self.distributions)
        return self.propose_point(asked.params, asked.number)

    def begin(self, number: int, proposal: Proposal) -> None:
        """Note the trial, in the study too."""
        super().begin(number, proposal)
        place = proposal.place
        if place is None:
            place = len(self.study.get_trials(deepcopy=False))
            running = create_trial(
                state=TrialState.RUNNING, params=dict(proposal.point), distributions=self.distributions
            )
            running.datetime_start = datetime.now(UTC)
            self.study.add_trial(running)
        self.places[number] = place

    def end(self, trial: FrozenTrial, candidate: Candidate) -> Observation | None:
        """Learn from the trial, in the study too."""
        found = super().end(trial, candidate)
        place = self.places.pop(trial.number)
        if found is None:
            self.study.tell(place, state=TrialState.FAIL)
        else:
            self.study.tell(place, found.accuracy)
        return found


@contextmanager
def optuna_warnings_only() -> Iterator[None]:
    """Optuna logs warnings and worse within it; the caller's level comes back."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Optuna's sampler of a name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "tpe":
            return TPESampler(seed=seed, n_startup_trials=1, multivariate=True, n_ei_candidates=24)
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=False)
        if name == "nsga2":
            return NSGAIISampler(seed=seed, population_size=POPULATION)
        return CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)


def check_sampler(name: str, dimensions: Sequence[Dimension]) -> None:
    """Check that the sampler can propose in these coordinates.

    Raises:
        UsageError: CMA-ES in a space with choices, which it does not know.
    """
    choices = [d.name for d in dimensions if d.choices]
    if name == "cmaes" and (choices or len(dimensions) < 2):
        why = f"the space leaves {', '.join(choices)} open" if choices else "the space has one coordinate"
        raise UsageError(
            f"search.sampler: cmaes proposes numbers, two or more, and {why}; fix the choices, or take bayes or tpe"
        )
