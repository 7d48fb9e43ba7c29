"""What a training of an evening wants: one network trained for eight epochs, with one thing changed at a time.

    python benchmarks/evening.py [workers]     trains what `evening.csv` lacks, then prints the comparison
    python benchmarks/evening.py 0             prints it from the table that there is

Accuracy is that on 10,000 validation images of CIFAR-10 that no training sees; test images are not read. What a recipe
cannot say yet is done to the network or to the batches here, before it may become an option.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch
from harness import print_table
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from training_table import curve, fill, rows_of

from nas_budget import ResNetSpec, build, cost
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, normalized, split_images
from nas_budget.train.engine.device import describe_device
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import train_epoch
from nas_budget.train.engine.model import ACTIVATIONS
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import RECIPES

TABLE = Path(__file__).with_name("evening.csv")
SPEC = ResNetSpec((24, 64, 96), blocks=1, strides=2, stem_width=12, pool="global", shortcut_kernel=1)
RECIPE = replace(RECIPES["fast"], epochs=8, label_smoothing=0.1)
N_TRAIN, N_VALIDATION, N_SEEDS = 40_000, 10_000, 2
COLUMNS = (
    "variant", "seed", "params", "macs", "accuracy", "validation_loss", "train_loss", "seconds", "device", "versions",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """What is changed.

    Attributes:
        recipe: Values of the recipe.
        network: Changes the network before training; gets the images too.
        trainer: Changes the trainer before training.
        activation: Takes the place of ReLU.
        pixels: Height and width of the images in the first half of the epochs.
        spec: Values of the spec.
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    network: Callable[[nn.Module, SplitImages], None] | None = None
    trainer: Callable[[Trainer], None] | None = None
    activation: Callable[[Tensor], Tensor] = F.relu
    pixels: int = 32
    spec: dict[str, Any] = field(default_factory=dict)


