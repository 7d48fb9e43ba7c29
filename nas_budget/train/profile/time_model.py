"""Training time of a network on this device, predicted from its cost after a few timed steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from math import inf, prod

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nas_budget.arch.cost import cost
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.arch.layers import Layer, layers
from nas_budget.arch.spec import AnySpec
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.device import free_memory, is_out_of_memory, seeded
from nas_budget.train.engine.model import build
from nas_budget.train.engine.trainer import N_WARM_UP, Graph, Trainer
from nas_budget.train.optim.muon import N_ITERATIONS
from nas_budget.train.optim.recipe import Recipe

WIDTH_MULTIPLE = 8
"""Widths are computed in multiples of it, by the vector registers of a CPU and the tensor cores of a GPU alike."""
PASSES = 3
"""Passes of a training step, one forward and two backward, that take equally long."""
USUAL = {
    "cpu": (6.5e-11, 2e-9, 1e-4, 1.5e-4, 1.5e-8),  # two cores of an AMD EPYC
    "cuda": (1e-13, 3e-11, 1e-7, 5e-5, 3e-11),  # estimated, not measured
}
"""Coefficients of a usual device of each kind: the prior that they are fitted from."""
PRIOR_WEIGHT = 0.05
"""A coefficient 100 % away from the usual one counts as much as one timing that is off by this share."""
CALIBRATION_S = 4.0
N_STEPS, N_ROUNDS = 2, 2
STEP_MACS = 1_000_000_000
"""MACs of all images of a step that is timed on a CPU, a tenth of a second; a larger batch is cut to it."""
MIN_TIMED = 8
"""Images of a step that is timed, however many MACs they are."""


@dataclass(frozen=True)
class Timing:
    """Seconds that a training step of a network took with a recipe."""

    spec: AnySpec
    recipe: Recipe
    seconds: float


@dataclass(frozen=True)
class TimeModel:
    """Predicts how long a network trains on this device: a linear model of what a training step consists of.

    The five coefficients are fitted to a few timed steps (`calibrate` times and fits), so that relative errors are
    least and no coefficient is negative. What the timings cannot tell apart keeps the proportions of a usual device
    (`USUAL`). `step_memory` predicts memory. `benchmarks/speed.py` compares predictions with timed steps.

    Attributes:
        per_mac: Seconds for a multiply-accumulate and its gradients, with widths padded to `WIDTH_MULTIPLE`.
        per_element: Seconds for a number that a layer writes.
        per_image: Seconds to load and augment an image.
        per_layer: Seconds to start a layer, however small it is.
        per_param: Seconds to update a parameter.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> small, large, recipe = ResNetSpec((8, 16)), ResNetSpec((32, 64)), Recipe(batch_size=128)
        >>> model = TimeModel.fit([Timing(small, recipe, seconds=0.1)])
        >>> round(model.step_seconds(small, recipe), 3)
        0.1
        >>> model.step_seconds(large, recipe) > 0.1, round(model.epoch_seconds(small, recipe, n_train=1280), 3)
        (True, 1.0)
    """

    per_mac: float = 0.0
    per_element: float = 0.0
    per_image: float = 0.0
    per_layer: float = 0.0
    per_param: float = 0.0

    @classmethod
    def usual(cls, kind: str = "cpu") -> TimeModel:
        """The model of a usual device of a type such as "cpu" or "cuda", nothing timed."""
        return cls(*USUAL.get(kind, USUAL["cuda"]))

    @classmethod
    def fit(cls, timings: Sequence[Timing], kind: str = "cpu") -> TimeModel:
        """The model that fits timings on a device of such a type; it predicts 0 seconds where there are none."""
        if not timings:
            return cls()
        usual = np.array(astuple(cls.usual(kind)))
        terms = np.array([step_features(t.spec, t.recipe) / t.seconds for t in timings]) * usual
        predicted = terms.sum(axis=1)  # by the usual device, as a share of the time that was measured
        slowdown = predicted.sum() / (predicted @ predicted)  # least squares of slowdown * predicted = 1
        # One row a timing, and one a coefficient that draws it to the usual one: ridge regression.
        rows = np.vstack([terms * slowdown, PRIOR_WEIGHT * np.eye(len(usual))])
        targets = np.append(np.ones(len(terms)), np.full(len(usual), PRIOR_WEIGHT))
        factors, _ = nnls(rows, targets)
        return cls(*(factors * slowdown * usual).tolist())

    def step_seconds(self, spec: AnySpec, recipe: Recipe) -> float:
        """Predicted seconds of a training step of the recipe's batch."""
        return float(step_features(spec, recipe) @ astuple(self))

    def epoch_seconds(self, spec: AnySpec, recipe: Recipe, n_train: int, n_validation: int = 0) -> float:
        """Predicted seconds of an epoch of `n_train` images and an evaluation on `n_validation` others."""
        batch = min(recipe.batch_size, n_train)
        step = self.step_seconds(spec, replace(recipe, batch_size=max(2, batch)))
        return step * (n_train // batch + n_validation / batch / PASSES)


def step_features(spec: AnySpec, recipe: Recipe) -> NDArray[np.float64]:
    """What a training step consists of, (5,): MACs, elements, images, layers, parameters, as in `TimeModel`."""
    macs, elements, n_layers, params, update = _features(spec)
    batch = recipe.batch_size
    muon = update / PASSES if recipe.optimizer == "muon" else 0  # an update is one pass, a MAC here is three
    return np.array([macs * batch + muon, elements * batch, batch, n_layers, params], dtype=np.float64)


def elements_of(spec: AnySpec) -> int:
    """Numbers that the layers of a network write for an image."""
    return _features(spec)[1]


@lru_cache(maxsize=4_096)
def _features(spec: AnySpec) -> tuple[float, int, int, int, int]:
    """Padded MACs and elements of an image, layers, parameters, and MACs of an update by Muon.

    Of a family's network no shapes of layers are known: its MACs are not padded, and Muon's are taken for none.
    """
    if isinstance(spec, FamilySpec):
        return spec.macs, spec.elements, spec.layers, spec.params, 0
    walk = layers(spec)
    return (
        sum(map(_padded_macs, walk)),
        sum(prod(layer.out_shape) for layer in walk),
        len(walk),
        sum(layer.params for layer in walk),
        sum(_update_macs(layer) for layer in walk if layer.kind == "conv"),
    )


def _padded_macs(layer: Layer) -> float:
    """MACs of the layer if its widths were the next multiples of `WIDTH_MULTIPLE`."""
    widths = layer.in_shape[0], layer.out_shape[0]
    return layer.macs * prod(-(-width // WIDTH_MULTIPLE) * WIDTH_MULTIPLE / width for width in widths)


def _update_macs(layer: Layer) -> int:
    """MACs of Muon for a convolution: three matrix products in each iteration that orthogonalizes its gradient."""
    short, long = sorted((layer.out_shape[0], layer.params // layer.out_shape[0]))
    return N_ITERATIONS * short * short * (2 * long + short)


def calibrate(
    specs: Sequence[AnySpec], images: SplitImages, recipe: Recipe, precision: str = "fp32", graphed: Graph = False,
    most_macs: float = STEP_MACS,
) -> TimeModel:  # fmt: skip
    """The time model of the device that holds the images, fitted to timed steps of these networks.

    On a CPU a step is timed with at most `most_macs` MACs (`time_step`).
    """
    timings = time_steps(specs, images, recipe, precision, graphed, most_macs=most_macs)
    return TimeModel.fit(timings, images.mean.device.type)


def time_steps(
    specs: Sequence[AnySpec], images: SplitImages, recipe: Recipe, precision: str = "fp32", graphed: Graph = False,
    time_s: float = CALIBRATION_S, most_macs: float = STEP_MACS,
) -> list[Timing]:  # fmt: skip
    """Timed steps of the networks, without those for which memory or `time_s` seconds did not suffice.

    The networks are timed in rounds. Of each the least time counts, since other work on the machine only adds.
    """
    deadline = time.perf_counter() + time_s
    best: dict[AnySpec, Timing] = {}
    for spec in [*specs] * N_ROUNDS:
        try:
            timing = time_step(spec, images, recipe, precision, graphed, most_macs)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            best[spec] = min(timing, best.get(spec, timing), key=lambda t: t.seconds)
        free_memory(images.mean.device)
        if time.perf_counter() > deadline:
            break
    return [*best.values()]


def time_step(
    spec: AnySpec, images: SplitImages, recipe: Recipe, precision: str = "fp32", graphed: Graph = False,
    most_macs: float = STEP_MACS,
) -> Timing:  # fmt: skip
    """The least time of `N_STEPS` training steps after a first one, or after it was recorded as a CUDA graph.

    On a CPU the batch is cut so that it takes at most `most_macs` MACs; the timing's recipe has the batch size used.
    """
    batch = min(recipe.batch_size, len(images.train))
    if images.mean.device.type == "cpu" and most_macs < inf:
        batch = int(min(batch, max(MIN_TIMED, most_macs // cost(spec).macs)))
    n_before = N_WARM_UP + 1 if graphed else 1
    recipe = replace(recipe, batch_size=max(2, batch), epochs=N_STEPS + n_before)
    trainer = Trainer(build(spec), images, recipe, precision=precision)
    trainer.record(graphed)
    trainer.network.train()
    chosen = next(trainer.begin(1))
    seconds = []
    with seeded(trainer.device, 0):  # dropout draws from torch's global generator
        for _ in range(n_before):
            trainer.step(chosen).item()
        for _ in range(N_STEPS):
            start = time.perf_counter()
            trainer.step(chosen).item()  # which waits for the device
            seconds.append(time.perf_counter() - start)
    return Timing(spec, recipe, min(seconds))
