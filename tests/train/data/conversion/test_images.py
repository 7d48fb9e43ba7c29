"""Images of arrays of every usual type and shape become uint8 squares, channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nas_budget.errors import DataError, UsageError
from nas_budget.train.data.conversion.images import images_of_arrays, images_of_files
from nas_budget.train.data.conversion.options import ReadOptions
from nas_budget.train.data.forms.form import ImageFile
from tests.train.data.making import as_png, pictures

COLOR, GRAY = pictures(5), pictures(5, channels=1)
CIFAR = pictures(5, 32).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("given", "made", "note"),
    [
        (COLOR, COLOR, ""),
        (COLOR.transpose(0, 3, 1, 2), COLOR, "channels come first in images of shape (n, 3, 8, 8)"),
        (GRAY[..., 0], GRAY, ""),
        (GRAY.reshape(5, -1), GRAY, "rows of 64 values were taken as gray images of 8x8"),
        (GRAY.transpose(0, 3, 1, 2), GRAY, "channels come first"),
        (COLOR / 255, COLOR, "images of type float64 with values from 0 to 1 were mapped from 0..1"),
        ((COLOR / 127.5 - 1).astype(np.float32), COLOR, "images of type float32 with values from -1 to 1 were mapped"),
        (COLOR.astype(np.float32), COLOR, "images of type float32 with values from 0 to 255 were taken as 0..255"),
        (COLOR.astype(np.int64), COLOR, "images of type int64 with values from 0 to 255 were taken as 0..255"),
        (COLOR.astype(np.uint16) * 257, COLOR, "images of type uint16 with values from 0 to 65535 were mapped"),
        (GRAY > 100, (GRAY > 100) * 255, "images of truth values"),
        (
            COLOR / 255 * 1.02 - 0.01,
            COLOR,
            "images of type float64 with values from -0.01 to 1.01 were mapped from 0..1",
        ),
        (
            (COLOR / 127.5 - 1) * 1.01,
            COLOR,
            "images of type float64 with values from -1.01 to 1.01 were mapped from -1..1",
        ),
        (CIFAR.reshape(5, -1), CIFAR.transpose(0, 2, 3, 1), "rows of 3072 values were taken as color images of 32x32"),
        (pictures(2, channels=2), pictures(2, channels=2), "images have 2 channels; add ,channels=1 behind the path"),
        (np.zeros((2, 8, 8, 8), np.uint8), np.zeros((2, 8, 8, 8)), "images have 8 channels; where they are slices of"),
        (np.zeros((2, 5, 8, 8), np.uint8), np.zeros((2, 8, 8, 5)), "channels come first"),
        (np.zeros((2, 4, 3, 3), np.uint8), np.zeros((2, 3, 3, 4)), "channels come first"),
        (np.zeros((2, 3, 3, 3), np.uint8), np.zeros((2, 3, 3, 3)), ""),
    ],
)
def test_arrays_are_converted_and_it_is_said(given: Any, made: Any, note: str) -> None:
    low, high = COLOR.min(), COLOR.max()
    assert (low, high) == (0, 255)
    (found,), notes = images_of_arrays([given], ReadOptions())
    assert found.dtype == np.uint8
    assert found.shape == np.shape(made)
    assert np.abs(found.astype(int) - made).max() <= (3 if "01 to" in note else 0)
    assert (notes[0] if notes else "").startswith(note)
    assert bool(note) == bool(notes)


def test_all_parts_are_scaled_alike() -> None:
    bright, dark = COLOR.astype(np.float32), np.full((2, 8, 8, 3), 0.5, np.float32)
    assert images_of_arrays([bright, dark * 2], ReadOptions())[0][1].max() == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.random.default_rng(0).normal(size=(4, 8, 8, 3)), "allowed are 0 to 255, .*without normalization"),
        (np.full((4, 8, 8, 3), np.nan), "no numbers"),
        (COLOR.astype(int) - 1, "values from -1"),
        (COLOR / 200, "with values from 0 to 1.275 lie in neither 0 to 1 nor 0 to 255"),
        (COLOR.astype("U"), "needed are uint8"),
        (np.zeros((4, 8), np.uint8), r"images of shape \(4, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "none of them 0"),
        (np.zeros((4, 8, 9, 10), np.uint8), "needed are 1, 3 or 4 channels"),
    ],
)
def test_what_holds_no_images_is_refused_in_one_line(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as said:
        images_of_arrays([given], ReadOptions())
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("given", "channels", "made"),
    [
        (COLOR, 1, 1), (GRAY, 3, 3), (pictures(2, channels=4), 3, 3), (pictures(2, channels=2), 1, 1),
        (pictures(2, channels=2), 3, 3), (pictures(2, channels=4), 4, 4), (pictures(2, channels=13), 13, 13),
    ],
)  # fmt: skip
def test_sizes_and_channels_are_changed_as_asked(given: Any, channels: int, made: int) -> None:
    (found,), notes = images_of_arrays([given], ReadOptions(size=16, channels=channels))
    assert found.shape[1:] == (16, 16, made)
    assert notes[0] == "images of 8x8 pixels were resized to 16x16"
    assert images_of_arrays([np.zeros((2, 120, 90, 3), np.uint8)], ReadOptions())[0][0].shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("given", "channels"), [(COLOR, 4), (COLOR, 2), (pictures(2, channels=5), 3), (pictures(2, channels=5), 1)]
)
def test_channels_that_cannot_become_those_asked_for_are_refused(given: Any, channels: int) -> None:
    with pytest.raises(DataError, match=f"of {given.shape[3]} channels cannot become images of {channels}; allowed"):
        images_of_arrays([given], ReadOptions(channels=channels))


def test_transparency_is_left_out_in_one_part_alone_where_channels_are_given() -> None:
    clear = np.concatenate([COLOR, GRAY], 3)
    with pytest.raises(DataError, match="images of 4 and 3 channels; give one number, or add ,channels=3"):
        images_of_arrays([clear, COLOR], ReadOptions())
    made, notes = images_of_arrays([clear, COLOR], ReadOptions(channels=3))
    assert all(np.array_equal(part, COLOR) for part in made)
    assert notes == ["images of 4 channels were converted to 3; the last, transparency, was left out"]
    (gray,), _ = images_of_arrays([np.concatenate([GRAY, GRAY // 2], 3)], ReadOptions(channels=3))
    assert np.array_equal(gray, GRAY.repeat(3, 3))


def test_image_files_have_one_or_three_channels() -> None:
    file = ImageFile("a.png", as_png(COLOR[0]))
    with pytest.raises(UsageError, match="read as 1 or 3 channels, and 4 are needed"):
        images_of_files([file], ReadOptions(channels=4), lambda _: None)


@pytest.mark.parametrize(
    ("fit", "down", "across", "note"),
    [
        ("crop", [200, 200, 200, 200], [200, 200, 200, 200], "where they are no squares, their middle was taken"),
        ("pad", [90, 200, 200, 90], [0, 200, 200, 0], "where they are no squares, bars were added"),
        ("stretch", [90, 200, 200, 90], [200, 200, 200, 200], "where they are no squares, stretched"),
    ],
)
def test_arrays_that_are_no_squares_become_some_as_asked(
    fit: str, down: list[int], across: list[int], note: str
) -> None:
    given = np.full((2, 16, 8, 1), 90, np.uint8)
    given[:, 4:12] = 200  # bright in its middle, which is a square
    (found,), notes = images_of_arrays([given], ReadOptions(size=4, fit=fit))
    image = found[1, ..., 0].astype(float)
    assert image[:, 1] == pytest.approx(down, abs=25)
    assert image[1] == pytest.approx(across, abs=25)
    assert notes == [f"images of 8x16 pixels were resized to 4x4; {note}"]
