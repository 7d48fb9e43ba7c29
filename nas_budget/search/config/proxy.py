"""How a search fits into its time: how narrow the proxies are, on how many images they train, and how many trials.

A proxy is a copy of a network with every width multiplied by one factor. It is trained in the network's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from operator import mul
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nas_budget.arch.budget import Budget
from nas_budget.arch.family_spec import FamilySpace
from nas_budget.arch.scale import LEAST_WIDTH, scale_widths, scaled_width
from nas_budget.arch.spec import AnySpec
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.records.formatting import seconds_in_words
from nas_budget.search.samplers.factory import AnySpace, networks_of
from nas_budget.search.samplers.network_space import NetworkSpace
from nas_budget.space.network_rows import n_rows
from nas_budget.train.optim.recipe import Recipe

if TYPE_CHECKING:
    from nas_budget.train.profile.time_model import TimeModel  # with torch, which a scheduler does without

Measure: TypeAlias = "Callable[[Sequence[AnySpec], Recipe, str], TimeModel]"
"""Times steps of some networks, by a recipe in a precision, and fits the time model of the device."""

FACTORS = (1.0, 1 / 2, 1 / 4, 1 / 8)
LADDERS: tuple[tuple[int, ...], ...] = ((5, 2), (4,), ())
"""Trials that are trained again at twice the width of the proxies, and at four times: by how much time there is."""
LEAST_IMAGES, FEW_IMAGES = 1_000, 2_000
"""Images a trial trains on at least, and those that it should have before a wider proxy is worth its time."""
TRIALS = 50
TRAINED = 0.8
"""Share of its epochs that a trial trains on average; the others are saved by pruning."""
DEAR, DEAREST = 0.25, 0.1
"""Share of the random networks, the dearest, whose time is planned for: a search for the best learns to like them.

