"""Folders of idx files, as MNIST is published, compressed or not."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.train.data.forms.form import Form, Part, RawData, check_room, names_in

FILE = re.compile(r"^(?P<set>.*?)(?P<part>train|t10k|test)[-_.](?P<kind>images|labels)[-_.]idx[13][-_.]ubyte(?:\.gz)?$")
MAGIC = b"\0\0\x08"
"""Of an array of unsigned bytes; the number of its dimensions follows."""
MOST_DIMENSIONS = 4


def is_idx_folder(path: Path) -> bool:
    """Whether a folder holds idx files of images and labels."""
    return any(FILE.match(name) for name in names_in(path))


def read_idx_folder(path: Path) -> RawData:
    """The images of a folder with the four files of MNIST, or of a set that is made like it."""
    found: dict[tuple[str, str], Path] = {}
    sets: set[str] = set()
    for one in sorted(path.iterdir()):
        if match := FILE.match(one.name):
            sets.add(match["set"])
            # Where a file lies beside its compressed form, the latter comes last and is not needed.
            found.setdefault(("train" if match["part"] == "train" else "test", match["kind"]), one)
    if len(sets) > 1:
        raise DataError(
            f"{path}: holds several data sets ({', '.join(sorted(sets))}); put one into a folder of its own"
        )
    needed = [(part, kind) for part in ("train", "test") for kind in ("images", "labels")]
    if missing := [" ".join(key) for key in needed if key not in found]:
        raise DataError(f"{path}: has no file of {', '.join(missing)}, such as train-images-idx3-ubyte.gz")
    train, test = (Part(read_idx(found[part, "images"]), read_idx(found[part, "labels"])) for part in ("train", "test"))
    return RawData(train, test)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an idx file of bytes, which may be compressed.

    Raises:
        DataError: The file is damaged, or its header claims another size than it has.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            start = file.read(4)
            if len(start) < 4 or start[:3] != MAGIC or not 1 <= start[3] <= MOST_DIMENSIONS:
                raise DataError(f"{path}: is no idx file of bytes")
            shape = struct.unpack(f">{start[3]}I", file.read(4 * start[3]))
            size = 1
            for length in shape:
                size *= length
            if path.suffix != ".gz" and size + 4 + 4 * len(shape) != path.stat().st_size:
                raise DataError(f"{path}: claims {size:,} bytes of shape {shape}, and has {path.stat().st_size:,}")
            check_room(path, size)
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); it is damaged or no idx file") from None
    if len(content) != size:
        raise DataError(
            f"{path}: claims {size:,} bytes of shape {shape}, and holds {'more' if content[size:] else 'fewer'}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


IDX = Form("a folder of idx files such as those of MNIST", is_idx_folder, read_idx_folder)
