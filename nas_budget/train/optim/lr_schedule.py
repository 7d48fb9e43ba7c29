"""Learning-rate schedules: learning rate and momentum as functions of the step."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi

from nas_budget.train.optim.recipe import Recipe

MOMENTUM = 0.9


@dataclass(frozen=True)
class ScheduleStep:
    """What an optimizer uses in a step: the learning rate as a factor of the largest one, and the momentum."""

    lr_factor: float
    momentum: float


def lr_schedule(recipe: Recipe, step: int, n_steps: int) -> ScheduleStep:
    """Learning-rate factor and momentum of step `step`, from 0, of `n_steps`.

    "onecycle" is torch's `OneCycleLR` with its defaults (Smith and Topin 2017, arXiv:1708.07120): up from 1/25 in three
    tenths of the steps, down to 1/250,000, both as a cosine, while momentum goes from 0.95 to 0.85 and back.
    "linear" and "cosine" rise linearly for the share `recipe.warmup` of the steps and then fall to about 0.

    Examples:
        >>> recipe = Recipe(schedule="linear", warmup=0.5)
        >>> [lr_schedule(recipe, step, n_steps=3).lr_factor for step in range(3)]
        [0.5, 1.0, 0.5]
    """
    if recipe.schedule == "onecycle":
        return _one_cycle(step, n_steps)
    done = (step + 1) / (n_steps + 1)
    if done < recipe.warmup:
        return ScheduleStep(done / recipe.warmup, MOMENTUM)
    left = (1 - done) / (1 - recipe.warmup)
    return ScheduleStep(left if recipe.schedule == "linear" else (1 - cos(pi * left)) / 2, MOMENTUM)


def _one_cycle(step: int, n_steps: int) -> ScheduleStep:
    top, last = 0.3 * n_steps - 1, n_steps - 1
    if step <= top:
        share = step / top if top else 1.0
        return ScheduleStep(_cosine(1 / 25, 1.0, share), _cosine(0.95, 0.85, share))
    share = (step - top) / (last - top)
    return ScheduleStep(_cosine(1.0, 1 / 250_000, share), _cosine(0.85, 0.95, share))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + cos(pi * share))
