"""Images to quantize the networks of `exported_models` with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nas_budget import ResNetSpec
from nas_budget.train.data.split import LabelledImages
from nas_budget.train.engine.weights import Model
from nas_budget.train.export.quantize import QuantizationImages
from tests.train.export.exported_models import images_of, logits_of


def to_quantize(made: Model, n: int = 48) -> QuantizationImages:
    """Random images; the labels of the test images are what the network in fp32 says, so it is right on all."""
    assert isinstance(made.spec, ResNetSpec)
    test = images_of(made.spec, n + 1)
    return QuantizationImages(
        images_of(made.spec, n), LabelledImages(test, logits_of(made, test).argmax(1)), "noise", 0
    )


def save_images(path: Path, made: Model, n_train: int = 60, n_test: int = 30) -> None:
    """A data set in our form that a network takes: random images, with the classes that it puts them into."""
    assert isinstance(made.spec, ResNetSpec)
    arrays = {}
    for part, n in ("train", n_train), ("test", n_test):
        images = images_of(made.spec, n)
        arrays |= {f"{part}_images": images.numpy(), f"{part}_labels": logits_of(made, images).argmax(1).numpy()}
    np.savez(path, classes=np.array(made.classes), **arrays)


def relative_error(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference, as a share of that of what was expected."""
    return ((logits - expected).square().mean() / expected.square().mean()).sqrt().item()
