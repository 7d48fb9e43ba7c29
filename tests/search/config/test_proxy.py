from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from nas_budget.arch.budget import Budget
from nas_budget.arch.scale import LEAST_WIDTH, scaled_width
from nas_budget.errors import UsageError
from nas_budget.search.config.proxy import (
    FACTORS,
    FEW_IMAGES,
    LADDERS,
    LEAST_IMAGES,
    Asked,
    Chosen,
    choose,
    levels,
    narrowest_width,
    possible_ladder,
    spaces_by_factor,
)
from nas_budget.space.space import SearchSpace
from nas_budget.train.optim.recipe import RECIPES
from nas_budget.train.profile.time_model import TimeModel

ASKED = Asked(
    factors=FACTORS, images=(LEAST_IMAGES, 45_000), n_validation=1_000, trials=(50, 50), recipe=RECIPES["brief"],
    precision="fp32", ladders=LADDERS, at_once=dict.fromkeys((*FACTORS, 0.3), 2), time_s=900.0,
)  # fmt: skip
SPACES = spaces_by_factor(FACTORS, lambda factor: SearchSpace(width=(narrowest_width(factor), 512)), Budget())


def chosen(time_s: float, **changes: Any) -> Chosen:
    """What is chosen on a usual CPU."""
    return choose(replace(ASKED, time_s=time_s, **changes), SPACES, lambda *_: TimeModel.usual())


def test_more_time_buys_wider_proxies_or_more_images_and_never_less() -> None:
    times = [900.0 * 2**i for i in range(12)]
    found = [chosen(time_s) for time_s in times]
    factors = [one.factor for one in found]
    assert factors == sorted(factors)
    assert factors[0] == 1 / 8
    assert factors[-1] == 1
    for before, after in pairwise(found):
        if (before.factor, before.ladder) == (after.factor, after.ladder):
            assert after.images >= before.images
        assert len(after.ladder) >= len(before.ladder) or after.factor > before.factor
    assert all(one.images >= FEW_IMAGES for one in found[1:])
    assert found[-1] == Chosen(1.0, (), 45_000, 50)


def test_with_little_time_the_ladder_goes_first_then_images_then_trials() -> None:
    flexible = {"trials": (0, 50)}
    short = [chosen(time_s, **flexible) for time_s in (1800.0, 900.0, 300.0, 60.0)]
    assert [len(one.ladder) for one in short] == sorted((len(one.ladder) for one in short), reverse=True)
    assert [one.images for one in short[1:]] == sorted((one.images for one in short[1:]), reverse=True)
    assert short[-1].images == LEAST_IMAGES
    assert short[-1].trials < 50
    assert chosen(60.0).trials == 50  # as many as were asked for by number


def test_a_time_too_short_for_one_trial_says_how_long_one_takes() -> None:
    with pytest.raises(UsageError, match=r"time: 1 s is too short: a trial takes \d+ s here; give \d+ s or more"):
        chosen(1.0, trials=(0, 50), must_end=True)
    with pytest.raises(UsageError, match="too short"):
        chosen(1.0, must_end=True)  # however many trials were asked for
    assert chosen(1.0).trials == 50  # no time was asked for


def test_the_time_that_is_advised_suffices() -> None:
    with pytest.raises(UsageError) as refused:
        chosen(1.0, trials=(0, 50), must_end=True)
    advised = float(str(refused.value).split("give ")[1].split(" s")[0])
    assert chosen(advised, trials=(0, 50), must_end=True).trials >= 1


@pytest.mark.parametrize("more", [{"seeds": 3}, {"finalists": (9, 4.0)}, {"at_once": dict.fromkeys(FACTORS, 1)}])
def test_more_work_leaves_fewer_images(more: dict[str, Any]) -> None:
    fixed = {"factors": (1 / 4,), "ladders": ((2,),), "images": (100, 45_000)}
    assert chosen(1800.0, **fixed, **more).images < chosen(1800.0, **fixed).images


def test_where_nothing_could_be_timed_the_cheapest_is_chosen() -> None:
    nothing = replace(TimeModel.usual(), **dict.fromkeys(vars(TimeModel.usual()), 0.0))
    assert choose(ASKED, SPACES, lambda *_: nothing) == Chosen(1 / 8, (), LEAST_IMAGES, 50)


def test_a_ladder_ends_at_full_width() -> None:
    assert possible_ladder(1 / 8, (5, 2)) == (5, 2)
    assert possible_ladder(1 / 2, (5, 2)) == (5,)
    assert possible_ladder(1.0, (5, 2)) == ()
    assert chosen(3600.0 * 300, factors=(1 / 2,)).ladder == (5,)


def test_a_fixed_factor_and_images_are_kept() -> None:
    found = chosen(900.0, factors=(1 / 4,), images=(3_000, 3_000))
    assert (found.factor, found.images) == (1 / 4, 3_000)


@pytest.mark.parametrize("factor", FACTORS[1:])
def test_the_narrowest_width_has_a_proxy_and_the_next_narrower_has_none(factor: float) -> None:
    width = narrowest_width(factor)
    assert scaled_width(width, factor) >= LEAST_WIDTH > scaled_width(width - 1, factor)


def test_levels_double_up_to_full_width() -> None:
    assert levels(1 / 8, (5, 2)) == [1 / 4, 1 / 2]
    assert levels(1 / 2, (5, 2)) == [1.0]
    assert levels(0.75, (5, 2)) == [1.0]


def test_a_budget_in_which_only_narrow_networks_fit_is_searched_without_proxies() -> None:
    tiny = spaces_by_factor(FACTORS, lambda factor: SearchSpace(width=(narrowest_width(factor), 512)), Budget(3_000))
    assert [*tiny] == [1.0]
