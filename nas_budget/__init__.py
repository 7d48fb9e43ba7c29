"""Find the most accurate neural network under a hard budget.

    >>> from nas_budget import Budget, ResNetSpec, cost
    >>> spec = ResNetSpec(channels=(32, 64, 96, 128, 185))
    >>> cost(spec).params
    4907445
    >>> Budget(params=5_000_000).check(spec).fits
    True

Names are loaded when first used, so that counting does not wait for torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_budget.arch.budget import Budget, Margin, Verdict, parse_quantity
    from nas_budget.arch.cost import Cost, cost
    from nas_budget.arch.cost_table import cost_table, fits_table
    from nas_budget.arch.explain import Explanation, explain
    from nas_budget.arch.fit import Fitted, fit
    from nas_budget.arch.layers import Layer, layers
    from nas_budget.arch.spec import ResNetSpec
    from nas_budget.errors import NasBudgetError
    from nas_budget.search.pruners.front import FrontPruner
    from nas_budget.space.explore import Exploration, explore
    from nas_budget.space.feasible import FeasibleSpace
    from nas_budget.space.space import SearchSpace
    from nas_budget.train.engine.model import build

# Idle OpenMP threads that spin starve every other process of the machine; read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "Budget": "arch.budget",
    "Cost": "arch.cost",
    "Explanation": "arch.explain",
    "Exploration": "space.explore",
    "FeasibleSpace": "space.feasible",
    "Fitted": "arch.fit",
    "FrontPruner": "search.pruners.front",
    "Layer": "arch.layers",
    "Margin": "arch.budget",
    "NasBudgetError": "errors",
    "ResNetSpec": "arch.spec",
    "SearchSpace": "space.space",
    "Verdict": "arch.budget",
    "build": "train.engine.model",
    "cost": "arch.cost",
    "cost_table": "arch.cost_table",
    "explain": "arch.explain",
    "explore": "space.explore",
    "fit": "arch.fit",
    "fits_table": "arch.cost_table",
    "layers": "arch.layers",
    "parse_quantity": "arch.budget",
}

__all__ = [
    "Budget",
    "Cost",
    "Explanation",
    "Exploration",
    "FeasibleSpace",
    "Fitted",
    "FrontPruner",
    "Layer",
    "Margin",
    "NasBudgetError",
    "ResNetSpec",
    "SearchSpace",
    "Verdict",
    "build",
    "cost",
    "cost_table",
    "explain",
    "explore",
    "fit",
    "fits_table",
    "layers",
    "parse_quantity",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"nas_budget.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'nas_budget' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
