"""Images of arrays of every usual type and shape become uint8 squares, channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nas_budget.errors import DataError
from nas_budget.train.data.conversion.images import images_of_arrays
from nas_budget.train.data.conversion.options import ReadOptions
from tests.train.data.making import pictures

COLOR, GRAY = pictures(5), pictures(5, channels=1)


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
        (np.zeros((2, 8, 8, 5), np.uint8), np.zeros((2, 8, 8, 5)), ""),
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
    assert np.array_equal(found, made)
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


@pytest.mark.parametrize(("given", "channels", "made"), [(COLOR, 1, 1), (GRAY, 3, 3), (pictures(2, channels=4), 3, 3)])
def test_sizes_and_channels_are_changed_as_asked(given: Any, channels: int, made: int) -> None:
    (found,), notes = images_of_arrays([given], ReadOptions(size=16, channels=channels))
    assert found.shape[1:] == (16, 16, made)
    assert notes[0] == "images of 8x8 pixels were resized to 16x16"
    assert images_of_arrays([np.zeros((2, 120, 90, 3), np.uint8)], ReadOptions())[0][0].shape == (2, 32, 32, 3)


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
