"""Thumbnails of a page: cut as they are, or none."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_budget.report.pages.thumbnails import MOST_PIXELS, read_thumbnails
from nas_budget.train.data.image_files import write_row


def pixels(thumbnail: str) -> np.ndarray:  # type: ignore[type-arg]
    assert thumbnail.startswith("data:image/png;base64,")
    return np.asarray(Image.open(BytesIO(b64decode(thumbnail.partition(",")[2]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_as_it_was_written(tmp_path: Path, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels)).astype(np.uint8)
    write_row(tmp_path / "row.png", images)
    for thumbnail, image in zip(read_thumbnails(tmp_path / "row.png", 4, 8), images, strict=True):
        assert np.array_equal(pixels(thumbnail).reshape(8, 8, channels), image)


def test_a_large_image_is_made_smaller(tmp_path: Path) -> None:
    write_row(tmp_path / "row.png", np.full((2, 300, 300, 3), 70, np.uint8))
    first, second = map(pixels, read_thumbnails(tmp_path / "row.png", 2, 300))
    assert first.shape == second.shape == (MOST_PIXELS, MOST_PIXELS, 3)
    assert {*first.flatten()} == {70}


def test_what_is_not_exactly_that_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "row.png"
    assert read_thumbnails(path, 3, 8) == []
    write_row(path, np.zeros((3, 8, 8, 3), np.uint8))
    asked = (3, 8), (2, 8), (4, 8), (3, 4), (0, 8)
    assert [len(read_thumbnails(path, n, side)) for n, side in asked] == [3, 0, 0, 0, 0]
    whole = path.read_bytes()
    for damaged in (b"", whole[:-30], b"GIF89a" + whole, whole.replace(b"IDAT", b"IDAX")):
        path.write_bytes(damaged)
        assert read_thumbnails(path, 3, 8) == []
    for mode, form in ("RGBA", "PNG"), ("RGB", "BMP"):
        Image.new(mode, (24, 8)).save(path, form)
        assert read_thumbnails(path, 3, 8) == []
    path.unlink()
    path.mkdir()
    assert read_thumbnails(path, 3, 8) == []


def test_a_file_that_claims_to_be_huge_is_not_opened(tmp_path: Path) -> None:
    Image.new("L", (16, 8)).save(tmp_path / "row.png")
    whole = (tmp_path / "row.png").read_bytes()
    for side in 10_000, 60_000:  # of the first Pillow warns, the second it refuses
        (tmp_path / "row.png").write_bytes(whole[:16] + side.to_bytes(4, "big") * 2 + whole[24:])
        assert read_thumbnails(tmp_path / "row.png", 1, side) == []
