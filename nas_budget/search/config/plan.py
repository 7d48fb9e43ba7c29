"""What a search is about to do, and how long it will take, before its first trial."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.trials import TrialRecord
from nas_budget.search.config.settings import StudyConfig
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.spec_factory import make_spec, smallest_specs, stride_patterns
from nas_budget.space.width_grid import snap_width
from nas_budget.train.data.split import SplitImages
from nas_budget.train.optim.recipe import Recipe
from nas_budget.train.profile.time_model import TimeModel, calibrate

N_PROPOSED = 50
N_TIMED = 6
N_DRAWN = 300
N_FILLED = 8
PLAN_WEIGHT = 10
"""The plan counts as much as so many finished trials when the size of those to come is judged."""


@dataclass(frozen=True)
class Plan:
    """What to expect.

    Attributes:
        smallest: Parameters of the smallest network the space can propose.
        largest: Parameters of the largest seen among proposals that fill the budget.
        share_fitting: Share of networks drawn at random from the space, widths included, that fit.
        trial_s: Mean seconds of a trial that trains to the end, as predicted for the queue and many proposals.
        total_s: Seconds of all trials left if none is pruned.
        speed: What predicts them.
    """

    smallest: int
    largest: int
    share_fitting: float
    trial_s: float
    total_s: float
    speed: TimeModel


def make_plan(settings: StudyConfig, images: SplitImages, n_left: int) -> Plan:
    """What to expect of `n_left` trials on the device of the images.

    Raises:
        NothingFitsError: No network of the space is inside the budget.
    """
    space = settings.space
    feasible = FeasibleSpace(space, settings.budget)
    chance = random.Random(0)
    drawn = sum(feasible.fits(_drawn(space, chance)) for _ in range(N_DRAWN))
    filled = [feasible.decode({**_point(space, chance), "size": 1.0}) for _ in range(N_FILLED)]
    proposals = propose(settings, N_PROPOSED)
    speed = calibrate(to_time(proposals), images, settings.recipe, settings.precision)
    trial_s = _mean_seconds(proposals, speed, settings, n_left)
    return Plan(
        smallest=min(cost(spec).params for spec in smallest_specs(space) if feasible.fits(spec)),
        largest=max(cost(spec).params for spec in filled),
        share_fitting=drawn / N_DRAWN,
        trial_s=trial_s,
        total_s=trial_s * n_left,
        speed=speed,
    )


def propose(settings: StudyConfig, n: int, seed: int = 0) -> list[ResNetSpec]:
    """Random proposals of a study; all fit."""
    feasible, chance = FeasibleSpace(settings.space, settings.budget), random.Random(seed)
    return [feasible.decode(_point(settings.space, chance)) for _ in range(n)]


def to_time(proposals: Sequence[ResNetSpec]) -> list[ResNetSpec]:
    """Proposals to time, of the cheaper half, which tell as much in less time; in an order that may end early."""
    cheaper = sorted(dict.fromkeys(proposals), key=lambda spec: cost(spec).macs)[: (len(proposals) + 1) // 2]
    spread = cheaper[:: max(1, len(cheaper) // N_TIMED)][:N_TIMED]
    return spread[::2] + spread[1::2]


def _mean_seconds(proposals: Sequence[ResNetSpec], speed: TimeModel, settings: StudyConfig, n_left: int) -> float:
    """Mean of the seconds predicted for the trials left: those of the queue, and others like the proposals."""
    queue = [trial_seconds(speed, spec, settings) for spec in settings.queue[: max(1, n_left)]]
    others = [trial_seconds(speed, spec, settings) for spec in proposals]
    n_others = max(1, n_left) - len(queue)
    return (sum(queue) + n_others * sum(others) / len(others)) / max(1, n_left)


def trial_seconds(speed: TimeModel, spec: ResNetSpec, settings: StudyConfig, recipe: Recipe | None = None) -> float:
    """Seconds a trial of this network is predicted to take to its end, with all its seeds."""
    recipe = recipe or settings.recipe
    epoch = speed.epoch_seconds(spec, recipe, settings.n_train, settings.n_validation)
    return epoch * recipe.epochs * settings.trial_seeds


class TimeLeft:
    """Judges how long a search will go on: by its plan, and more and more by the trials that ended.

    Args:
        settings: Of the study.
        trial_s: Seconds the plan gives a trial; 0 where nothing could be timed.
        speed: What predicted them; None takes all trials for alike.
    """

    def __init__(self, settings: StudyConfig, trial_s: float, speed: TimeModel | None = None) -> None:
        self.settings, self.trial_s, self.speed = settings, trial_s, speed
        self.n_ended = 0
        self.observed = self.trained = self.whole = 0.0

    def add(self, record: TrialRecord) -> None:
        """Take in a trial that ended, unless it failed."""
        if record.state == "failed":
            return
        share = max(1, record.epochs) / record.max_epochs
        whole = self._predicted(record) or record.seconds / share
        self.n_ended += 1
        self.observed += record.seconds
        self.trained += whole * share
        self.whole += whole

    def seconds(self, n_finals: int = 0) -> float:
        """Seconds of the trials and the finalists' runs that are left, when `n_finals` of these have ended.

        Trials to come are taken to be as large as those of the plan and those that ended, as much slower or faster
        than predicted as these, and to be stopped as early.
        """
        s, weight = self.settings, PLAN_WEIGHT if self.trial_s else 0
        expected = (self.trial_s * weight + self.whole) / max(1, weight + self.n_ended)
        expected *= self.observed / self.trained if self.trained else 1.0
        stopped = self.trained / self.whole if self.whole else 1.0
        finals = max(0, s.finalists * s.finalist_seeds - n_finals) * s.finalist_epochs / s.recipe.epochs
        n_left = max(0, s.trials - self.n_ended) * stopped + finals / s.trial_seeds
        return expected * n_left / s.workers

    def _predicted(self, record: TrialRecord) -> float:
        """Seconds of the whole trial as predicted before it."""
        if self.speed is None:
            return self.trial_s
        recipe = replace(self.settings.recipe, batch_size=record.batch_size, optimizer=record.optimizer)
        return trial_seconds(self.speed, ResNetSpec.from_json(record.spec), self.settings, recipe)


def _point(space: SearchSpace, chance: random.Random) -> dict[str, Any]:
    """A random proposal."""
    point: dict[str, Any] = {}
    for d in space.dimensions():
        if d.choices:
            point[d.name] = chance.choice(d.choices)
        elif d.whole:
            point[d.name] = chance.randint(int(d.low), int(d.high))
        else:
            point[d.name] = d.low * (d.high / d.low) ** chance.random() if d.log else chance.uniform(d.low, d.high)
    return point


def _drawn(space: SearchSpace, chance: random.Random) -> ResNetSpec:
    """A random network as other tools draw it: each width on its own, whatever it costs."""
    n = chance.randint(*space.stages)
    return make_spec(
        space,
        [snap_width(space, chance.uniform(*space.width)) for _ in range(n)],
        [chance.randint(*space.blocks) for _ in range(n)],
        [chance.choice(space.kernels) for _ in range(n)],
        chance.choice([*stride_patterns(space, n)]),
        {name: chance.choice(getattr(space, name)) for name in OPTIONS},
    )
