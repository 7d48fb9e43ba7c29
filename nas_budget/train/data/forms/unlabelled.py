"""`read_unlabelled`: images of a competition's test set, which have no labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.train.data.dataset import UNREADABLE
from nas_budget.train.data.forms.arrays import array_in, read_array
from nas_budget.train.data.forms.cifar import SHAPE
from nas_budget.train.data.forms.form import ImageFile
from nas_budget.train.data.forms.idx import FILE as IDX_FILE
from nas_budget.train.data.forms.idx import read_idx
from nas_budget.train.data.forms.image_table import ENDINGS, read_unlabelled_table
from nas_budget.train.data.forms.safe_pickle import read_pickle
from nas_budget.train.data.image_files import SUFFIXES

NAMES = ("test_images", "x_test", "X_test", "images", "data", "x", "X")
"""What the images are called in an `.npz` file or a pickled dictionary, the first that is there."""
IDS = ("ids", "id", "ID", "filenames")
"""What says beside the images how each is called in a submission, the first that is there."""
NEEDED = "a folder of images, a CSV or Parquet file, .npy, .npz, an idx file, or a pickle of arrays"

PICKLES = (".pkl", ".pickle", "")
PICKLE = b"\x80"
"""How pickles begin that Python 3 writes, whatever they are called."""


class Unlabelled(NamedTuple):
    """The images of a test set, and how each is called.

    Attributes:
        images: As the file has them: an array with one a row, or files.
        ids: As the file says, or else the numbers of the rows from 0.
    """

    images: NDArray[Any] | Sequence[ImageFile]
    ids: list[str]


def read_unlabelled(path: Path, channels: int = 1) -> Unlabelled:
    """The images of a table, of an `.npy`, `.npz` or idx file or of a pickle, as they are; labels are not looked at.

    Rows of 3,072 values become images of CIFAR, (n, 3, 32, 32).

    Args:
        path: The file.
        channels: Of the images that are wanted. Of more than one a single image may be given by itself, such as
            (height, width, 3).

    Raises:
        DataError: It is missing, damaged, of another type, holds no images by a known name, or another number of IDs
            than of images.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give {NEEDED}")
    if path.suffix.lower() in SUFFIXES:
        raise DataError(f"{path}: holds no array of images; give {NEEDED}")
    images, ids = _images_and_ids(path)
    if isinstance(images, np.ndarray):
        if images.ndim == 2 and images.shape[1] == np.prod(SHAPE):
            images = images.reshape(-1, *SHAPE)
        if ids is None and images.ndim == 3 and channels > 1 and channels in (images.shape[0], images.shape[2]):
            images = images[None]
        if images.ndim < 2 or not len(images):
            raise DataError(f"{path}: holds an array of shape {images.shape}; needed are images")
    names = [*range(len(images))] if ids is None else np.asarray(ids).reshape(-1).tolist()
    if len(names) != len(images):
        raise DataError(f"{path}: {len(images)} images but {len(names)} IDs; one an image")
    return Unlabelled(
        images, [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names]
    )


def _images_and_ids(path: Path) -> tuple[NDArray[Any] | Sequence[ImageFile], Any]:
    """What a file holds; no IDs where it names none."""
    if path.suffix.lower() in ENDINGS:
        return read_unlabelled_table(path)
    if path.suffix.lower() == ".npy":
        return read_array(path), None
    if path.suffix.lower() == ".npz":
        return _in_npz(path)
    if IDX_FILE.match(path.name):
        return read_idx(path), None
    if path.suffix.lower() in PICKLES or _begins_with(path, PICKLE):
        return _in_pickle(path)
    raise DataError(f"{path}: is of no type that is read here; give {NEEDED}")


def _begins_with(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _in_npz(path: Path) -> tuple[NDArray[Any], Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file.files)
            images = array_in(path, file, _name_among(path, names))
            ids = next((array_in(path, file, name) for name in IDS if name in names), None)
            return images, ids
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({error}); it is damaged or not an .npz file") from None


def _in_pickle(path: Path) -> tuple[NDArray[Any], Any]:
    values, ids = read_pickle(path), None
    if isinstance(values, dict):
        named = {key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key): key for key in values}
        ids = next((values[named[name]] for name in IDS if name in named), None)
        values = values[named[_name_among(path, list(named))]]
    if not isinstance(values, np.ndarray):
        raise DataError(f"{path}: holds a {type(values).__name__} where an array of images is needed")
    return values, ids


def _name_among(path: Path, names: list[str]) -> str:
    known = [name for name in NAMES if name in names] or (names if len(names) == 1 else [])
    if not known:
        raise DataError(f"{path}: has {', '.join(names[:8]) or 'no arrays'}; needed is one of {', '.join(NAMES)}")
    return known[0]
