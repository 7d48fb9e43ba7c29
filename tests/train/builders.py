"""Images that a small network tells apart after a few epochs, that network, and a brief recipe."""

from __future__ import annotations

import numpy as np
import torch

from nas_budget import Recipe, ResNetSpec
from nas_budget.train.data.dataset import Dataset, Images, Labels
from nas_budget.train.data.split import SplitImages, split_images

CPU = torch.device("cpu")
SPEC = ResNetSpec((4, 8), blocks=1, image_size=8, classes=2, pool="global", dropout=0.2)
BRIEF = Recipe(learning_rate=0.1, batch_size=20, epochs=3, crop_pad=1)


def dark_or_bright(n_train: int = 200, reads: list[str] | None = None) -> Dataset:
    """Noisy images of two classes; `reads` takes the part of each reading."""

    def read(part: str) -> tuple[Images, Labels]:
        if reads is not None:
            reads.append(part)
        rng = np.random.default_rng(len(part))
        labels = np.arange(n_train if part == "train" else 60, dtype=np.int64) % 2
        images = rng.normal(90 + 60 * labels[:, None, None, None], 40, (len(labels), 8, 8, 3)).clip(0, 255)
        return images.astype(np.uint8), labels

    return Dataset("easy", ("dark", "bright"), 8, 3, n_train, 60, "", "1", read)


def split(n_train: int = 200, n_validation: int = 100) -> SplitImages:
    return split_images(dark_or_bright(n_train + n_validation), CPU, n_train, n_validation)


EASY = split()