def whiten(network: Any, images: SplitImages) -> None:
    """Make the first filters those that decorrelate the pixels of a patch, and their negatives (arXiv:2404.00498)."""
    weight, size = network.conv1.weight, network.conv1.kernel_size[0]
    sample = normalized(images.train.images[:2_000], images)
    patches = F.unfold(sample, size).permute(0, 2, 1).reshape(-1, weight[0].numel())
    values, vectors = torch.linalg.eigh(torch.cov(patches[:200_000].T))
    filters = (vectors / (values + 5e-4).sqrt()).T.flip(0).reshape(-1, *weight.shape[1:])  # the strongest first
    n = min(len(filters), len(weight) // 2)
    with torch.no_grad():
        weight[: 2 * n] = torch.cat([filters[:n], -filters[:n]])


def pool_maps(network: Any, images: SplitImages) -> None:  # noqa: ARG001
    """Halve maps by max pooling after a convolution of stride 1: four times the work of that convolution."""
    for block in (block for stage in (network.layer1, network.layer2, network.layer3) for block in stage):
        if block.conv1.stride == (2, 2):
            block.conv1.stride = (1, 1)
            block.conv1 = nn.Sequential(block.conv1, nn.MaxPool2d(2))


def fast_biases(factor: float) -> Callable[[Trainer], None]:
    """Biases of batch norm learn so many times as fast."""

    def change(trainer: Trainer) -> None:
        biases = {id(m.bias) for m in trainer.network.modules() if isinstance(m, nn.BatchNorm2d)}
        optimizer = trainer.optimizers[-1]
        for group in [*optimizer.param_groups]:
            moved = [p for p in group["params"] if id(p) in biases]
            group["params"] = [p for p in group["params"] if id(p) not in biases]
            if moved:
                rate = factor * group["largest_rate"]
                optimizer.add_param_group({**group, "params": moved, "largest_rate": rate, "weight_decay": 0.0})

    return change


TOGETHER = {"batch_size": 256, "other_lr": 0.3, "decays": "convolutions"}
"""What was worth the most alone."""
VARIANTS: dict[str, Variant] = {
    "fast, label smoothing 0.1": Variant(),
    "GELU": Variant(activation=F.gelu),
    "whitened stem": Variant(network=whiten),
    "wider stem (24)": Variant(spec={"stem_width": 24}),
    "biases of batch norm 16 times as fast": Variant(trainer=fast_biases(16)),
    "24 pixels in the first half": Variant(pixels=24),
    "label smoothing 0.2": Variant({"label_smoothing": 0.2}),
    "Muon 0.2": Variant({"learning_rate": 0.2}),
    "Muon 0.05": Variant({"learning_rate": 0.05}),
    "batch 256": Variant({"batch_size": 256}),
    "SiLU": Variant(activation=F.silu),
    "EMA over 3 % of the steps": Variant({"ema": 0.03}),
    "no label smoothing": Variant({"label_smoothing": 0.0}),
    "only convolutions decay": Variant({"decays": "convolutions"}),
    "cutout 12": Variant({"cutout": 12}),
    "crop 2": Variant({"crop_pad": 2}),
    "batch 128, Muon 0.05": Variant({"batch_size": 128, "learning_rate": 0.05}),
    "other rate 0.3": Variant({"other_lr": 0.3}),
    "other rate 0.03": Variant({"other_lr": 0.03}),
    "weight decay 0.03": Variant({"weight_decay": 0.03}),
    "rise over 10 % of the steps": Variant({"warmup": 0.1}),
    "rise over 30 % of the steps": Variant({"warmup": 0.3}),
    "cosine": Variant({"schedule": "cosine"}),
    "max pooling instead of stride": Variant(network=pool_maps),
    "together: batch 256, other rate 0.3, only convolutions decay": Variant(TOGETHER),
    "... and crop 2": Variant({**TOGETHER, "crop_pad": 2}),
    "... and SiLU": Variant(TOGETHER, activation=F.silu),
    "... but batch 128, Muon 0.05": Variant({**TOGETHER, "batch_size": 128, "learning_rate": 0.05}),
}


class ShrunkBatches:
    """Batches of an augmentation at fewer pixels."""

    def __init__(self, augmentation: Any, pixels: int) -> None:
        self.augmentation, self.pixels = augmentation, pixels

    def begin(self, epoch: int) -> Tensor:
        """The order of an epoch."""
        order: Tensor = self.augmentation.begin(epoch)
        return order

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Images of these indices, smaller, and their targets."""
        inputs, targets = self.augmentation.batch(chosen)
        size = (self.pixels, self.pixels)
        return F.interpolate(inputs, size, mode="bilinear", antialias=True), targets


@dataclass(frozen=True)
class Job:
    """One training."""

    variant: str
    seed: int

    @property
    def key(self) -> tuple[str, ...]:
        """Its cells in the columns that tell it from others."""
        return self.variant, str(self.seed)


def jobs() -> Iterator[Job]:
    """Every training, all variants with one seed before the next."""
    yield from (Job(variant, seed) for seed in range(N_SEEDS) for variant in VARIANTS)


@cache
def images_of_process() -> SplitImages:
    """The images, opened once in each process, which then trains on one thread."""
    torch.set_num_threads(1)
    return split_images(open_dataset("cifar10"), torch.device("cpu"), N_TRAIN, N_VALIDATION)


def trained(job: Job) -> dict[str, Any]:
    """The row of a training."""
    variant, images, start = VARIANTS[job.variant], images_of_process(), time.perf_counter()
    spec = ResNetSpec(**{**SPEC.to_dict(), **variant.spec})
    with patch.dict(ACTIVATIONS, relu=lambda x, inplace=False: variant.activation(x)):  # noqa: ARG005
        network = build(spec, job.seed)
    if variant.network:
        variant.network(network, images)
    trainer = Trainer(network, images, replace(RECIPE, **variant.recipe), job.seed)
    if variant.pixels < 32:
        network.avgpool = nn.AdaptiveAvgPool2d(1)  # a global pool, whatever the size of the last map
    if variant.trainer:
        variant.trainer(trainer)
    whole, results = trainer.augmentation, []
    for epoch in range(1, RECIPE.epochs + 1):
        small = variant.pixels < 32 and epoch <= RECIPE.epochs / 2
        trainer.augmentation = ShrunkBatches(whole, variant.pixels) if small else whole  # type: ignore[assignment]
        results.append(train_epoch(trainer, epoch))
    accuracies = [result.accuracy for result in results]
    if trainer.ema:
        accuracies[-1] = evaluate(trainer.ema.network, images.validation, images)[0]
    return {
        "variant": job.variant, "seed": job.seed, "params": cost(spec).params, "macs": cost(spec).macs,
        "accuracy": curve(accuracies), "validation_loss": curve(result.validation_loss for result in results),
        "train_loss": curve(result.train_loss for result in results),
        "seconds": f"{time.perf_counter() - start:.1f}", "device": describe_device(images.mean.device),
        "versions": f"torch {torch.__version__}",
    }  # fmt: skip


def compare(rows: list[dict[str, str]]) -> None:
    """Print what each change is worth against the first variant with the same seeds, and what it costs."""
    found = {(row["variant"], row["seed"]): row for row in rows}
    first, lines = next(iter(VARIANTS)), []
    for variant in VARIANTS:
        pairs = [
            (row, found[first, seed])
            for (name, seed), row in found.items()
            if name == variant and (first, seed) in found
        ]
        if not pairs:
            continue
        accuracy = [100 * float(row["accuracy"].split()[-1]) for row, _ in pairs]
        effect = [a - 100 * float(base["accuracy"].split()[-1]) for a, (_, base) in zip(accuracy, pairs, strict=True)]
        time_ratio = fmean(float(row["seconds"]) / float(base["seconds"]) for row, base in pairs)
        effects = ", ".join(f"{one:+.2f}" for one in effect)
        lines.append((variant, f"{fmean(accuracy):.2f} %", f"{fmean(effect):+.2f}", effects, f"{time_ratio:.2f}"))
    print_table(("changed", "accuracy", "effect", "by seed", "time"), lines)


def main() -> None:
    """Train what the table lacks, and print what the changes are worth."""
    n_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    if n_workers:
        fill(TABLE, COLUMNS, ("variant", "seed"), jobs(), trained, n_workers)
    compare(rows_of(TABLE))


if __name__ == "__main__":
    main()
