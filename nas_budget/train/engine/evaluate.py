"""How well a network tells images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.train.data.split import LabelledImages, SplitImages, normalised
from nas_budget.train.engine.device import autocast, is_out_of_memory

EVALUATION_BATCH = 500


@torch.inference_mode()
def scores(
    network: nn.Module, images: Tensor, normalise: Callable[[Tensor], Tensor], precision: str = "fp32",
    mirrored: bool = False,
) -> Tensor:  # fmt: skip
    """What a network says to images, in evaluation mode, where the images are.

    Args:
        network: The network.
        images: uint8 (n, size, size, channels).
        normalise: From these to what the network takes.
        precision: "fp32", "bf16" or "fp16".
        mirrored: Whether to give the mean of an image's scores and those of its mirror image.

    Returns:
        float32 (n, classes).
    """
    network.eval()
    size = EVALUATION_BATCH
    while True:
        try:
            return torch.cat([_told(network, normalise(p), precision, mirrored) for p in images.split(size)])
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        size //= 2


def _told(network: nn.Module, batch: Tensor, precision: str, mirrored: bool) -> Tensor:
    with autocast(batch.device, precision):
        told: Tensor = network(batch).float()
        return (told + network(batch.flip(3)).float()) / 2 if mirrored else told


def evaluate(
    network: nn.Module, validation: LabelledImages, images: SplitImages, precision: str = "fp32"
) -> tuple[float, float]:
    """Accuracy on the labelled images, 0 to 1, and mean cross-entropy; `images` gives the normalisation.

    Both are NaN where there are no images.
    """
    if not len(validation):
        return float("nan"), float("nan")
    told = scores(network, validation.images, lambda pictures: normalised(pictures, images), precision)
    return accuracy_of(told, validation.labels), F.cross_entropy(told, validation.labels).item()


def accuracy_of(told: Tensor, labels: Tensor) -> float:
    """Share of labels (n,) that have the greatest of the scores (n, classes), 0 to 1."""
    return (told.argmax(1) == labels).float().mean(dtype=torch.float64).item()


def confusion_of(told: Tensor, labels: Tensor) -> tuple[tuple[int, ...], ...]:
    """Counts of images: rows are true classes, columns told ones."""
    n_classes = told.shape[1]
    counts = torch.bincount(labels * n_classes + told.argmax(1), minlength=n_classes**2)
    return tuple(map(tuple, counts.view(n_classes, n_classes).tolist()))


@dataclass(frozen=True)
class Mistake:
    """An image misclassified: its place in the data set, its class, the class told, and with what probability."""

    index: int
    truth: int
    predicted: int
    probability: float


def mistakes_of(told: Tensor, labels: Tensor, n: int) -> list[Mistake]:
    """The `n` images misclassified with the most confidence, the worst first."""
    probability, guess = told.softmax(1).max(1)
    wrong = torch.where(guess == labels, -1.0, probability)
    order = wrong.argsort(descending=True, stable=True)[:n].tolist()
    return [
        Mistake(i, int(labels[i]), int(guess[i]), round(probability[i].item(), 6))
        for i in order
        if guess[i] != labels[i]
    ]
