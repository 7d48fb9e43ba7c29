"""Optuna's samplers by name."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from nas_budget.errors import UsageError
from nas_budget.space.dimensions import Dimension

POPULATION = 20


@contextmanager
def optuna_warnings_only() -> Iterator[None]:
    """Optuna logs warnings and worse within it; the caller's level comes back."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def distribution(dimension: Dimension) -> BaseDistribution:
    """The distribution by which Optuna knows a coordinate."""
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def make_sampler(name: str, seed: int, stream: str) -> BaseSampler:
    """The sampler of a name; its random numbers follow from the study's seed and the name of its stream."""
    digest = hashlib.sha256(f"{seed} {stream}".encode()).digest()
    start = int.from_bytes(digest[:4], "big")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "tpe":
            return TPESampler(seed=start, n_startup_trials=1, multivariate=True, n_ei_candidates=24)
        if name == "gp":
            return GPSampler(seed=start, n_startup_trials=1, deterministic_objective=False)
        if name == "nsga2":
            return NSGAIISampler(seed=start, population_size=POPULATION)
        if name == "cmaes":
            return CmaEsSampler(seed=start, n_startup_trials=1, warn_independent_sampling=False)
    return RandomSampler(start)


def check_sampler(name: str, dimensions: Sequence[Dimension]) -> None:
    """Check that the sampler can propose in these coordinates.

    Raises:
        UsageError: CMA-ES in a space with choices, which it does not know.
    """
    choices = [d.name for d in dimensions if d.choices]
    if name == "cmaes" and (choices or len(dimensions) < 2):
        why = f"the space leaves {', '.join(choices)} open" if choices else "the space has one coordinate"
        raise UsageError(
            f"search.sampler: cmaes proposes numbers, two or more, and {why}; fix the choices, or take tpe or gp"
        )
