"""What Optuna proposes, as points of our search space."""

from __future__ import annotations

import hashlib
from typing import Any

from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from nas_budget.arch.space import Dimension, SearchSpace


def propose(trial: Trial, space: SearchSpace) -> dict[str, Any]:
    """A value for each coordinate of the space, from the study's sampler."""
    return {dimension.name: _suggest(trial, dimension) for dimension in space.dimensions()}


def _suggest(trial: Trial, dimension: Dimension) -> Any:
    if dimension.choices:
        return trial.suggest_categorical(dimension.name, dimension.choices)
    if dimension.whole:
        return trial.suggest_int(dimension.name, int(dimension.low), int(dimension.high))
    return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def make_sampler(name: str, seed: int, n_trials: int) -> BaseSampler:
    """The sampler of a name, "tpe" or "random".

    Its stream of chance follows from the study's seed and the trials there are when it starts: a
    study that goes on does not repeat the proposals it began with.
    """
    digest = hashlib.sha256(f"{seed} {n_trials}".encode()).digest()
    start = int.from_bytes(digest[:4], "big")
    return RandomSampler(start) if name == "random" else TPESampler(seed=start)
