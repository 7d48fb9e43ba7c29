"""Samplers by name, and the networks that they propose."""

from __future__ import annotations

from nas_budget.arch.budget import Budget
from nas_budget.arch.family_spec import FamilySpace
from nas_budget.search.samplers.bayes import BayesSampler
from nas_budget.search.samplers.candidate import CandidateSpace
from nas_budget.search.samplers.evolution import EvolutionSampler
from nas_budget.search.samplers.network_space import NetworkSpace
from nas_budget.search.samplers.optuna_samplers import OptunaSampler
from nas_budget.search.samplers.resnet_networks import ResNetNetworks
from nas_budget.search.samplers.sampler import CandidateSampler, RandomSampler
from nas_budget.space.dimensions import Dimension, family_dimensions
from nas_budget.space.space import SearchSpace

SAMPLERS = ("bayes", "tpe", "gp", "nsga2", "cmaes", "evolution", "random")


AnySpace = SearchSpace | FamilySpace
"""What a search may propose: residual networks, or those of a family of the user's own."""


def dimensions_of(space: AnySpace) -> tuple[Dimension, ...]:
    """The coordinates of a proposal."""
    return family_dimensions(space) if isinstance(space, FamilySpace) else space.dimensions()


def networks_of(space: AnySpace, budget: Budget) -> NetworkSpace:
    """The networks of a space that keep a budget.

    Raises:
        NothingFitsError: None does.
    """
    if isinstance(space, FamilySpace):
        from nas_budget.search.samplers.family_networks import FamilyNetworks  # it builds networks, so it loads torch

        return FamilyNetworks(space, budget)
    return ResNetNetworks(space, budget)


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
