"""Data sets of what is in memory: arrays, tensors, images of Pillow and torch's data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset, TensorDataset

from nas_budget import ResNetSpec, open_dataset, train_network
from nas_budget.errors import DataError, UsageError
from nas_budget.train.data.conversion.options import ReadOptions
from nas_budget.train.data.from_python import dataset_from
from nas_budget.train.optim.recipe import Recipe
from tests.train.data.making import pictures

TRAIN, TEST = pictures(12), pictures(6, seed=9)
LABELS = np.arange(12) % 3


class Items(TorchDataset[Any]):
    def __init__(self, images: Any, labels: Any) -> None:
        self.items = list(zip(images, labels, strict=True))
        self.classes = ["a", "b", "c"]

    def __getitem__(self, place: int) -> Any:
        return self.items[place]

    def __len__(self) -> int:
        return len(self.items)


def tensor(images: Any) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    "pair",
    [
        lambda images, labels: (images, labels),
        lambda images, labels: (tensor(images), torch.from_numpy(labels)),
        lambda images, labels: (tensor(images).float() / 255, list(labels)),
        lambda images, labels: (tensor(images).bfloat16(), labels),
        lambda images, labels: TensorDataset(tensor(images), torch.from_numpy(labels)),
        lambda images, labels: Items(map(Image.fromarray, images), labels),
        lambda images, labels: Items(tensor(images), torch.from_numpy(labels)),
        lambda images, labels: ([Image.fromarray(image) for image in images], labels),
    ],
)
def test_everything_in_memory_gives_the_same_images(pair: Any) -> None:
    dataset = dataset_from(pair(TRAIN, LABELS), pair(TEST, LABELS[:6]), ["a", "b", "c"], on_message=lambda _: None)
    assert (dataset.name, dataset.classes, dataset.n_train, dataset.n_test) == ("mine", ("a", "b", "c"), 12, 6)
    for part, images, labels in ("train", TRAIN, LABELS), ("test", TEST, LABELS[:6]):
        assert np.array_equal(dataset.read(part)[0], images)
        assert np.array_equal(dataset.read(part)[1], labels)
    same = dataset_from((TRAIN, LABELS), (TEST, LABELS[:6]), ["a", "b", "c"])
    assert dataset.digest == same.digest
    assert dataset.digest != dataset_from((TRAIN, LABELS), (TEST, LABELS[:6]), ["a", "b", "d"]).digest


def test_classes_are_those_of_a_torch_data_set_and_changes_are_said() -> None:
    said: list[str] = []
    dataset = dataset_from(Items(map(Image.fromarray, TRAIN), LABELS + 1), on_message=said.append)
    assert (dataset.classes, dataset.n_test) == (("a", "b", "c"), 3)
    assert said[0] == "NOTE: labels 1 to 3 were mapped to 0 to 2"


def test_a_subset_has_the_classes_of_the_whole() -> None:
    whole = Items(map(Image.fromarray, TRAIN), LABELS)
    part = Subset(Subset(whole, range(10)), range(9))
    dataset = dataset_from(part, on_message=lambda _: None)
    assert (dataset.classes, dataset.n_train + dataset.n_test) == (("a", "b", "c"), 9)


def test_images_of_pillow_are_resized(tmp_path: Path) -> None:
    images = [Image.fromarray(image).resize((40 + place, 30)) for place, image in enumerate(TRAIN)]
    made = dataset_from((images, LABELS), options=ReadOptions(size=16, fit="pad"), on_message=lambda _: None)
    assert made.image_size == 16


def test_gray_images_beside_colored_ones_become_colored() -> None:
    gray = [Image.fromarray(image[..., 0]) for image in TEST]
    dataset = dataset_from((TRAIN, LABELS), (gray, LABELS[:6]), on_message=lambda _: None)
    assert np.array_equal(dataset.read("test")[0], TEST[..., :1].repeat(3, 3))


def test_a_file_is_written_that_every_command_opens(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    dataset = dataset_from((TRAIN, LABELS), (TEST, LABELS[:6]), file=path)
    assert (dataset.name, open_dataset(str(path)).digest) == (str(path), dataset.digest)
    with pytest.raises(UsageError, match=r"ends in .npy; give a name that ends in .npz"):
        dataset_from((TRAIN, LABELS[:5]), file=tmp_path / "mine.npy")  # before anything is converted


def test_a_network_trains_on_it() -> None:
    dataset = dataset_from((pictures(60), np.arange(60) % 2), on_message=lambda _: None)
    spec = ResNetSpec(channels=(4,), image_size=8, classes=2, pool="global")
    assert train_network(spec, dataset, Recipe(epochs=1, batch_size=16, crop_pad=1), device="cpu").epochs


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (3, UsageError, "train: int is not read; give .images, labels., or a torch Dataset"),
        (None, UsageError, "train: nothing is given"),
        ([TRAIN, LABELS, LABELS], UsageError, "its items are no pairs"),
        ((TRAIN, None), UsageError, "train: NoneType is no list of images or labels; give .images, labels."),
        ((2, 3), UsageError, "train: int is no list of images or labels"),
        (([Image.new("F", (8, 8), 1.5)] * 2, [0, 1]), DataError, "train: an image cannot be read .its values are from"),
        ((TRAIN, LABELS[:5]), DataError, "mine: 12 training images but 5 labels"),
        (Items([TRAIN[0], TRAIN[1, :4]], [0, 1]), UsageError, "several sizes"),
        ((TRAIN, LABELS * 0), DataError, "mine: all images are of one class"),
    ],
)
def test_what_is_no_images_and_labels_is_refused(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        dataset_from(given, on_message=lambda _: None)
