"""What a search is about to do, and how long it will take, before its first trial."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from nas_budget.arch.cost import cost
from nas_budget.arch.feasible import FeasibleSpace
from nas_budget.arch.space import OPTIONS, SearchSpace
from nas_budget.arch.spec import ResNetSpec
from nas_budget.search.settings import Settings
from nas_budget.train.images import LabelledImages, SplitImages
from nas_budget.train.loop import train
from nas_budget.train.network import build

N_TIMED = 4
TIMING_S = 4.0
N_DRAWN = 300
N_FILLED = 8


@dataclass(frozen=True)
class Plan:
    """What to expect.

    Attributes:
        smallest: Parameters of the smallest network the space can propose.
        largest: Parameters of the largest seen among proposals that fill the budget.
        share_fitting: Share of networks drawn at random from the space, widths included, that fit.
        trial_s: Seconds of a trial that trains to the end, from timed steps.
        total_s: Seconds of all trials left if none is pruned.
    """

    smallest: int
    largest: int
    share_fitting: float
    trial_s: float
    total_s: float


def make_plan(settings: Settings, images: SplitImages, n_left: int) -> Plan:
    """What to expect of `n_left` trials on the device of the images.

    Raises:
        NothingFitsError: No network of the space is inside the budget.
    """
    space = settings.space
    feasible = FeasibleSpace(space, settings.budget)
    chance = random.Random(0)
    drawn = sum(feasible.fits(_drawn(space, chance)) for _ in range(N_DRAWN))
    filled = [feasible.decode({**_point(space, chance), "size": 1.0}) for _ in range(N_FILLED)]
    proposals = (feasible.decode(_point(space, chance)) for _ in range(N_TIMED))
    trial_s = _mean_seconds([*settings.queue[:n_left], *proposals][: max(1, n_left)], settings, images)
    return Plan(
        smallest=min(cost(spec).params for spec in space.smallest() if feasible.fits(spec)),
        largest=max(cost(spec).params for spec in filled),
        share_fitting=drawn / N_DRAWN,
        trial_s=trial_s,
        total_s=trial_s * n_left,
    )


def _mean_seconds(specs: Sequence[ResNetSpec], settings: Settings, images: SplitImages) -> float:
    """Mean of the seconds predicted for these specs, or for as many as a few seconds of timing allow."""
    start, predicted = time.perf_counter(), []
    for spec in specs:
        try:
            predicted.append(predicted_seconds(spec, settings, images))
        except torch.OutOfMemoryError:
            continue  # its trial would fail and the search go on
        if time.perf_counter() - start > TIMING_S:
            break
    return sum(predicted) / max(1, len(predicted))


def predicted_seconds(spec: ResNetSpec, settings: Settings, images: SplitImages) -> float:
    """Seconds the whole training of a spec would take here, from the time of a step after a first one."""
    recipe = settings.recipe
    n_train = min(recipe.batch_size, len(images.train))
    n_held_out = max(1, round(len(images.held_out) * n_train / len(images.train)))
    step = replace(images, train=_first(images.train, n_train), held_out=_first(images.held_out, n_held_out))
    network = build(spec)
    _, *timed = train(network, step, replace(recipe, epochs=3), precision=settings.precision)
    return min(epoch.seconds for epoch in timed) * len(images.train) / n_train * recipe.epochs


def _first(images: LabelledImages, n: int) -> LabelledImages:
    return LabelledImages(images.images[:n], images.labels[:n])


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
    return space.make(
        [space.snap(chance.uniform(*space.width)) for _ in range(n)],
        [chance.randint(*space.blocks) for _ in range(n)],
        [chance.choice(space.kernels) for _ in range(n)],
        chance.choice([*space.stride_patterns(n)]),
        {name: chance.choice(getattr(space, name)) for name in OPTIONS},
    )


def seconds_in_words(seconds: float) -> str:
    """A duration such as "45 s", "9 min", "3 h 20 min" or "12 days"."""
    if seconds >= 3 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
