"""What each part of a recipe is worth: the same small network trained with and without it, on CIFAR-10.

    python benchmarks/recipes.py [short | long] [seeds]

Accuracy is on 5,000 validation images, mean over seeds; the test images are not used. "short" is the
situation of a trial, "long" as near to a final run as a CPU can come.
"""

from __future__ import annotations

from nas_budget.train.engine.process import own_process

own_process()  # before torch is imported

import os
import platform
import statistics
import sys
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch

from nas_budget import ResNetSpec, build, cost
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import train_epoch
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import RECIPES, Recipe

SPEC = ResNetSpec((16, 32, 64), blocks=1, strides=2, pool="global", shortcut_kernel=1)
FAST = replace(RECIPES["fast"], batch_size=128, learning_rate=0.05)
LONG = replace(RECIPES["strong"], trivial_augment=False, cutmix=0.0, ema=0.0, label_smoothing=0.0)
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}
ADAM = {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 1e-4, "decays": "all", "schedule": "onecycle"}
VARIANTS: dict[str, tuple[int, Recipe, dict[str, dict[str, Any]]]] = {
    "short": (10, FAST, {
        "fast, batch 128": {},
        "Nesterov SGD 0.1": SGD,
        "Adam 0.01, one cycle, as in paper": ADAM,
        "random flip": {"flip": "random"},
        "only convolutions decay": {"decays": "convolutions"},
        "label smoothing 0.1": {"label_smoothing": 0.1},
        "rise over 5 % of the steps": {"warmup": 0.05},
        "cosine": {"schedule": "cosine"},
        "EMA over 5 % of the steps": {"ema": 0.05},
        "cutout 8": {"cutout": 8},
    }),
    "long": (40, LONG, {
        "strong without the rest": {},
        "Nesterov SGD 0.1": SGD,
        "label smoothing 0.1": {"label_smoothing": 0.1},
        "EMA over 1 % of the steps": {"ema": 0.01},
        "cutout 8": {"cutout": 8},
        "CutMix on half": {"cutmix": 0.5},
        "TrivialAugment": {"trivial_augment": True},
        "strong": {"label_smoothing": 0.1, "ema": 0.01, "cutmix": 0.5, "trivial_augment": True},
    }),
}  # fmt: skip


def accuracy(recipe: Recipe, images: SplitImages, seed: int) -> float:
    """Validation accuracy after a whole training, of EMA weights where the recipe has them."""
    trainer = Trainer(build(SPEC, seed), images, recipe, seed)
    for epoch in range(1, recipe.epochs + 1):
        result = train_epoch(trainer, epoch)
    if trainer.ema:
        return evaluate(trainer.ema.network, images.validation, images)[0]
    return result.accuracy


def main() -> None:
    """Train every variant with each seed, in turn, and print the comparison as a table."""
    length = sys.argv[1] if len(sys.argv) > 1 else "short"
    n_seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    epochs, base, variants = VARIANTS[length]
    torch.set_num_threads(1)
    images = split_images(open_dataset("cifar10"), torch.device("cpu"), 10_000, 5_000)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread, torch {version('torch')}; {SPEC}")
    print(f"{cost(SPEC).params:,} parameters, {epochs} epochs on 10,000 images, {n_seeds} seeds")
    found: dict[str, list[float]] = {name: [] for name in variants}
    for seed in range(n_seeds):
        for name, changes in variants.items():
            found[name].append(accuracy(replace(base, epochs=epochs, **changes), images, seed))
            print(f"{seed} {name:34} {found[name][-1]:.2%}", file=sys.stderr, flush=True)
    first = next(iter(found.values()))
    print(f"{'':34} {'accuracy':>9} {'deviation':>9} {'effect':>8}")
    for name, values in found.items():
        effect = 100 * statistics.fmean(a - b for a, b in zip(values, first, strict=True))
        spread = statistics.stdev(values) if n_seeds > 1 else 0.0
        print(f"{name:34} {statistics.fmean(values):9.2%} {spread:9.2%} {effect:+8.2f}")


if __name__ == "__main__":
    main()
