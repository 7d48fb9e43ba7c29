"""Each image is changed on its own, by random numbers that follow from seed and epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas_budget import Recipe
from nas_budget.train.data.augment import Augmentation, crop_and_flip, cutmix, cutout
from nas_budget.train.data.dataset import Images
from nas_budget.train.data.split import LabelledImages, SplitImages

PLAIN = Recipe(crop_pad=0, flip="none")


def marked(n: int = 40, size: int = 4) -> SplitImages:
    """Images that say their number in each pixel, brighter in the left half."""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, size, size, 1).clone()
    images[:, :, : size // 2] += 100
    held = LabelledImages(images, torch.arange(n) % 5)
    return SplitImages(held, held, torch.zeros(1), torch.ones(1), 5)


def mirrored_in(augmentation: Augmentation, epoch: int) -> set[int]:
    """Which images an epoch shows mirrored."""
    inputs, _ = augmentation.batch(augmentation.begin(epoch))
    flat = inputs[:, 0, 0].int()
    return {int(row.min()) for row in flat if row[0] < row[-1]}


def test_every_epoch_and_seed_goes_through_all_images_in_another_order() -> None:
    augmentation, reseeded = (Augmentation(marked(), PLAIN, seed) for seed in (0, 1))
    first, second, other = (a.begin(e).tolist() for a, e in ((augmentation, 1), (augmentation, 2), (reseeded, 1)))
    assert sorted(first) == sorted(second) == sorted(other) == list(range(40))
    assert first != second
    assert first != other


def test_an_epoch_is_the_same_whatever_came_before_it() -> None:
    recipe = Recipe(crop_pad=1, trivial_augment=True, cutout=2, cutmix=0.5)
    going, anew = (Augmentation(marked(), recipe, 3) for _ in range(2))
    for epoch in 1, 2:
        going.batch(going.begin(epoch))
    torch.manual_seed(0)
    expected = going.batch(going.begin(3))
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(expected, anew.batch(anew.begin(3)), strict=True))


def test_without_changes_images_and_labels_come_as_they_are() -> None:
    images = marked()
    augmentation = Augmentation(images, PLAIN, 0)
    inputs, labels = augmentation.batch(torch.tensor([7, 3]))
    assert torch.equal(inputs, images.train.images[[7, 3]].permute(0, 3, 1, 2).float())
    assert labels.tolist() == [7 % 5, 3 % 5]


@pytest.mark.parametrize(("flip", "in_turn"), [("alternate", True), ("random", False)])
def test_half_the_images_are_mirrored_in_an_epoch_and_the_other_half_in_the_next_or_any(
    flip: str, in_turn: bool
) -> None:
    augmentation = Augmentation(marked(), replace(PLAIN, flip=flip), 0)
    first, second, third = (mirrored_in(augmentation, epoch) for epoch in (1, 2, 3))
    assert 8 < len(first) < 32
    assert (first | second == set(range(40))) == (not first & second) == (third == first) == in_turn


def crop_and_flip_slowly(
    images: Images, chosen: NDArray[Any], pad: int, shifts: NDArray[Any], mirrored: NDArray[Any]
) -> Images:
    """Pad by reflection, crop back to size, flip: one image at a time."""
    size, made = images.shape[1], []
    for i, number in enumerate(chosen):
        padded = np.pad(images[number], ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
        top, left = pad + shifts[0, i, 0], pad + shifts[1, i, 0]
        crop = padded[top : top + size, left : left + size]
        made.append(crop[:, ::-1] if mirrored[i] else crop)
    return np.stack(made)


@settings(max_examples=150)
@given(st.data(), st.integers(1, 9), st.integers(1, 4), st.integers(1, 6), st.booleans(), st.integers(0, 999))
def test_crop_and_flip_is_reflection_then_crop_then_flip(
    data: st.DataObject, size: int, channels: int, batch: int, flip: bool, seed: int
) -> None:
    pad = data.draw(st.integers(0, size - 1))
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (5, size, size, channels)).astype(np.uint8)
    chosen = rng.integers(0, 5, batch)
    same = torch.Generator().manual_seed(seed)
    shifts = torch.randint(-pad, pad + 1, (2, batch, 1), generator=same).numpy()
    mirrored = rng.random(batch) < 0.5 if flip else np.zeros(batch, bool)
    given_mirrored = torch.from_numpy(mirrored) if flip else None
    generator = torch.Generator().manual_seed(seed)
    made = crop_and_flip(torch.from_numpy(images), torch.from_numpy(chosen), pad, given_mirrored, generator)
    assert made.dtype == torch.uint8
    assert np.array_equal(made.numpy(), crop_and_flip_slowly(images, chosen, pad, shifts, mirrored))


def test_every_sample_has_a_draw_of_its_own_and_every_crop_comes_up() -> None:
    image = torch.arange(75, dtype=torch.uint8).view(1, 5, 5, 3)
    n = 3600
    mirrored = torch.arange(n) % 2 == 0
    made = crop_and_flip(image, torch.zeros(n, dtype=torch.int64), 1, mirrored, torch.Generator().manual_seed(0))
    counts = np.unique(made.flatten(1).numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 3 * 3 * 2
    assert counts.min() > 120  # 200 expected, standard deviation 14
    assert counts.max() < 280


@pytest.mark.parametrize("side", [1, 4, 7])
def test_cutout_blanks_a_square_to_the_mean_and_nothing_else(side: int) -> None:
    inputs = torch.full((500, 9, 9, 3), 200, dtype=torch.uint8)
    made = cutout(inputs, side, torch.tensor([10.4, 20.0, 30.0]), torch.Generator().manual_seed(0))
    blank = (made != 200).any(3)
    assert {tuple(v) for v in made[blank].tolist()} == {(10, 20, 30)}
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(blank.sum((1, 2)), rows * columns)  # each is a rectangle
    assert int(rows.max()) == int(columns.max()) == side
    assert int(rows.min()) == (side + 1) // 2  # half of it may lie outside


def test_cutmix_mixes_targets_by_the_share_of_pixels() -> None:
    n, size = 400, 8
    inputs = torch.arange(n, dtype=torch.int64).remainder(251).to(torch.uint8)[:, None, None, None]
    inputs = inputs.expand(n, size, size, 1).contiguous()
    labels = torch.arange(n) % 10
    mixed, targets = cutmix(inputs, labels, 10, 0.5, torch.Generator().manual_seed(0))
    other = (mixed != inputs).float().mean((1, 2, 3))
    assert torch.allclose(targets.sum(1), torch.ones(n))
    assert torch.allclose(targets[torch.arange(n), labels], 1 - other, atol=1e-6)
    assert torch.allclose(targets[torch.arange(n), labels.roll(1)], other, atol=1e-6)
    assert 0.35 < float((other > 0).float().mean()) < 0.6
    seen = mixed[other > 0].flatten(1)
    assert all(len(row.unique()) <= 2 for row in seen)
    assert float(other[other > 0].std()) > 0.15  # rectangles of all sizes


def test_no_share_means_no_mixing() -> None:
    images, labels = torch.randint(0, 256, (20, 6, 6, 3), dtype=torch.uint8), torch.arange(20) % 4
    mixed, targets = cutmix(images, labels, 4, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(mixed, images)
    assert targets.argmax(1).tolist() == labels.tolist()
