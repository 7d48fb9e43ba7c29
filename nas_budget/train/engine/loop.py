"""The training loop: `train` yields one result per epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from nas_budget.errors import StoppedError
from nas_budget.records.trials import EpochResult
from nas_budget.train.data.augment import seed_of
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.device import seeded
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.trainer import Graph, Trainer
from nas_budget.train.optim.recipe import Recipe


def train(
    network: nn.Module, images: SplitImages, recipe: Recipe, seed: int = 0, precision: str = "fp32",
    should_stop: Callable[[], bool] = lambda: False, graphed: Graph = False,
) -> Iterator[EpochResult]:  # fmt: skip
    """Train the network in place, where the images are, and yield each epoch's result.

    The same seed gives the same numbers on the same device: it fixes the order of the images, their augmentation and
    dropout. `should_stop` is asked before every step, and `StoppedError` is raised when it returns true. With `graphed`
    steps are replayed from a CUDA graph (`Trainer.record`).
    """
    trainer = Trainer(network, images, recipe, seed, precision)
    trainer.record(graphed)
    for epoch in range(1, recipe.epochs + 1):
        yield train_epoch(trainer, epoch, should_stop)


def train_epoch(trainer: Trainer, epoch: int, should_stop: Callable[[], bool] = lambda: False) -> EpochResult:
    """Train for one epoch and validate. All random draws follow from the trainer's seed and the epoch alone."""
    start = time.perf_counter()
    trainer.network.train()
    total = torch.zeros((), device=trainer.device)
    with seeded(trainer.device, seed_of(trainer.seed, epoch)):
        for indices in trainer.begin(epoch):
            if should_stop():
                raise StoppedError("stopped between two steps")
            total += trainer.step(indices)  # stays on the device: no wait for it within an epoch
    accuracy, loss = evaluate(trainer.network, trainer.images.validation, trainer.images, trainer.precision)
    mean, seconds = total.item() / trainer.n_steps, time.perf_counter() - start
    how = trainer.micro_batches, trainer.not_recorded
    return EpochResult(epoch, mean, accuracy, loss, trainer.learning_rate, seconds, *how)
