"""`Form` and `RawData`: what a reader of a form of data is, and what it gives."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.memory import free_bytes

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing")
VALIDATION_NAMES = ("val", "valid", "validation", "dev")
PART_NAMES = {"train": TRAIN_NAMES, "test": TEST_NAMES, "validation": VALIDATION_NAMES}


class ImageFile(NamedTuple):
    """An image that is not decoded yet: its name for messages, and its file or bytes."""

    name: str
    source: Path | bytes


@dataclass(frozen=True)
class Part:
    """Images and labels of one part, as they were found.

    Attributes:
        images: An array of any shape and type that images have, or files.
        labels: One for each image: numbers, names, or rows with a single 1.
    """

    images: NDArray[Any] | Sequence[ImageFile]
    labels: Any


@dataclass(frozen=True)
class RawData:
    """A data set as it was found, before anything is converted.

    Attributes:
        train: Training images.
        test: Test images; None where there are none, and some of the others are taken.
        classes: Name of each class, where they are known.
        notes: What a person should know of how it was read, in lines.
    """

    train: Part
    test: Part | None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def listed_files(raw: RawData) -> list[Path]:
    """The image files of a data set."""
    parts = [part.images for part in (raw.train, raw.test) if part and not isinstance(part.images, np.ndarray)]
    return [image.source for images in parts for image in images if isinstance(image.source, Path)]


def files_below(path: Path) -> list[Path]:
    """A file itself, or every file below a folder."""
    if not path.is_dir():
        return [path]
    return [Path(folder) / name for folder, _, names in os.walk(path, followlinks=False) for name in names]


@dataclass(frozen=True)
class Form:
    """A form in which data sets are read.

    Attributes:
        words: What it is, for messages.
        matches: Whether a file or folder is in this form. It looks at names and first bytes alone.
        read: Reads it. Image files are listed, not decoded.
        files: The files that it consists of; where one changes, the data set is converted again.
    """

    words: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], RawData]
    files: Callable[[Path], Iterable[Path]] = files_below


def part_named(name: object) -> str | None:
    """The part that goes by this name: "train", "test" or "validation"; None where it is no such name.

    Examples:
        >>> part_named("Training"), part_named("cat")
        ('train', None)
    """
    words = str(name).strip().lower()
    return next((part for part, names in PART_NAMES.items() if words in names), None)


def part_begun(name: str) -> str | None:
    """The part whose name is the first word of this one, such as "train" of "train_labels"; None where it is none."""
    return part_named(re.split(r"[\W_]", name)[0])


def check_room(what: object, n_bytes: int) -> None:
    """Refuse what needs more memory than there is, before any is taken."""
    if n_bytes > (free := free_bytes()):
        raise DataError(f"{what}: needs {n_bytes / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free here")


def names_in(folder: Path) -> set[str]:
    """Names of the files and folders in a folder; none where it is no folder."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def joined(parts: Sequence[Part]) -> Part:
    """Several parts as one."""
    if all(isinstance(part.images, np.ndarray) for part in parts):
        images: Any = np.concatenate([np.asarray(part.images) for part in parts])
    else:
        images = [image for part in parts for image in part.images]
    return Part(images, np.concatenate([np.asarray(part.labels) for part in parts]))
