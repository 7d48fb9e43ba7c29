"""The learning rate and momentum of each step, as plain functions of how far training is."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi

from nas_budget.train.optim.recipe import Recipe

MOMENTUM = 0.9


@dataclass(frozen=True)
class Pace:
    """What an optimiser is told before a step: a factor of the largest learning rate, and the momentum."""

    rate: float
    momentum: float


def pace(recipe: Recipe, step: int, n_steps: int) -> Pace:
    """The pace of step `step`, from 0, of `n_steps`.

    "onecycle" is torch's `OneCycleLR` with its defaults (Smith and Topin 2017, arXiv:1708.07120): up from 1/25 in three
    tenths of the steps, down to 1/250,000, both as a cosine, while momentum goes from 0.95 to 0.85 and back.
    """
    if recipe.schedule == "onecycle":
        return _one_cycle(step, n_steps)
    done = (step + 1) / (n_steps + 1)
    if done < recipe.warmup:
        return Pace(done / recipe.warmup, MOMENTUM)
    left = (1 - done) / (1 - recipe.warmup)
    return Pace(left if recipe.schedule == "linear" else (1 - cos(pi * left)) / 2, MOMENTUM)


def _one_cycle(step: int, n_steps: int) -> Pace:
    top, last = 0.3 * n_steps - 1, n_steps - 1
    if step <= top:
        share = step / top if top else 1.0
        return Pace(_cosine(1 / 25, 1.0, share), _cosine(0.95, 0.85, share))
    share = (step - top) / (last - top)
    return Pace(_cosine(1.0, 1 / 250_000, share), _cosine(0.85, 0.95, share))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + cos(pi * share))
