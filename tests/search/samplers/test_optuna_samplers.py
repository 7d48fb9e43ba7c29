import pytest

from nas_budget.errors import UsageError
from nas_budget.search.samplers.optuna_samplers import check_sampler
from nas_budget.space.dimensions import Dimension
from tests.search.samplers.spaces import space_of


def test_cmaes_says_where_it_does_not_fit() -> None:
    with pytest.raises(UsageError, match="cmaes proposes numbers.*kernel_1.*take bayes or tpe"):
        check_sampler("cmaes", space_of().dimensions())
    with pytest.raises(UsageError, match="one coordinate"):
        check_sampler("cmaes", [Dimension("size", 0, 1)])
    check_sampler("cmaes", [Dimension("size", 0, 1), Dimension("growth_2", 0.5, 3, log=True)])
