"""Image files of any size and color become what a network takes, and the changes are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_budget.errors import DataError, UsageError
from nas_budget.train.data.image_files import read_image, write_row

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def saved(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:  # type: ignore[type-arg]
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.parametrize(
    ("pixels", "made", "changes"),
    [
        (PIXELS, PIXELS, ""),
        (np.full((64, 64, 3), 70, np.uint8), np.full((32, 32, 3), 70), "resized from 64x64"),
        (np.full((32, 32), 20_000, np.uint16), np.full((32, 32, 1), round(20_000 / 257)), "I;16 to L"),
        (np.full((32, 32), 200, np.uint16), np.full((32, 32, 1), 1), "I;16 to L"),
        (np.full((32, 32), 200, np.int32), np.full((32, 32, 1), 200), "I to L"),
        (np.full((32, 32), 20_000, np.int32), np.full((32, 32, 1), round(20_000 / 257)), "I to L"),
        (np.full((32, 32), 0.4, np.float32), np.full((32, 32, 1), 102), "F to L"),
        (np.full((32, 32), 1.01, np.float32), np.full((32, 32, 1), 255), "F to L"),
        (np.full((32, 32), 200.4, np.float32), np.full((32, 32, 1), 200), "F to L"),
    ],
)
def test_sizes_and_bits_are_those_of_the_network_and_the_change_is_said(
    tmp_path: Path, pixels: np.ndarray, made: np.ndarray, changes: str
) -> None:
    image, found_changes = read_image(saved(tmp_path / "a.tif", pixels), 32, made.shape[2])
    assert np.array_equal(image, made)
    assert found_changes == changes


@pytest.mark.parametrize("value", [np.int32(-1), np.int32(70_000), *np.array([-0.5, 1.5, 300, np.nan], np.float32)])
def test_numbers_that_are_no_brightness_are_refused(tmp_path: Path, value: np.generic) -> None:
    with pytest.raises(DataError, match=r"a.tif: cannot be read \(its values are from .*needed are 0 to 255, 65535 or"):
        read_image(saved(tmp_path / "a.tif", np.full((8, 8), value)), 8, 1)


def test_the_middle_of_an_oblong_is_taken(tmp_path: Path) -> None:
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    image, found_changes = read_image(saved(tmp_path / "a.png", wide), 20, 3)
    assert image[:, 2:-2].min() > 190
    assert found_changes == "resized from 100x40, the middle 40x40 of it"


@pytest.mark.parametrize(
    ("mode", "channels", "words"), [("L", 3, "L to RGB"), ("RGBA", 3, "RGBA to RGB"), (None, 1, "RGB to L")]
)
def test_other_colours_are_converted_and_said(tmp_path: Path, mode: str | None, channels: int, words: str) -> None:
    image, found_changes = read_image(saved(tmp_path / "a.png", PIXELS, mode), 32, channels)
    assert image.shape == (32, 32, channels)
    assert found_changes == words


def test_what_is_no_image_and_networks_for_other_than_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(DataError, match="a.png: no such file"):
        read_image(path, 32, 3)
    path.write_text("no image")
    with pytest.raises(DataError, match=r"a.png: cannot be read \(not an image\)"):
        read_image(path, 32, 3)
    path.write_bytes(saved(path, PIXELS).read_bytes()[:200])
    with pytest.raises(DataError, match="a.png: cannot be read"):
        read_image(path, 32, 3)
    with pytest.raises(UsageError, match="1 or 3 channels, and 5 are needed"):
        read_image(tmp_path / "a.png", 32, 5)


def test_a_image_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 200  # bright above; its camera was turned
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    found = read_image(tmp_path / "a.png", 32, 3)[0]
    assert found[:, 16:].min() == 200
    assert found[:, :16].max() == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_images_lie_in_a_row_as_they_are(tmp_path: Path, channels: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 4, 6, channels)).astype(np.uint8)
    write_row(tmp_path / "row.png", images)
    with Image.open(tmp_path / "row.png") as file:
        row = np.asarray(file).reshape(4, 30, channels)
    assert all(np.array_equal(row[:, 6 * i : 6 * i + 6], image) for i, image in enumerate(images))


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 4, 4, 5)])
def test_what_is_no_image_leaves_no_file(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_row(tmp_path / "row.png", np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())
