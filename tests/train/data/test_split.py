"""Splits and augmentation against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas_budget.errors import UsageError
from nas_budget.train.data.dataset import Dataset, Images, Labels
from nas_budget.train.data.split import channel_statistics, labelled_images, normalized, split_images, stratified_order

CPU = torch.device("cpu")
LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=120).map(lambda labels: np.array(labels, np.int64))


def numbered(labels: Labels) -> Dataset:
    """A data set in which the first two bytes of each image are its number; test images must not be read."""
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 4, 4, 3)).astype(np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256

    def read(part: str) -> tuple[Images, Labels]:
        assert part == "train", "test images were read"
        return images, labels

    return Dataset("mine", tuple("abcde"), 4, 3, len(labels), 10, "", "", read)


def of_five(n: int) -> Dataset:
    """`n` images of five classes by turns."""
    return numbered(np.arange(n) % 5)


def numbers(images: Tensor) -> list[int]:
    return [int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]) for image in images]


@settings(max_examples=40)
@example(1, 1, 1, 0)  # a channel of one value has a deviation to divide by
@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 4), st.integers(0, 999))
def test_channel_statistics_are_those_of_numpy(n: int, size: int, channels: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (n, size, size, channels)).astype(np.uint8)
    mean, std = channel_statistics(torch.from_numpy(images))
    pixels = images.reshape(-1, channels).astype(np.float64)
    assert mean.numpy() == pytest.approx(pixels.mean(0), rel=1e-6)
    assert std.numpy() == pytest.approx(pixels.std(0).clip(min=1), rel=1e-6)


def test_normalised_images_that_train_have_mean_zero_and_deviation_one_channels_last_in_memory() -> None:
    split = split_images(of_five(200), CPU, 100, 20)
    ready = normalized(split.train.images, split)
    assert (ready.dtype, ready.shape) == (torch.float32, (100, 3, 4, 4))
    assert ready.is_contiguous(memory_format=torch.channels_last)
    assert ready.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert ready.std((0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, rel=1e-5)


class OnMps(Tensor):
    """A tensor that says that it lies on an Apple GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("mps")


def test_normalised_images_of_an_apple_gpu_are_contiguous() -> None:
    split = split_images(of_five(200), CPU, 100, 20)
    images = split.train.images
    assert not normalized(images, split).is_contiguous()
    assert normalized(images.as_subclass(OnMps), split).is_contiguous()


@settings(max_examples=60)
@given(LABELS, st.data())
def test_validation_and_training_images_are_apart_and_keep_their_labels(labels: Labels, data: st.DataObject) -> None:
    n_validation = data.draw(st.integers(1, len(labels) - 1))
    n_train = data.draw(st.integers(1, len(labels) - n_validation))
    split = split_images(numbered(labels), CPU, n_train, n_validation)
    trained, validation = numbers(split.train.images), numbers(split.validation.images)
    assert (len(trained), len(validation)) == (n_train, n_validation) == (len(split.train), len(split.validation))
    assert len({*trained, *validation}) == n_train + n_validation
    assert split.train.labels.tolist() == labels[trained].tolist()
    assert split.validation.labels.tolist() == labels[validation].tolist()


@settings(max_examples=60)
@given(LABELS, st.data())
def test_any_stretch_keeps_the_shares_of_the_classes(labels: Labels, data: st.DataObject) -> None:
    order = stratified_order(labels)
    assert sorted(order) == list(range(len(labels)))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(labels))] * 2)))
    stretch = labels[order[start:stop]]
    present, counts = np.unique(labels, return_counts=True)
    for label, count in zip(present, counts, strict=True):
        share = count / len(labels)
        wanted = share * (stop - start)
        assert abs((stretch == label).sum() - wanted) <= 1 + share * len(present) + 1e-9


def test_equal_classes_are_split_equally() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(500) % 5)
    split = split_images(numbered(labels), CPU, 250, 50)
    assert torch.bincount(split.validation.labels).tolist() == [10] * 5
    assert torch.bincount(split.train.labels).tolist() == [50] * 5


def test_the_validation_images_are_the_same_however_many_train() -> None:
    dataset = of_five(300)
    few, many = (split_images(dataset, CPU, n_train, 40) for n_train in (20, None))
    assert torch.equal(few.validation.images, many.validation.images)
    assert numbers(few.train.images) == numbers(many.train.images)[:20]


@pytest.mark.parametrize(
    ("n_train", "n_validation", "sizes"),
    [(None, None, (30, 270)), (100, None, (30, 100)), (None, 100, (100, 200)), (None, 0, (0, 300))],
)
def test_a_tenth_is_for_validation_by_default(
    n_train: int | None, n_validation: int | None, sizes: tuple[int, int]
) -> None:
    images = split_images(of_five(300), CPU, n_train, n_validation)
    assert (len(images.validation), len(images.train)) == sizes


@pytest.mark.parametrize(("n_train", "n_validation"), [(271, None), (251, 50), (None, 300), (0, None), (-1, 5)])
def test_more_images_than_there_are_cannot_be_asked_for(n_train: int | None, n_validation: int | None) -> None:
    with pytest.raises(UsageError, match="mine has 300 training images; lower data.images"):
        split_images(of_five(300), CPU, n_train, n_validation)


def test_labelled_images_are_all_of_a_part_in_their_order() -> None:
    dataset = of_five(30)
    images, labels = dataset.read("train")
    made = labelled_images(dataset, "train", CPU)
    assert np.array_equal(made.images.numpy(), images)
    assert np.array_equal(made.labels.numpy(), labels)
