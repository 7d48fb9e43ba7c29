"""What bf16 is worth on this CPU: the time of training steps, and what networks learn, in bf16 and in fp32.

    python benchmarks/precision.py [speed|accuracy]

A step is timed on one thread, by processor time, in both formats in turn; the ratio is of the fastest steps. `accuracy`
trains one network for eight epochs on 10,000 CIFAR-10 images, in both formats, with four seeds; accuracy is that on
5,000 validation images. Test images are not read.
"""

from __future__ import annotations

from nas_budget.train.engine.process import keep_freed_memory, set_environment

set_environment()  # before torch is imported

import sys
import time
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev

import torch
from harness import in_turn, machine, print_table

from nas_budget import ResNetSpec, build, cost
from nas_budget.records.formatting import in_short
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.device import choose_precision, torch_threads
from nas_budget.train.engine.loop import train
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import RECIPES

CPU, FORMATS = torch.device("cpu"), ("fp32", "bf16")
LAPTOP = {"blocks": 1, "shortcut_kernel": 1, "activation": "silu"}
SMALL = {"blocks": 2, "strides": (1, 2, 2), "shortcut_kernel": 1, "pool": "global"}
STEPS = {
    "the paper's": (ResNetSpec((32, 64, 96, 128, 185)), 128),
    "wide, half resolution": (ResNetSpec((96, 256, 384), strides=2, stem_width=24, pool="global", **LAPTOP), 256),
    "narrow, full resolution": (ResNetSpec((39, 108, 247), pool=4, **LAPTOP), 256),
    "... at 1/4 of the width": (ResNetSpec((10, 27, 62), pool=4, **LAPTOP), 64),
    "... at 1/8": (ResNetSpec((5, 14, 31), pool=4, **LAPTOP), 64),
    "100 k": (ResNetSpec((16, 32, 64), (1, 2, 1), pool="global", shortcut_kernel=1), 64),
    "kernels of 5, SE": (ResNetSpec((24, 48, 96), kernels=5, se_reduction=8, **SMALL), 64),
    "grouped": (ResNetSpec((24, 48, 96), block="bottleneck", groups=4, expansions=1, **SMALL), 64),
    "inverted": (ResNetSpec((24, 48, 96), block="inverted", **SMALL), 64),
    "separable": (ResNetSpec((24, 64, 128), block="separable", **SMALL), 64),
    "separable, kernels of 5": (ResNetSpec((24, 64, 128), block="separable", kernels=5, **SMALL), 64),
}
"""Networks, and the images of a step."""
TRAINED = ResNetSpec((16, 32, 64), blocks=1, strides=2, shortcut_kernel=1, pool="global")
N_STEPS, N_ROUNDS, N_SEEDS = 3, 5, 4


def step_seconds(trainer: Trainer, n_images: int) -> float:
    """Processor time of a step, the mean of a few."""
    start = time.process_time()
    for _ in range(N_STEPS):
        trainer.step(torch.arange(n_images))
    return (time.process_time() - start) / N_STEPS


def speed() -> None:
    """Print how much faster steps are."""
    images, rows = split_images(open_dataset("cifar10"), CPU, 1_000, 100), []
    for name, (spec, n_images) in STEPS.items():
        recipe = replace(RECIPES["brief"], batch_size=n_images)
        ways = {way: partial(step_seconds, Trainer(build(spec), images, recipe, 0, way), n_images) for way in FORMATS}
        in_turn(ways, 1)
        found = {way: figure["min"] for way, figure in in_turn(ways, N_ROUNDS).items()}
        rates = [f"{n_images * cost(spec).macs / found[way] / 1e9:.1f} G" for way in FORMATS]
        rows.append((name, in_short(cost(spec).macs), *rates, f"{found['fp32'] / found['bf16']:.2f}"))
    print_table(("network", "MACs", "MACs/s, fp32", "bf16", "times as fast"), rows)


def accuracy() -> None:
    """Print what a network learns in each format, seed by seed."""
    images = split_images(open_dataset("cifar10"), CPU, 10_000, 5_000)
    found = {way: [trained(images, way, seed) for seed in range(N_SEEDS)] for way in FORMATS}
    gaps = [other - one for one, other in zip(*found.values(), strict=True)]
    rows = [(way, f"{fmean(values):.2f}", *(f"{value:.2f}" for value in values)) for way, values in found.items()]
    print_table(("format", "mean, %", *(f"seed {seed}" for seed in range(N_SEEDS))), rows)
    print(f"\nbf16 minus fp32: {fmean(gaps):+.2f} points, {stdev(gaps) / N_SEEDS**0.5:.2f} standard error")


def trained(images: SplitImages, precision: str, seed: int) -> float:
    """Validation accuracy in percent after eight epochs."""
    recipe = replace(RECIPES["brief"], epochs=8)
    *_, last = train(build(TRAINED, seed), images, recipe, seed, precision)
    return 100 * last.accuracy


def main() -> None:
    """Print the parts that are asked for, both unless told."""
    keep_freed_memory()
    print(machine("torch"), f"- auto is {choose_precision('auto', CPU)}")
    with torch_threads(1):
        for part in [part for part in (speed, accuracy) if part.__name__ in (sys.argv[1:] or ("speed", "accuracy"))]:
            part()


if __name__ == "__main__":
    main()
