"""`Plan`: what a search will do and how long it will take; `TimeLeft`: the same while it runs."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import exp
from statistics import fmean
from typing import Any

from nas_budget.arch.cost import cost
from nas_budget.arch.scale import scale_widths
from nas_budget.arch.spec import AnySpec, spec_from_json
from nas_budget.records.trials import TrialRecord
from nas_budget.search.config.proxy import DEAR, DEAREST, Measure, elapsed_s, levels, mean_of_dearest
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.network_space import NetworkSpace
from nas_budget.train.data.split import SplitImages
from nas_budget.train.optim.recipe import Recipe
from nas_budget.train.profile.step_memory import room_for_steps, step_bytes_of_each
from nas_budget.train.profile.time_model import TimeModel, calibrate

N_PROPOSED = 50
N_TIMED = 6
N_DRAWN = 300
N_FILLED = 8
PLAN_WEIGHT = 10
"""The plan counts as much as so many finished trials in the expected time of those to come."""


@dataclass(frozen=True)
class Plan:
    """What a search is expected to do.

    `make_plan` makes it: it times a few training steps of networks that the study may propose, and fits a time model.
    `TimeLeft(config, plan.trial_s, plan.speed)` goes on from it while the search runs.

    Attributes:
        smallest: Parameters of the smallest network that may be proposed.
        largest: Parameters of the largest network among proposals that fill the budget.
        share_fitting: Share of networks drawn at random from the space, widths included, that fit.
        trial_s: Mean seconds of a trial that trains to the end, predicted for the queue and many proposals; 0 where
            nothing could be timed.
        ladder_s: The same for a trial of each further level of the ladder.
        total_s: Seconds until the trials left, if none is pruned, the ladder and the finalists are done.
        proxy_params: Mean parameters of what trials train.
        step_bytes: The most bytes that a training step takes, of many proposals at the widest that is trained.
        room: Bytes that each worker has for it.
        share_too_large: Share of the proposals whose steps take more; their batches are computed in micro-batches.
        speed: The time model that predicts them.

    Examples:
        >>> import torch
        >>> from nas_budget.search.config.resolve import resolve
        >>> from nas_budget.search.config.study_file import read_study_file
        >>> from nas_budget.train.data.open import open_dataset
        >>> from nas_budget.train.data.split import split_images
        >>> cpu, dataset = torch.device("cpu"), open_dataset("shapes")
        >>> asked = {"budget.params": "20k", "data.images": 100, "data.validation_images": 50}
        >>> config = resolve("tiny", read_study_file(None, asked), cpu, dataset)
        >>> plan = make_plan(config, split_images(dataset, cpu, 100, 50), n_left=10)
        >>> plan.smallest < plan.largest <= 20_000
        True
        >>> plan.total_s >= 10 / config.workers * plan.trial_s
        True
    """

    smallest: int
    largest: int
    share_fitting: float
    trial_s: float
    ladder_s: tuple[float, ...]
    total_s: float
    proxy_params: int
    step_bytes: int
    room: int
    share_too_large: float
    speed: TimeModel


def make_plan(
    settings: StudyConfig, images: SplitImages, n_left: int, n_wider: Sequence[int] = (), n_runs: int = 0,
    measure: Measure | None = None, room: int | None = None,
) -> Plan:  # fmt: skip
    """The plan of what a study lacks, timed on the device of the images, unless `measure` times elsewhere.

    Args:
        settings: Of the study.
        images: To train on.
        n_left: Trials that it lacks.
        n_wider: Trials that each further level of the ladder has.
        n_runs: Finalists' runs that it has.
        measure: Times networks on a GPU that this process does not use.
        room: Bytes that a worker has for a step there.

    Raises:
        NothingFitsError: No network of the space is inside the budget.
    """
    networks, rng = settings.networks(), random.Random(0)
    share_fitting = networks.share_fitting(N_DRAWN, rng)
    filled = [networks.decode_largest(_point(networks, rng)) for _ in range(N_FILLED)]
    proposals = propose(settings, N_PROPOSED)
    proxies = [scale_widths(spec, settings.proxy) for spec in proposals]
    timed = to_time(proxies)
    if measure:
        speed = measure(timed, settings.recipe, settings.precision)
    else:
        speed = calibrate(timed, images, settings.recipe, settings.precision, settings.graph)
    trial_s = _mean_seconds(proposals, speed, settings, n_left)
    ladder_s = tuple(
        _typical(settings, [trial_seconds(speed, spec, settings, proxy=factor) for spec in proposals], DEAREST)
        for factor in levels(settings.proxy, settings.ladder)
    )
    wider = [max(0, asked - done) for asked, done in zip_longest(settings.ladder, n_wider, fillvalue=0)]
    runs_left = max(0, settings.finalists * settings.finalist_seeds - n_runs)
    run_s = finalist_share(settings) * (trial_s, *ladder_s)[-1]
    widest = [settings.proxy, *levels(settings.proxy, settings.ladder)][-1]
    trained = [scale_widths(spec, widest) for spec in proposals]
    step_bytes = step_bytes_of_each(trained, settings.recipe, settings.precision)
    room = room_for_steps(images.mean.device, settings.workers) if room is None else room
    return Plan(
        smallest=round(exp(networks.size_bounds()[0])),
        largest=max(cost(spec).params for spec in filled),
        share_fitting=share_fitting,
        trial_s=trial_s,
        ladder_s=ladder_s,
        total_s=elapsed_s([n_left, *wider, runs_left], [trial_s, *ladder_s, run_s], settings.workers),
        proxy_params=round(fmean(cost(proxy).params for proxy in proxies)),
        step_bytes=max(step_bytes),
        room=room,
        share_too_large=fmean(n_bytes > room for n_bytes in step_bytes),
        speed=speed,
    )


def finalist_share(settings: StudyConfig) -> float:
    """What a finalist's run takes of a trial's time at the same width."""
    return settings.finalist_epochs / settings.recipe.epochs / settings.trial_seeds


def propose(settings: StudyConfig, n: int, seed: int = 0) -> list[AnySpec]:
    """Random proposals of a study; all fit."""
    networks, rng = settings.networks(), random.Random(seed)
    return [networks.decode(_point(networks, rng)) for _ in range(n)]


def to_time(proposals: Sequence[AnySpec]) -> list[AnySpec]:
    """Proposals to time: a few, spread over all by MACs, in an order that may be cut short."""
    ordered = sorted(dict.fromkeys(proposals), key=lambda spec: cost(spec).macs)
    spread = ordered[:: max(1, len(ordered) // N_TIMED)][:N_TIMED]
    return spread[::2] + spread[1::2]


def _mean_seconds(proposals: Sequence[AnySpec], speed: TimeModel, settings: StudyConfig, n_left: int) -> float:
    """Mean of the seconds predicted for the trials left: those of the queue, and others like the proposals."""
    queue = [trial_seconds(speed, spec, settings) for spec in settings.queue[: max(1, n_left)]]
    other_s = _typical(settings, [trial_seconds(speed, spec, settings) for spec in proposals])
    n_others = max(1, n_left) - len(queue)
    return (sum(queue) + n_others * other_s) / max(1, n_left)


def _typical(settings: StudyConfig, seconds: Sequence[float], dear: float = DEAR) -> float:
    """Mean seconds of the trials to expect: a search for the best network learns to like dear ones."""
    return mean_of_dearest(seconds, dear if settings.aim == "best" else 1)


def trial_seconds(
    speed: TimeModel, spec: AnySpec, settings: StudyConfig, recipe: Recipe | None = None, proxy: float | None = None
) -> float:
    """Seconds a trial of this network is predicted to take to its end, with all its seeds, by its proxy."""
    recipe = recipe or settings.recipe
    trained = scale_widths(spec, proxy or settings.proxy)
    epoch = speed.epoch_seconds(trained, recipe, settings.n_train, settings.n_validation)
    return epoch * recipe.epochs * settings.trial_seeds


class TimeLeft:
    """Predicts how long a search will go on: by its plan at first, and more and more by the trials that ended.

    Args:
        settings: Settings of the study.
        trial_s: Seconds of a trial by the plan (`Plan.trial_s`); 0 where nothing could be timed.
        speed: Time model of the plan (`Plan.speed`); None takes all trials as equally long.
        ladder_s: Seconds of a trial of each level of the ladder by the plan (`Plan.ladder_s`).
    """

    def __init__(
        self, settings: StudyConfig, trial_s: float, speed: TimeModel | None = None, ladder_s: Sequence[float] = ()
    ) -> None:
        self.settings, self.trial_s, self.speed = settings, trial_s, speed
        self.ladder_s = ladder_s
        self.wider = [*settings.ladder]
        self.n_ended = 0
        self.observed = self.trained = self.whole = 0.0

    def add(self, record: TrialRecord) -> None:
        """Count a trial that ended, unless it failed."""
        if record.state == "failed":
            return
        if record.of is not None:
            level = bisect(levels(self.settings.proxy, self.settings.ladder), record.proxy + 1e-6) - 1
            if level >= 0:
                self.wider[level] = max(0, self.wider[level] - 1)
            return
        share = max(1, record.epochs) / record.max_epochs
        whole = self._predicted(record) or record.seconds / share
        self.n_ended += 1
        self.observed += record.seconds
        self.trained += whole * share
        self.whole += whole

    def seconds(self, n_finalist_runs: int = 0) -> float:
        """Seconds of the trials and the finalists' runs that are left, when `n_finalist_runs` of these have ended.

        Trials to come are expected to be as large as those of the plan and those that ended, as much slower or faster
        than predicted as the latter, and to be pruned as early.
        """
        s, weight = self.settings, PLAN_WEIGHT if self.trial_s else 0
        expected = (self.trial_s * weight + self.whole) / max(1, weight + self.n_ended)
        slowdown = self.observed / self.trained if self.trained else 1.0
        expected *= slowdown
        pruned = self.trained / self.whole if self.whole else 1.0
        n_runs = max(0, s.finalists * s.finalist_seeds - n_finalist_runs)
        ladder_s = [slowdown * one for one in self.ladder_s]
        run_s = finalist_share(s) * (expected, *ladder_s)[-1]
        base_s = expected * max(0, s.trials - self.n_ended) * pruned / s.workers
        return base_s + elapsed_s([*self.wider, n_runs], [*(ladder_s or [0.0] * len(self.wider)), run_s], s.workers)

    def _predicted(self, record: TrialRecord) -> float:
        """Seconds of the whole trial as predicted before it."""
        if self.speed is None:
            return self.trial_s
        recipe = replace(self.settings.recipe, batch_size=record.batch_size, optimizer=record.optimizer)
        return trial_seconds(self.speed, spec_from_json(record.spec), self.settings, recipe)


def _point(networks: NetworkSpace, rng: random.Random) -> dict[str, Any]:
    """A random proposal."""
    point: dict[str, Any] = {}
    for d in networks.dimensions():
        if d.choices:
            point[d.name] = rng.choice(d.choices)
        elif d.whole:
            point[d.name] = rng.randint(int(d.low), int(d.high))
        else:
            point[d.name] = d.low * (d.high / d.low) ** rng.random() if d.log else rng.uniform(d.low, d.high)
    return point
