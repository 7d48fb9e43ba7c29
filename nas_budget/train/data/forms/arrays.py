"""Arrays of NumPy: `.npz` files as Keras, MedMNIST and others write them, and `.npy` files with labels beside them."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.train.data.dataset import UNREADABLE, check_characters
from nas_budget.train.data.forms.form import Form, Part, RawData, check_room, joined

NAMES = (
    {"train": ("train_images", "train_labels"), "validation": ("val_images", "val_labels"),
     "test": ("test_images", "test_labels")},
    {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")},
    {"train": ("X_train", "y_train"), "validation": ("X_val", "y_val"), "test": ("X_test", "y_test")},
    {"train": ("images", "labels")}, {"train": ("x", "y")}, {"train": ("X", "y")}, {"train": ("data", "labels")},
)  # fmt: skip
"""Names of images and labels that go together."""
CLASSES = ("classes", "class_names", "label_names")
LABELS_BESIDE = {"images": "labels", "x": "y", "X": "y", "data": "labels"}
"""What the labels of an `.npy` file are called, by what its images are."""


def is_npz(path: Path) -> bool:
    """Whether this is a file of several arrays that hold images and labels by known names."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        return any(set(kinds["train"]) <= _names(path) for kinds in NAMES)
    except UNREADABLE:
        return False


def _names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def read_npz(path: Path) -> RawData:
    """Images and labels of an `.npz` file by the first known names."""
    try:
        names = _names(path)
        kinds = next(kinds for kinds in NAMES if set(kinds["train"]) <= names)
        with np.load(path, allow_pickle=False) as file:
            found = {
                part: Part(array_in(path, file, images), array_in(path, file, labels))
                for part, (images, labels) in kinds.items()
                if {images, labels} <= names
            }
            classes = next((array_in(path, file, name) for name in CLASSES if name in names), None)
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({error}); it is damaged or not an .npz file") from None
    left_out = tuple(
        f"{images} has no labels ({labels}) and is left out"
        for images, labels in kinds.values()
        if images in names and labels not in names
    )
    return of_parts(found, None if classes is None else _texts(classes, path), left_out)


def of_parts(found: dict[str, Part], classes: tuple[str, ...] | None, notes: tuple[str, ...] = ()) -> RawData:
    """The data set of parts: validation images are test images if there are no others, and else training images."""
    train, test, validation = (found.get(part) for part in ("train", "test", "validation"))
    if train is None:
        raise DataError("there are no training images")
    if validation is not None:
        if test is None:
            test, note = validation, "the images for validation are the test images"
        else:
            train = joined([train, validation])
            note = "the images for validation join the training images; some of all are for validation"
        notes = (*notes, note)
    return RawData(train, test, classes, notes)


def array_in(path: Path, file: Any, name: str) -> NDArray[Any]:
    """An array of a file, of which the header is looked at first."""
    with file.zip.open(f"{name}.npy") as content, _of_python_2():
        _check_header(f"{path}: {name}", content)
        return check_characters(file[name])


@contextmanager
def _of_python_2() -> Iterator[None]:
    """Files that Python 2 wrote are read as others are: NumPy's advice to save them again is of no use here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*was created on Python 2", UserWarning)
        yield


def _check_header(what: str, file: Any) -> None:
    """Refuse an array of Python objects, and one that claims more than there is memory for."""
    version = npy.read_magic(file)
    shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise DataError(f"{what} holds Python objects, which are not read for safety; save plain arrays")
    check_room(what, prod(shape) * dtype.itemsize)


def _texts(classes: NDArray[Any], path: Path) -> tuple[str, ...]:
    if classes.ndim != 1 or classes.dtype.kind not in "USTiu":
        raise DataError(f"{path}: classes are {classes.dtype} of shape {classes.shape}; needed is a list of names")
    return tuple(one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in classes.tolist())


def labels_beside(path: Path) -> Path | None:
    """The file of labels that belongs to an `.npy` file of images, where there is one."""
    for images, labels in LABELS_BESIDE.items():
        if images in path.stem and (found := path.with_name(path.name.replace(images, labels))).is_file():
            return found
    return None


def _parts_beside(path: Path) -> dict[str, Path]:
    """The files of images of the training and test part, by the name of one of them."""
    found = {"train": path}
    for train, test in ("train", "test"), ("Train", "Test"):
        for given, other, part in (train, test, "test"), (test, train, "train"):
            if given in path.stem and (beside := path.with_name(path.name.replace(given, other))).is_file():
                found = {**found, "test" if part == "train" else "train": path, part: beside}
    return found


def is_npy(path: Path) -> bool:
    """Whether this is a file of one array."""
    return path.suffix.lower() == ".npy" and path.is_file()


def read_npy(path: Path) -> RawData:
    """Images of an `.npy` file, the labels that lie beside it, and the test images likewise."""
    found = {}
    for part, images in _parts_beside(path).items():
        labels = labels_beside(images)
        if labels is None:
            raise DataError(
                f"{images}: has no labels beside it; name the two files images.npy and labels.npy, or x_train.npy and "
                "y_train.npy"
            )
        found[part] = Part(read_array(images), read_array(labels))
    return of_parts(found, None)


def read_array(path: Path) -> NDArray[Any]:
    """The array of an `.npy` file, of which the header is looked at first."""
    try:
        with path.open("rb") as file, _of_python_2():
            _check_header(str(path), file)
            return check_characters(np.load(path, allow_pickle=False))
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({error}); it is damaged or not an .npy file") from None


def _npy_files(path: Path) -> list[Path]:
    images = [*_parts_beside(path).values()]
    return [*images, *filter(None, map(labels_beside, images))]


NPZ = Form("an .npz file of images and labels", is_npz, read_npz)
NPY = Form("an .npy file with its labels beside it", is_npy, read_npy, _npy_files)
