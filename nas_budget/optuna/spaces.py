"""`feasible_space`: the networks of a space that fit, prepared once."""

from __future__ import annotations

from functools import lru_cache

from nas_budget.arch.budget import Budget
from nas_budget.errors import UsageError
from nas_budget.search.samplers.resnet_networks import ResNetNetworks
from nas_budget.space.space import SearchSpace


def feasible_space(space: SearchSpace, budget: Budget) -> ResNetNetworks:
    """The networks of both; each is made once.

    Raises:
        NothingFitsError: Not even the cheapest network of the space fits.
        UsageError: A space that holds lists.
    """
    try:
        return _feasible_space(space, budget)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        raise UsageError("space: it holds a list; write tuples everywhere, such as blocks=(1, 4)") from None


_feasible_space = lru_cache(maxsize=32)(ResNetNetworks)
