"""Predictions of a network: logits, accuracy, confusion matrix, worst mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.train.data.split import LabelledImages, SplitImages, normalized
from nas_budget.train.engine.device import autocast, is_out_of_memory

EVALUATION_BATCH, GPU_EVALUATION_BATCH = 500, 2_500
"""Images at once: a GPU waits less for the host with more, and a CPU's cache holds fewer."""


@torch.inference_mode()
def predict_logits(
    network: nn.Module, images: Tensor, normalize: Callable[[Tensor], Tensor], precision: str = "fp32",
    mirrored: bool = False,
) -> Tensor:  # fmt: skip
    """The logits of images, float32 (n, classes), in evaluation mode, on the device of the images.

    Where memory does not suffice, fewer images go through at a time. Images are uint8 (n, size, size, channels),
    and `normalize` makes of them what the network takes. If `mirrored`, the logits are the mean over each image and its
    mirror image (test-time augmentation).
    """

    def logits(batch: Tensor) -> Tensor:
        with autocast(batch.device, precision):
            plain: Tensor = network(batch).float()
            return (plain + network(batch.flip(3)).float()) / 2 if mirrored else plain

    network.eval()
    size = EVALUATION_BATCH if images.device.type == "cpu" else GPU_EVALUATION_BATCH
    while True:
        try:
            return torch.cat([logits(normalize(part)) for part in images.split(size)])
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        size //= 2


def evaluate(
    network: nn.Module, validation: LabelledImages, images: SplitImages, precision: str = "fp32"
) -> tuple[float, float]:
    """Accuracy, 0 to 1, and mean cross-entropy, both NaN where there are no images; `images` gives normalization."""
    if not len(validation):
        return float("nan"), float("nan")
    logits = predict_logits(network, validation.images, lambda batch: normalized(batch, images), precision)
    return accuracy_of(logits, validation.labels), F.cross_entropy(logits, validation.labels).item()


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """Share of labels (n,) whose logit is the greatest of (n, classes), 0 to 1."""
    return int((logits.argmax(1) == labels).sum()) / len(labels)  # Apple's GPUs have no float64 to take a mean in


def confusion_of(logits: Tensor, labels: Tensor) -> tuple[tuple[int, ...], ...]:
    """The confusion matrix: counts of images by true class (row) and predicted class (column)."""
    n_classes = logits.shape[1]
    counts = torch.bincount(labels * n_classes + logits.argmax(1), minlength=n_classes**2)
    return tuple(map(tuple, counts.view(n_classes, n_classes).tolist()))


def mistakes_of(logits: Tensor, labels: Tensor, n: int) -> list[dict[str, Any]]:
    """The `n` images misclassified with the most confidence, the worst first, as `RunResult.mistakes` has them."""
    probability, guess = logits.softmax(1).max(1)
    wrong = torch.where(guess == labels, -1.0, probability)
    order = wrong.argsort(descending=True, stable=True)[:n].tolist()
    shares, predicted, truth = (values.tolist() for values in (probability, guess, labels))
    return [
        {"index": i, "truth": truth[i], "predicted": predicted[i], "probability": round(shares[i], 6)}
        for i in order
        if predicted[i] != truth[i]
    ]
