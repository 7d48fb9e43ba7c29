"""The built-in images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget import ResNetSpec, build
from nas_budget.train.data.split import split_images
from nas_budget.train.data.synthetic import CHUNK, CLASSES, OUTLINES, SIZE, draw, synthetic
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import RECIPES


def test_the_same_seed_draws_the_same_images_and_another_one_others_in_another_order() -> None:
    (images, labels), (again, labels_again), (others, other_labels) = draw(50, 3), draw(50, 3), draw(50, 4)
    assert np.array_equal(images, again)
    assert np.array_equal(labels, labels_again)
    assert not np.array_equal(labels, other_labels)
    assert not {image.tobytes() for image in images} & {image.tobytes() for image in others}


@settings(max_examples=20)
@given(st.integers(1, 60))
def test_classes_come_equally_often(n: int) -> None:
    images, labels = draw(n, 0)
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert counts.max() - counts.min() <= 1
    assert images.shape == (n, SIZE, SIZE, 3)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


def test_no_image_comes_twice_across_chunks() -> None:
    images, labels = draw(CHUNK + 50, 3)
    assert len(labels) == len({image.tobytes() for image in images}) == CHUNK + 50


def test_every_class_has_an_outline_of_its_own() -> None:
    assert tuple(OUTLINES) == CLASSES
    v, u = np.mgrid[-1:1:32j, -1:1:32j]
    masks = {name: outline(u, v) < 0 for name, outline in OUTLINES.items()}
    assert all(0.1 < mask.mean() < 0.95 for mask in masks.values())
    assert len({mask.tobytes() for mask in masks.values()}) == len(CLASSES)


def test_images_use_the_range_of_brightness_and_are_no_two_alike_within_a_class() -> None:
    images, labels = draw(400, 3)
    assert 60 < images.mean() < 200
    assert images.std() > 30
    for label in range(len(CLASSES)):
        members = images[labels == label].astype(float)
        assert members.std(axis=0).mean() > 20


def test_training_and_test_images_are_drawn_apart_and_the_data_set_says_what_it_is() -> None:
    dataset, small = synthetic(), synthetic(60, 40)
    assert (dataset.name, dataset.image_size, dataset.in_channels) == ("shapes", SIZE, 3)
    assert (dataset.n_train, dataset.n_test, dataset.classes) == (20_000, 4_000, CLASSES)
    assert dataset.digest == "shapes 1" != small.digest
    (trained, _), (tested, _) = small.read("train"), small.read("test")
    assert (len(trained), len(tested)) == (60, 40)
    assert not {image.tobytes() for image in trained} & {image.tobytes() for image in tested}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_larger_network_is_more_accurate() -> None:
    split = split_images(synthetic(5_000), torch.device("cpu"), 4_000, 1_000)

    def accuracy(channels: tuple[int, ...]) -> float:
        network = build(ResNetSpec(channels, blocks=1, strides=2, pool="global"))
        return list(train(network, split, RECIPES["brief"]))[-1].accuracy

    small, large = accuracy((8, 8, 8)), accuracy((16, 32, 64))
    assert small > 0.3  # ten classes: a guess has 0.1
    assert large > small + 0.1
