"""`SplitImages`: training and validation images on the device, and their normalization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_budget.errors import UsageError
from nas_budget.train.data.dataset import Dataset, Labels

SPLIT_SEED = 0
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class LabelledImages:
    """Images that stay on the device, uint8 (n, size, size, channels), and their labels, int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class SplitImages:
    """The training images of a data set, split into those that train and those for validation; test images stay unread.

    The statistics are of the images that train alone. The same data set is always split the same way, so that the
    validation images of a study are never trained on, however many images train.

    Attributes:
        train: Images that networks are trained on.
        validation: Images that accuracy is measured on during a search.
        mean: Mean of each channel of the images that train, (channels,), in 0..255; `std` is their deviation.

    Examples:
        >>> from nas_budget.train.data.synthetic import synthetic
        >>> images = split_images(synthetic(n_train=100), torch.device("cpu"))
        >>> len(images.train), len(images.validation), images.mean.shape
        (90, 10, torch.Size([3]))
    """

    train: LabelledImages
    validation: LabelledImages
    mean: Tensor
    std: Tensor
    n_classes: int


def split_images(
    dataset: Dataset, device: torch.device, n_train: int | None = None, n_validation: int | None = None
) -> SplitImages:
    """The training images of a data set, split stratified by class and with a fixed seed. Test images are not read.

    Args:
        dataset: Where the images come from.
        device: Device that holds them, as uint8.
        n_train: How many train; None is all that are not set aside for validation.
        n_validation: How many are set aside for validation; None is a tenth of the training images, 0 is none.
    """
    validation, train = split_sizes(dataset, n_train, n_validation)
    images, labels = dataset.read("train")
    order = stratified_order(labels)
    held, ours = (
        LabelledImages(torch.from_numpy(images[chosen]).to(device), torch.from_numpy(labels[chosen]).to(device))
        for chosen in (order[:validation], order[validation : validation + train])
    )
    mean, std = channel_statistics(ours.images)
    return SplitImages(ours, held, mean, std, len(dataset.classes))


def labelled_images(dataset: Dataset, part: str, device: torch.device) -> LabelledImages:
    """All images of "train" or "test" on the device, in their own order."""
    images, labels = dataset.read(part)
    return LabelledImages(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))


def split_sizes(dataset: Dataset, n_train: int | None, n_validation: int | None) -> tuple[int, int]:
    """How many images are set aside for validation and how many train; `UsageError` where there are not so many."""
    validation = round(dataset.n_train * VALIDATION_SHARE) if n_validation is None else n_validation
    train = dataset.n_train - validation if n_train is None else n_train
    if not 0 <= validation < dataset.n_train or not 0 < train <= dataset.n_train - validation:
        raise UsageError(
            f"data: {train:,} images to train and {validation:,} for validation asked for, but {dataset.name} has "
            f"{dataset.n_train:,} training images; lower data.images or data.validation_images"
        )
    return validation, train


def stratified_order(labels: Labels) -> NDArray[np.int64]:
    """Indices ordered so that every contiguous part has each class in its share of the whole; the same every time."""
    rng = np.random.default_rng(SPLIT_SEED)
    # Spread each class evenly over 0..1 in random order, then sort all classes together.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[rng.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Exact mean and standard deviation of each channel of uint8 images (n, H, W, C); (C,) each, float32."""
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(-1)])
    # On the CPU: Apple's GPUs have no float64.
    values, counts = torch.arange(256, dtype=torch.float64), counts.cpu().double()
    n = counts.sum(1)
    mean = (counts * values).sum(1) / n
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / n
    return mean.float().to(images.device), variance.sqrt().clamp(min=1.0).float().to(images.device)


def normalized(images: Tensor, split: SplitImages) -> Tensor:
    """uint8 (n, H, W, C) to float32 (n, C, H, W) of mean 0 and deviation 1, channels last in memory but on "mps"."""
    planes = ((images - split.mean) / split.std).permute(0, 3, 1, 2)
    return planes.contiguous() if planes.device.type == "mps" else planes