The second one is for the ladder, which trains the best of those that it likes.
"""
SPARE = 0.8
"""Share of the time that is planned for: a machine is not always as fast as when it is timed, and a search does more
than train.
"""
BASE_SHARE = 0.7
"""Share of the time after which no new network begins, where there is a ladder."""
N_PROPOSED, N_TIMED = 48, 6


@dataclass(frozen=True)
class Asked:
    """What a search is to do in its time.

    Attributes:
        factors: Factors of width to choose from, the largest first.
        images: Fewest and most images that a trial may train on.
        n_validation: Images it is evaluated on.
        trials: Fewest and most trials.
        recipe: How it trains.
        precision: Of the training.
        ladders: Trials of each further level, to choose from, the most first.
        at_once: By factor, how many trainings go on at once, each as fast as one alone on one thread.
        time_s: Seconds that the whole search may take.
        seeds: Trainings of each trial.
        finalists: Runs of finalists, and the share of a trial's epochs that each trains.
        must_end: Whether a time that does not suffice for one trial is refused.
    """

    factors: tuple[float, ...]
    images: tuple[int, int]
    n_validation: int
    trials: tuple[int, int]
    recipe: Recipe
    precision: str
    ladders: tuple[tuple[int, ...], ...]
    at_once: Mapping[float, int]
    time_s: float
    seeds: int = 1
    finalists: tuple[int, float] = (0, 1.0)
    must_end: bool = False


@dataclass(frozen=True)
class Chosen:
    """What suits the time: the factor of width, the ladder, images to train on, trials."""

    factor: float
    ladder: tuple[int, ...]
    images: int
    trials: int


def choose(asked: Asked, spaces: Mapping[float, NetworkSpace], measure: Measure) -> Chosen:
    """The widest proxies that leave time for `FEW_IMAGES` images and the ladder; then as many images as fit.

    Where even the narrowest take too long the ladder is shorter, then there are fewer images, then fewer trials. The
    cheapest of all is chosen where no step could be timed.

    Args:
        asked: What the search is to do.
        spaces: The networks that may be proposed, by factor.
        measure: Gives the time model of the device.

    Raises:
        UsageError: There is no time for a single trial; the message says how long one takes.
    """
    specs = {factor: _proposals(spaces[factor]) for factor in asked.factors}
    narrowest = asked.factors[-1]
    timed = _to_time([scale_widths(spec, narrowest, 1) for spec in specs[narrowest]])
    speed = measure(timed, asked.recipe, asked.precision)
    low, high = asked.images
    few, most_trials = min(max(low, FEW_IMAGES), high), asked.trials[1]

    def total_s(factor: float, ladder: tuple[int, ...], images: int) -> float:
        counts, factors = [TRAINED * most_trials, *ladder], [factor, *levels(factor, ladder)]
        shares = [DEAR] + [DEAREST] * len(ladder)
        each = [_trial_seconds(specs[factor], *way, asked, images, speed) for way in zip(factors, shares, strict=True)]
        n_runs, share = asked.finalists
        seconds = [asked.seeds * s for s in each] + [share * each[-1]]
        return elapsed_s([*counts, n_runs], seconds, asked.at_once[factor])

    time_s = SPARE * asked.time_s
    ways = [(one, possible_ladder(one, asked.ladders[0])) for one in asked.factors]
    ways += [(narrowest, possible_ladder(narrowest, ladder)) for ladder in asked.ladders[1:]]
    factor, ladder = next((way for way in ways if total_s(*way, few) <= time_s), ways[-1])
    predicted = total_s(factor, ladder, few)
    if not predicted:
        return Chosen(narrowest, (), low, most_trials)
    images = min(max(int(few * time_s / predicted) // 100 * 100, low), high)
    predicted = total_s(factor, ladder, images)
    trials = min(most_trials, max(asked.trials[0], int(most_trials * time_s / predicted)))
    one_s = asked.seeds * _trial_seconds(specs[factor], factor, DEAR, asked, images, speed)
    if asked.must_end and (one_s > time_s or not trials):
        enough = max(one_s, predicted / most_trials) / SPARE
        raise UsageError(
            f"search.time: {seconds_in_words(asked.time_s)} is too short: a trial takes {seconds_in_words(one_s)} "
            f"here; give {seconds_in_words(ceil(enough + 1))} or more"
        )
    return Chosen(factor, ladder, images, trials)


def narrowest_width(factor: float) -> int:
    """The narrowest width of a network whose proxy by this factor has `LEAST_WIDTH` channels there."""
    return max(1, ceil((LEAST_WIDTH - 0.5) / factor)) if factor < 1 else 1


def check_proxy(factor: float, space: AnySpace) -> None:
    """Check that no network of a space has a proxy with fewer than `LEAST_WIDTH` channels anywhere.

    Raises:
        UsageError: One has. Or the networks are of a family of the user's own, which has no proxies.
    """
    if factor == 1:
        return
    if isinstance(space, FamilySpace):
        raise UsageError(
            f"search.proxy: {factor:.4g} is not allowed, as networks of {space.family} have no proxies; give none"
        )
    least = min([space.width[0], *filter(None, space.stem_width)])
    if scaled_width(least, factor) < LEAST_WIDTH:
        raise UsageError(
            f"search.proxy: {factor:.4g} makes stages of {least} channels {scaled_width(least, factor)} wide, and "
            f"{LEAST_WIDTH} is the least; give {(LEAST_WIDTH - 0.5) / least + 5e-5:.4f} or more, or networks of at "
            f"least {narrowest_width(factor)} channels (space.width)"
        )


def check_ladder(factor: float, ladder: Sequence[int]) -> None:
    """Check that no level of a ladder is wider than the networks.

    Raises:
        UsageError: One is.
    """
    n = len(possible_ladder(factor, ladder))
    if factor < 1 and n < len(ladder):
        raise UsageError(
            f"search.ladder: {[*ladder]} has {len(ladder)} levels, each twice as wide as the one before, but from "
            f"search.proxy = {factor:.4g} it is {n} to full width; give at most {n}"
        )


def spaces_by_factor(
    factors: Sequence[float], space_of: Callable[[float], AnySpace], budget: Budget
) -> dict[float, NetworkSpace]:
    """The networks that may be proposed, for each factor with which any fits."""
    found: dict[float, NetworkSpace] = {}
    for factor in factors:
        space = space_of(factor)
        try:
            check_proxy(factor, space)
            found[factor] = networks_of(space, budget)
        except (NothingFitsError, UsageError):
            continue
    return found


def elapsed_s(counts: Sequence[float], seconds: Sequence[float], at_once: int) -> float:
    """Seconds until so many trainings of each kind are done, when a kind begins after the one before has ended."""
    return float(sum(map(mul, (ceil(n / at_once) for n in counts), seconds)))


def levels(factor: float, ladder: Sequence[int]) -> list[float]:
    """The factor of each further level of the ladder: twice that of the one before, up to 1."""
    factors = [factor * 2 ** (i + 1) for i in range(len(ladder))]
    return [min(1.0, one) for one in factors if one < 2]


def possible_ladder(factor: float, ladder: Sequence[int]) -> tuple[int, ...]:
    """The levels of a ladder up to full width; none where networks themselves are trained."""
    return tuple(ladder[: len(levels(factor, ladder))]) if factor < 1 else ()


def _proposals(networks: NetworkSpace) -> list[AnySpec]:
    """Random networks that fit, the same every time."""
    rows = networks.random(N_PROPOSED, np.random.default_rng(0))
    return [networks.spec(rows, i) for i in range(n_rows(rows))] or [networks.decode({})]


def _to_time(specs: Sequence[AnySpec]) -> list[AnySpec]:
    """A few of them, spread over what there is."""
    return [*dict.fromkeys(specs)][:: max(1, len(specs) // N_TIMED)][:N_TIMED]


def _trial_seconds(
    specs: Sequence[AnySpec], factor: float, dear: float, asked: Asked, images: int, speed: TimeModel
) -> float:
    """Mean seconds of a trial of the dearest networks, such a share of all, that trains to its end."""
    recipe = replace(asked.recipe, batch_size=min(asked.recipe.batch_size, images))
    seconds = [speed.epoch_seconds(scale_widths(s, factor, 1), recipe, images, asked.n_validation) for s in specs]
    return mean_of_dearest(seconds, dear) * recipe.epochs


def mean_of_dearest(seconds: Sequence[float], share: float) -> float:
    """Mean of the longest times, such a share of all.

    Examples:
        >>> mean_of_dearest([1.0, 5.0, 2.0, 3.0], share=0.5)
        4.0
    """
    return fmean(sorted(seconds)[-ceil(share * len(seconds)) :])
