"""Samplers by name."""

from __future__ import annotations

from nas_budget.search.samplers.bayes import BayesSampler
from nas_budget.search.samplers.candidate import CandidateSpace
from nas_budget.search.samplers.evolution import EvolutionSampler
from nas_budget.search.samplers.optuna_samplers import OptunaSampler
from nas_budget.search.samplers.sampler import CandidateSampler, RandomSampler

SAMPLERS = ("bayes", "tpe", "gp", "nsga2", "cmaes", "evolution", "random")


def make_candidate_sampler(
    name: str, space: CandidateSpace, seed: int, n_startup_trials: int = 0, stream: str = "", aim: str = "front"
) -> CandidateSampler:
    """The sampler of a name; the other arguments are those of `CandidateSampler` and `BayesSampler`."""
    arguments = (space, seed, n_startup_trials, stream)
    if name == "bayes":
        return BayesSampler(*arguments, aim=aim)
    if name == "evolution":
        return EvolutionSampler(*arguments)
    return RandomSampler(*arguments) if name == "random" else OptunaSampler(name, *arguments)
