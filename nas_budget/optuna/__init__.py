"""The budget in a study of your own: for those who have an objective of Optuna's already.

`suggest_spec` gives a network that always fits, with any sampler, and `spec_of` reads it back from a trial. `params_of`
makes a network one to begin with. `BudgetSampler` is the model of a search, as a sampler for your study.
`two_objective_study` makes accuracy and parameters two objectives, for Optuna's plots.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_budget.optuna.sampler import BudgetSampler
    from nas_budget.optuna.suggest import params_of, spec_of, suggest_spec
    from nas_budget.optuna.two_objectives import two_objective_study

_MODULES = {
    "BudgetSampler": "sampler",
    "params_of": "suggest",
    "spec_of": "suggest",
    "suggest_spec": "suggest",
    "two_objective_study": "two_objectives",
}
__all__ = ["BudgetSampler", "params_of", "spec_of", "suggest_spec", "two_objective_study"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
