"""The training loop: one result per epoch, and no wait for the device within an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from nas_budget.errors import StoppedError
from nas_budget.train.device import autocast
from nas_budget.train.images import LabelledImages, SplitImages, crop_and_flip, normalised
from nas_budget.train.recipe import Recipe

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch: Its number, from 1.
        train_loss: Mean loss over its steps; not finite when the network diverged.
        accuracy: Share of held-out images told right, of one forward pass without dropout.
        held_out_loss: Mean cross-entropy on them, without label smoothing.
        learning_rate: At its last step.
        seconds: Training and evaluation together.
    """

    epoch: int
    train_loss: float
    accuracy: float
    held_out_loss: float
    learning_rate: float
    seconds: float


def train(
    network: nn.Module,
    images: SplitImages,
    recipe: Recipe,
    seed: int = 0,
    precision: str = "fp32",
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[EpochResult]:
    """Train the network in place where the images are, and yield each epoch's result.

    Args:
        network: What to train; it is moved to the device of the images.
        images: Images to learn from and to measure on.
        recipe: How.
        seed: Fixes order, crops, flips and dropout.
        precision: "fp32", "bf16" or "fp16".
        stopped: Asked before every step.

    Raises:
        StoppedError: `stopped` said so.
    """
    device = images.mean.device
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    batch = min(recipe.batch_size, len(images.train))
    n_steps = len(images.train) // batch
    stepper = _Stepper(network, images, recipe, n_steps, precision, generator)
    for epoch in range(1, recipe.epochs + 1):
        start = time.perf_counter()
        network.train()
        total = torch.zeros((), device=device)
        order = torch.randperm(len(images.train), device=device, generator=generator)
        for chosen in order[: n_steps * batch].split(batch):
            if stopped():
                raise StoppedError("stopped between two steps")
            total += stepper.step(chosen)  # stays on the device: no wait for it within an epoch
        accuracy, loss = evaluate(network, images.held_out, images, precision)
        seconds = time.perf_counter() - start
        yield EpochResult(epoch, total.item() / n_steps, accuracy, loss, stepper.learning_rate, seconds)


class _Stepper:
    """A network with what trains it, one batch at a time."""

    def __init__(
        self, network: nn.Module, images: SplitImages, recipe: Recipe, n_steps: int, precision: str,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        self.network, self.images, self.recipe = network, images, recipe
        self.precision, self.generator, self.device = precision, generator, images.mean.device
        self.optimizer, self.schedule = _optimizer(network, recipe, n_steps, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.learning_rate = 0.0

    def step(self, chosen: Tensor) -> Tensor:
        """Learn from the images of these indices; the loss on them, a scalar on the device."""
        with autocast(self.device, self.precision):
            loss = _loss(self.network, self.images, chosen, self.recipe, self.generator)
        self.scaler.scale(loss).backward()
        if self.recipe.clip_value:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_value_(self.network.parameters(), self.recipe.clip_value)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.learning_rate = float(self.optimizer.param_groups[0]["lr"])
        self.schedule.step()
        return loss.detach()


@torch.inference_mode()
def evaluate(
    network: nn.Module, held_out: LabelledImages, images: SplitImages, precision: str = "fp32"
) -> tuple[float, float]:
    """Share of the labelled images told right, 0 to 1, and mean cross-entropy; `images` gives the normalisation."""
    network.eval()
    right = torch.zeros((), device=held_out.labels.device, dtype=torch.int64)
    loss = torch.zeros((), device=held_out.labels.device)
    batches = zip(held_out.images.split(EVALUATION_BATCH), held_out.labels.split(EVALUATION_BATCH), strict=True)
    for pictures, labels in batches:
        with autocast(pictures.device, precision):
            scores = network(normalised(pictures, images))
        right += (scores.argmax(1) == labels).sum()
        loss += F.cross_entropy(scores.float(), labels, reduction="sum")
    return right.item() / len(held_out), loss.item() / len(held_out)


def diverged(result: EpochResult) -> bool:
    """Whether the loss is no longer a finite number."""
    return not math.isfinite(result.train_loss)


def _loss(
    network: nn.Module, images: SplitImages, chosen: Tensor, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    pictures = crop_and_flip(images.train.images, chosen, recipe.crop_pad, recipe.flip, generator)
    scores = network(normalised(pictures, images))
    return F.cross_entropy(scores, images.train.labels[chosen], label_smoothing=recipe.label_smoothing)


def _optimizer(network: nn.Module, recipe: Recipe, n_steps: int, device: torch.device) -> tuple[Optimizer, LRScheduler]:
    weights = [p for p in network.parameters() if recipe.decay_all or p.ndim > 1]
    others = [p for p in network.parameters() if not recipe.decay_all and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    rate, fused, n_total = recipe.learning_rate, device.type == "cuda", recipe.epochs * n_steps
    optimizer: Optimizer
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, rate, fused=fused)
    else:
        optimizer = torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True, fused=fused)
    if recipe.schedule == "onecycle":
        return optimizer, OneCycleLR(optimizer, rate, total_steps=n_total)
    return optimizer, LambdaLR(optimizer, lambda step: _rise_and_fall((step + 1) / (n_total + 1), recipe.warm_up))


def _rise_and_fall(progress: float, warm_up: float) -> float:
    return min(progress / warm_up if warm_up else 1.0, (1 - progress) / (1 - warm_up))
