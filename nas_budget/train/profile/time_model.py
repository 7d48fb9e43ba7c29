"""How fast a network trains here, predicted from what it costs after a few timings."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from nas_budget.arch.cost import cost
from nas_budget.arch.layers import Layer, layers
from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.device import is_out_of_memory, keep_freed_memory
from nas_budget.train.engine.model import build
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.muon import N_ITERATIONS
from nas_budget.train.optim.recipe import Recipe

LANES = 8
"""Widths are computed in multiples of it, by vector registers of a CPU and tensor cores of a GPU alike."""
PASSES = 3
"""Passes of a training step, one forward and two backward, as long as each other."""
USUAL = {
    "cpu": (6.5e-11, 2e-9, 1e-4, 1.5e-4, 1.5e-8),  # two cores of an AMD EPYC
    "cuda": (1e-13, 3e-11, 1e-7, 5e-5, 3e-11),  # reckoned, not measured
}
"""A model of each kind of device; what timings do not tell apart is taken to be in proportion to it."""
DOUBT = 0.05
"""How far timings are off, relatively; what is usual counts as much as one timing that is off by all of it."""
CALIBRATION_S = 4.0
N_STEPS, N_ROUNDS = 2, 2
STEP_MACS = 1_000_000_000
"""MACs of all images of a step that is timed on a CPU, a tenth of a second; a larger batch is cut to it."""
LEAST_TIMED = 8
"""Images of a step that is timed, however many MACs they are."""


@dataclass(frozen=True)
class Timing:
    """Seconds that a training step of a network took by a recipe."""

    spec: ResNetSpec
    recipe: Recipe
    seconds: float


@dataclass(frozen=True)
class SpeedModel:
    """Predicts the time of a training step as a sum of what it consists of, each in seconds a piece.

    Attributes:
        per_mac: Of a multiply-accumulate and its gradients, widths padded to whole registers.
        per_element: Of a number that a layer writes.
        per_image: Of making an image ready.
        per_layer: Of beginning a layer, however small it is.
        per_param: Of learning a parameter.
    """

    per_mac: float = 0.0
    per_element: float = 0.0
    per_image: float = 0.0
    per_layer: float = 0.0
    per_param: float = 0.0

    @classmethod
    def fitted(cls, timings: Sequence[Timing], kind: str = "cpu") -> SpeedModel:
        """The model of least relative errors, no part of which takes less than no time; zero without timings.

        Args:
            timings: What to fit; one will do.
            kind: Of device, "cpu" or "cuda".
        """
        if not timings:
            return cls()
        usual = np.array(USUAL[kind])
        parts = np.array([work(t.spec, t.recipe) / t.seconds for t in timings]) * usual
        whole = parts.sum(axis=1)
        pace = whole.sum() / (whole @ whole)  # how much slower this device is than the usual one
        rows = np.vstack([parts * pace, DOUBT * np.eye(len(usual))])
        wanted = np.append(np.ones(len(parts)), np.full(len(usual), DOUBT))
        found, _ = nnls(rows, wanted)
        return cls(*(found * pace * usual).tolist())

    def step_seconds(self, spec: ResNetSpec, recipe: Recipe) -> float:
        """Predicted seconds of a training step of the recipe's batch."""
        return float(work(spec, recipe) @ astuple(self))

    def epoch_seconds(self, spec: ResNetSpec, recipe: Recipe, n_train: int, n_validation: int = 0) -> float:
        """Predicted seconds of an epoch of `n_train` images and an evaluation on `n_validation` others."""
        batch = min(recipe.batch_size, n_train)
        step = self.step_seconds(spec, replace(recipe, batch_size=max(2, batch)))
        return step * (n_train // batch + n_validation / batch / PASSES)


def work(spec: ResNetSpec, recipe: Recipe) -> NDArray[np.float64]:
    """What a training step consists of, (5,): MACs, elements, images, layers, parameters, as in `SpeedModel`."""
    macs, elements, n_layers, params, update = _work(spec)
    batch = recipe.batch_size
    of_update = update / PASSES if recipe.optimizer == "muon" else 0
    return np.array([macs * batch + of_update, elements * batch, batch, n_layers, params], dtype=np.float64)


@lru_cache(maxsize=4_096)
def _work(spec: ResNetSpec) -> tuple[float, int, int, int, int]:
    """Padded MACs and elements of an image, layers, parameters, MACs of an update by Muon."""
    walk = layers(spec)
    return (
        sum(map(_padded_macs, walk)),
        sum(prod(layer.out_shape) for layer in walk),
        len(walk),
        sum(layer.params for layer in walk),
        sum(_update_macs(layer) for layer in walk if layer.kind == "conv"),
    )


def _padded_macs(layer: Layer) -> float:
    """MACs of the layer if its widths were the next multiples of `LANES`."""
    widths = layer.in_shape[0], layer.out_shape[0]
    return layer.macs * prod(-(-width // LANES) * LANES / width for width in widths)


def _update_macs(layer: Layer) -> int:
    """MACs of making the gradient of a convolution orthogonal: three products in each iteration."""
    short, long = sorted((layer.out_shape[0], layer.params // layer.out_shape[0]))
    return N_ITERATIONS * short * short * (2 * long + short)


def calibrate(
    specs: Sequence[ResNetSpec], images: SplitImages, recipe: Recipe, precision: str = "fp32",
    time_s: float = CALIBRATION_S,
) -> SpeedModel:  # fmt: skip
    """The model of the device of the images, fitted to timed steps of these networks."""
    return SpeedModel.fitted(time_steps(specs, images, recipe, precision, time_s), images.mean.device.type)


def time_steps(
    specs: Sequence[ResNetSpec], images: SplitImages, recipe: Recipe, precision: str = "fp32",
    time_s: float = CALIBRATION_S,
) -> list[Timing]:  # fmt: skip
    """Timed steps of those networks for which there is memory and time.

    They are timed in turn, and of each the least counts: what else the machine does only adds.
    """
    deadline = time.perf_counter() + time_s
    best: dict[ResNetSpec, Timing] = {}
    for spec in [*specs] * N_ROUNDS:
        try:
            timing = time_step(spec, images, recipe, precision)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            best[spec] = min(timing, best.get(spec, timing), key=lambda t: t.seconds)
        _give_back(images.mean.device)
        if time.perf_counter() > deadline:
            break
    return [*best.values()]


def time_step(
    spec: ResNetSpec, images: SplitImages, recipe: Recipe, precision: str = "fp32", most_macs: int = STEP_MACS
) -> Timing:
    """The least time of some training steps after a first one; on a CPU of at most so many MACs in a batch."""
    batch = min(recipe.batch_size, len(images.train))
    if images.mean.device.type == "cpu":
        keep_freed_memory()
        batch = min(batch, max(LEAST_TIMED, most_macs // cost(spec).macs))
    recipe = replace(recipe, batch_size=max(2, batch), epochs=N_STEPS + 1)
    trainer = Trainer(build(spec), images, recipe, precision=precision)
    trainer.network.train()
    chosen = next(trainer.begin(1))
    trainer.step(chosen).item()
    return Timing(spec, recipe, min(_seconds_of_step(trainer, chosen) for _ in range(N_STEPS)))


def _seconds_of_step(trainer: Trainer, chosen: torch.Tensor) -> float:
    start = time.perf_counter()
    trainer.step(chosen).item()  # which waits for the device
    return time.perf_counter() - start


def _give_back(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()  # optimisers and schedules hold each other, and with them the weights
        torch.cuda.empty_cache()
