"""Whether speed is paid for in accuracy: the recipe `paper` in the notebook's own loop and in ours, epoch by epoch.

    python benchmarks/curves.py [--epochs 12] [--images 8000] [--seeds 2]

Same network, images and number of epochs; crops, flips and order are drawn by each on its own. Accuracy is on 5,000
validation images, in evaluation mode for both. Losses and accuracies should differ by no more than seeds do.
"""

from __future__ import annotations

from nas_budget.train.engine.process import own_process

own_process()  # before torch is imported

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import nn
from torch.utils.data import DataLoader
from training import CIFAR_MEAN, CIFAR_STD, PAPER_BATCH, NotebookImages

from nas_budget import ResNetSpec, build, cost
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.device import describe_device
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import RECIPES

SPEC = ResNetSpec((16, 32, 64), blocks=1, strides=2, pool="global", shortcut_kernel=1, dropout=0.2)
Curve = list[tuple[float, float]]
"""Training loss and validation accuracy of each epoch."""


def ours(images: SplitImages, epochs: int, seed: int) -> Iterator[tuple[float, float]]:
    """Each epoch as `nas_budget` trains."""
    for result in train(build(SPEC, seed), images, replace(RECIPES["paper"], epochs=epochs), seed):
        yield result.train_loss, result.accuracy


def notebook(images: SplitImages, epochs: int, seed: int) -> Iterator[tuple[float, float]]:
    """Each epoch as the paper's notebook trains: image by image, torch's own scheduler, contiguous tensors."""
    torch.manual_seed(seed)
    network = build(SPEC, seed)
    loader = DataLoader(NotebookImages(images), PAPER_BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(network.parameters(), 0.01, weight_decay=1e-4)
    mean, std = (255 * torch.tensor(values) for values in (CIFAR_MEAN, CIFAR_STD))
    as_theirs = replace(images, mean=mean, std=std)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs=epochs, steps_per_epoch=len(loader))
    for _ in range(epochs):
        network.train()
        losses = []
        for inputs, labels in loader:
            loss = nn.functional.cross_entropy(network(inputs), labels)
            loss.backward()
            nn.utils.clip_grad_value_(network.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item())
        yield statistics.fmean(losses), evaluate(network, images.validation, as_theirs)[0]


def mean(curves: list[Curve], epoch: int, figure: int) -> float:
    """Mean over seeds."""
    return statistics.fmean(curve[epoch][figure] for curve in curves)


def main() -> None:
    """Train both ways with each seed and print the curves beside each other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cpu")
    images = split_images(open_dataset("cifar10"), device, arguments.images, 5_000)
    print(f"{describe_device(device)}, torch {version('torch')}; {cost(SPEC).params:,} parameters")
    print(f"{arguments.images:,} images, {arguments.epochs} epochs, means of {arguments.seeds} seeds")
    found: dict[str, list[Curve]] = {"the notebook's loop": [], "ours": []}
    for seed in range(arguments.seeds):
        for way, make in zip(found, (notebook, ours), strict=True):
            found[way].append(list(make(images, arguments.epochs, seed)))
            print(f"{way}, seed {seed}: {found[way][-1][-1][1]:.2%}", file=sys.stderr, flush=True)
    theirs, own = found.values()
    print(f"{'epoch':>5}{'loss, notebook':>16}{'ours':>8}{'accuracy, notebook':>20}{'ours':>8}")
    for epoch in range(arguments.epochs):
        losses, accuracies = ([mean(curves, epoch, figure) for curves in (theirs, own)] for figure in (0, 1))
        print(f"{epoch + 1:5}{losses[0]:16.3f}{losses[1]:8.3f}{accuracies[0]:20.2%}{accuracies[1]:8.2%}")


if __name__ == "__main__":
    main()
