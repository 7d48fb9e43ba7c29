"""`Dataset`: labelled images from an `.npz` file, checked on opening, with pickles refused."""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.train.data.forms.form import check_room

IMAGES = ("train_images", "test_images")
KEYS = ("train_images", "train_labels", "test_images", "test_labels", "classes")
UNREADABLE = (
    OSError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, MemoryError, SyntaxError, TokenError,
)  # fmt: skip
"""What zipfile and NumPy raise at files that are damaged, encrypted, or not what they say."""
MAKE_ONE = "numpy.savez(file, train_images=..., train_labels=..., test_images=..., test_labels=..., classes=...)"

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Labelled images, read from disk (or drawn) only when `read` is called.

    Attributes:
        name: Name of the data set, or the path of a user's own file.
        classes: Name of each class; labels are their positions.
        image_size: Height and width in pixels.
        origin: Where the images come from, in words.
        digest: Checksum of images, labels and classes; another one means other data.
        read: Gives the images, uint8 (n, size, size, channels), and labels, int64 (n,), of "train" or "test".
        place: The name with the whole path of a user's own data set, by which it opens from any folder; else empty.
    """

    name: str
    classes: tuple[str, ...]
    image_size: int
    in_channels: int
    n_train: int
    n_test: int
    origin: str
    digest: str
    read: Callable[[str], tuple[Images, Labels]]
    place: str = ""


def open_npz(path: Path, name: str) -> Dataset:
    """The data set of a file; its keys, types, shapes and labels are checked, its images not yet read.

    Where something is wrong, the one line of a `DataError` says what to change.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {key: _header(archive, key, path) for key in KEYS}
            digest = " ".join(f"{archive.getinfo(f'{key}.npy').CRC:08x}" for key in KEYS)
        train, test = (headers[f"{part}_images"][0] for part in ("train", "test"))
        _check(headers, path)
        classes = tuple(_array(path, "classes").astype(str).tolist())
        if problem := names_problem(classes):
            raise DataError(f"{path}: {problem}")
        for part in "train", "test":
            labels = _array(path, f"{part}_labels")
            low, high, last = int(labels.min()), int(labels.max()), len(classes) - 1
            if low < 0 or high > last:
                raise DataError(
                    f"{path}: {part}_labels: values from {low} to {high}; allowed are 0 to {last}, one for each class"
                )
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; make one with {MAKE_ONE}") from None
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({error}); it is damaged or not an .npz file") from None

    def read(part: str) -> tuple[Images, Labels]:
        try:
            check_room(f"{path}: {part}_images", prod(headers[f"{part}_images"][0]))
            images, labels = (_array(path, f"{part}_{kind}") for kind in ("images", "labels"))
        except UNREADABLE as error:
            raise DataError(f"{path}: {part}_images cannot be read ({error}); the file is damaged") from None
        return images.astype(np.uint8, copy=False), labels.astype(np.int64)

    return Dataset(name, classes, train[1], train[3], train[0], test[0], str(path), digest, read)


def names_problem(classes: Sequence[str]) -> str:
    """What is wrong with the names of classes, and what to do; empty where nothing is."""
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        return f"two classes have the name {twice[0]!r}; give each a name of its own"
    return "a class has an empty name; give it one" if "" in classes else ""


def _header(archive: zipfile.ZipFile, key: str, path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    if f"{key}.npy" not in archive.namelist():
        found = ", ".join(n.removesuffix(".npy") for n in archive.namelist()) or "nothing"
        raise DataError(f"{path}: has no {key} (found: {found}); make one with {MAKE_ONE}")
    with archive.open(f"{key}.npy") as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        held, claimed = archive.getinfo(f"{key}.npy").file_size - file.tell(), prod(shape) * dtype.itemsize
    if held != claimed and not dtype.hasobject:
        found = f"claims {claimed:,} bytes and holds {held:,}"
        raise DataError(f"{path}: {key} cannot be read (it {found}); the file is damaged")
    if key not in IMAGES:
        check_room(f"{path}: {key}", claimed)
    return shape, dtype


def _check(headers: dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]], path: Path) -> None:
    for key, (shape, dtype) in headers.items():
        if dtype.hasobject:
            raise DataError(f"{path}: {key} holds Python objects, which are not read for safety; save plain arrays")
        found = f"{path}: {key} is {dtype} of shape {shape}"
        if key.endswith("images") and (dtype != np.uint8 or len(shape) != 4):
            raise DataError(f"{found}; needed is uint8 of shape (images, height, width, channels)")
        if key.endswith("labels") and (dtype.kind not in "iu" or len(shape) != 1):
            raise DataError(f"{found}; needed are whole numbers, one an image")
        if key == "classes" and (dtype.kind not in "US" or len(shape) != 1 or not shape[0]):
            raise DataError(f"{found}; needed is a list of names")
    train, test = headers["train_images"][0], headers["test_images"][0]
    if train[1:] != test[1:] or train[1] != train[2]:
        raise DataError(f"{path}: images of shape {train[1:]} and {test[1:]}; all must be squares of one size")
    for part, shape in ("train", train), ("test", test):
        n_labels = headers[f"{part}_labels"][0][0]
        if 0 in shape:
            found = f"{shape[0]} {part}_images of shape {shape[1:]}"
            raise DataError(f"{path}: {found}; needed is at least one, of one pixel")
        if shape[0] != n_labels:
            raise DataError(f"{path}: {shape[0]} {part}_images but {n_labels} {part}_labels; one label an image")


def _array(path: Path, key: str) -> NDArray[np.generic]:
    with np.load(path, allow_pickle=False) as file:
        return check_characters(file[key])


def check_characters(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself.

    Raises:
        ValueError: Its texts hold numbers that are no characters. Python fails at such a text.
    """
    if array.dtype.kind == "U" and array.nbytes:
        numbers = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if numbers.max() > sys.maxunicode:
            raise ValueError("its texts hold what is no character")
    return array
