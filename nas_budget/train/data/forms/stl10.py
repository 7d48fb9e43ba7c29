"""The folder `stl10_binary`, as STL-10 is published."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_budget.errors import DataError
from nas_budget.train.data.forms.form import Form, Part, RawData, check_room, names_in

SIZE, CHANNELS = 96, 3
FILES = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")
NAMES = "class_names.txt"


def is_stl10(path: Path) -> bool:
    """Whether a folder holds the files of STL-10."""
    return names_in(path).issuperset(FILES)


def read_stl10(path: Path) -> RawData:
    """STL-10: images of 96 pixels, in columns; labels from 1. Images without labels are not read."""
    try:
        parts = [_part(path / f"{part}_X.bin", path / f"{part}_y.bin") for part in ("train", "test")]
        names = (path / NAMES).read_text(encoding="utf-8").split() if (path / NAMES).is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    return RawData(parts[0], parts[1], tuple(names) if names else None)


def _part(images: Path, labels: Path) -> Part:
    bytes_each, size = SIZE * SIZE * CHANNELS, images.stat().st_size
    if size % bytes_each:
        raise DataError(f"{images}: has {size:,} bytes, which is no multiple of the {bytes_each:,} of an image")
    check_room(images, size)
    columns = np.fromfile(images, np.uint8).reshape(-1, CHANNELS, SIZE, SIZE)
    return Part(columns.transpose(0, 3, 2, 1), np.fromfile(labels, np.uint8))


def _files(path: Path) -> list[Path]:
    return [path / name for name in (*FILES, NAMES) if (path / name).is_file()]


STL10 = Form("a folder stl10_binary", is_stl10, read_stl10, _files)
