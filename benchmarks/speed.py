"""Training speed predicted from cost after a short calibration, against steps that are then timed.

    python benchmarks/speed.py [networks] [rounds] [study files]

Networks are random proposals of each study's space, none of them calibrated on; their batches are up to eight times as
large as those of the calibration. Each is timed once in every round, each round begins and ends with a calibration,
so that a drift of the machine's speed hits both, and a network's least time counts. The peer takes time to be in
proportion to MACs, with the factor that fits the same calibration best.
"""

from __future__ import annotations

import random
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.stats import spearmanr

import nas_budget  # noqa: F401 - before torch: idle threads sleep
from nas_budget.arch.cost import cost
from nas_budget.arch.feasible import FeasibleSpace
from nas_budget.arch.spec import ResNetSpec
from nas_budget.search.plan import N_PROPOSED, random_point, to_time
from nas_budget.search.resolving import resolve
from nas_budget.search.settings import Settings
from nas_budget.search.study_file import read_study_file
from nas_budget.train import speed
from nas_budget.train.data import open_dataset
from nas_budget.train.device import choose_device, describe_device
from nas_budget.train.images import SplitImages, split_images
from nas_budget.train.speed import SpeedModel, Timing, calibrate, time_step

STUDIES = [Path("studies/quickstart.toml"), Path("studies/cifar10-5m.toml")]
LARGER = 8
"""How much larger the batches are that are predicted."""


def opened(file: Path) -> tuple[Settings, SplitImages]:
    """A study on 2,500 built-in images."""
    device, dataset = choose_device("auto"), open_dataset("shapes")
    values = {"data.name": "shapes", "data.images": 2_500, "data.held_out": 1_000}
    settings = resolve(file.stem, read_study_file(file, values), device, dataset)
    torch.set_num_threads(settings.threads)
    return settings, split_images(dataset, device, settings.n_train, settings.n_held_out)


def proposals(settings: Settings, n: int, seed: int) -> list[ResNetSpec]:
    """Random networks of a study's space that fit."""
    feasible, chance = FeasibleSpace(settings.space, settings.budget), random.Random(seed)
    return [feasible.decode(random_point(settings.space, chance)) for _ in range(n)]


def by_macs(known: list[Timing]) -> float:
    """Seconds of a MAC with the least squares of relative errors."""
    share = np.array([cost(t.spec).macs * t.recipe.batch_size / t.seconds for t in known])
    return float(share.sum() / (share @ share))


class Rounds:
    """Calibrations and timings of one study, in turn."""

    def __init__(self, file: Path, n: int) -> None:
        self.settings, self.images = opened(file)
        self.networks = proposals(self.settings, n, 99)
        self.timed: dict[ResNetSpec, Timing] = {}
        self.models: list[tuple[SpeedModel, float]] = []
        self.seconds: list[float] = []

    def calibrate(self) -> None:
        """One calibration, with networks of its own."""
        chosen = to_time(proposals(self.settings, N_PROPOSED, len(self.models)))
        known: list[Timing] = []
        fitted = SpeedModel.fitted
        start = time.perf_counter()
        model = calibrate(chosen, self.images, self.settings.recipe, self.settings.precision, kept=known)
        self.seconds.append(time.perf_counter() - start)
        assert model == fitted(known, self.images.mean.device.type)
        self.models.append((model, by_macs(known)))
