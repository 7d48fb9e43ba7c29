"""Spaces of candidates for the tests of samplers."""

from __future__ import annotations

from nas_budget.arch.budget import Budget
from nas_budget.search.samplers.candidate import CandidateSpace, RecipeSpace
from nas_budget.search.samplers.resnet_networks import ResNetNetworks
from nas_budget.space.space import SearchSpace
from nas_budget.train.optim.recipe import Recipe

BUDGET = Budget(params=30_000)
NUMBERS = SearchSpace(
    stages=(3, 3), blocks=(1, 3), kernels=(3,), pool=(2,), shortcut_kernel=(1,), width=(4, 64), width_step=4
)  # fmt: skip
MIXED = SearchSpace(stages=(2, 3), blocks=(1, 2), width=(4, 64), first_stride=(1, 2))
FIXED = RecipeSpace(Recipe())
RECIPES = RecipeSpace(Recipe(), {"learning_rate": (0.01, 0.4)}, {"batch_size": (32, 64, 128)})


def space_of(networks: SearchSpace = MIXED, recipes: RecipeSpace = RECIPES) -> CandidateSpace:
    """Candidates within the budget."""
    return CandidateSpace(ResNetNetworks(networks, BUDGET), recipes)
