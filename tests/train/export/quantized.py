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
    """A data set in our form that a network takes: random images, those to test with in the classes it puts them into.

    Those to train with are of every class in turn: a class without any would be warned of.
    """
    assert isinstance(made.spec, ResNetSpec)
    train, test = images_of(made.spec, n_train), images_of(made.spec, n_test)
    np.savez(
        path,
        classes=np.array(made.classes),
        train_images=train.numpy(),
        train_labels=np.arange(n_train) % made.spec.classes,
        test_images=test.numpy(),
        test_labels=logits_of(made, test).argmax(1).numpy(),
    )


def relative_error(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference, as a share of that of what was expected."""
    return ((logits - expected).square().mean() / expected.square().mean()).sqrt().item()
