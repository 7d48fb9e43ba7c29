"""Which network next, when to stop it, where trials live and run.

`search` runs a study from Python and gives a `SearchResult`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_budget.search.api import SearchResult, search

__all__ = ["SearchResult", "search"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nas_budget.search import api  # loaded when first used: it loads torch and Optuna

    return getattr(api, name)
