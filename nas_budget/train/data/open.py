"""Opening a data set by its name, or by the path of a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nas_budget.errors import DataError, DownloadError, UsageError
from nas_budget.train.data.conversion.cache import open_converted, warnings_of
from nas_budget.train.data.conversion.options import HELP, ReadOptions, split_options
from nas_budget.train.data.dataset import Dataset, open_npz
from nas_budget.train.data.forms.arrays import NPZ
from nas_budget.train.data.forms.registry import find_form
from nas_budget.train.data.synthetic import synthetic

NAMED = ("cifar10", "cifar100", "fashion-mnist", "svhn")


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder of the data sets: the one given, else `NAS_BUDGET_DATA`, else the user's cache folder."""
    if chosen := folder or os.environ.get("NAS_BUDGET_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "nas-budget"


def open_dataset(
    name: str, folder: str | Path | None = None, on_message: Callable[[str], None] = print,
    on_share: Callable[[float], None] = lambda _: None, like: ReadOptions | None = None,
) -> Dataset:  # fmt: skip
    """The data set of a name, or of the path of a file or folder.

    A file of our own form, an `.npz` of `train_images`, `train_labels`, `test_images`, `test_labels` and `classes`, is
    read where it lies, and warnings about it are looked for once. Every other form is converted to it once, and kept
    in the folder of the data sets. It is converted again when a file of it changes. Forms are folders of images by
    class, tables of images and labels, published files of CIFAR-10, CIFAR-100, MNIST, SVHN and STL-10, and arrays of
    NumPy.

    Args:
        name: "cifar10", "cifar100", "fashion-mnist" or "svhn", downloaded once; "shapes", synthetic images that need no
            download; "auto", CIFAR-10 if it is on disk or can be downloaded, else "shapes"; or a path. Options of
            `ReadOptions` may follow a path: "photos,size=64,fit=pad".
        folder: Folder of the data sets; None for `data_folder()`.
        on_message: Called with a line for a person: which images "auto" is and why, what was changed in images and
            labels, and warnings.
        on_share: Called with the share of a conversion that is done, 0 to 1.
        like: Size and channels of images whose name leaves them open, such as those of a network.

    Examples:
        >>> dataset = open_dataset("shapes")
        >>> dataset.n_train, dataset.n_test, dataset.image_size, len(dataset.classes)
        (20000, 4000, 32, 10)
        >>> import numpy as np
        >>> import tempfile
        >>> images, labels = np.arange(96, dtype=np.uint8).reshape(6, 4, 4, 1), np.array([0, 1, 0, 1, 0, 1])
        >>> with tempfile.TemporaryDirectory() as own:
        ...     np.savez(
        ...         f"{own}/mine.npz", train_images=images, train_labels=labels, test_images=images + 9,
        ...         test_labels=labels, classes=["cat", "dog"],
        ...     )
        ...     open_dataset(f"{own}/mine.npz", own).classes
        ('cat', 'dog')

    Raises:
        UsageError: An unknown name.
        DataError: Data that are missing, damaged or in an unknown form, or a download that failed.
    """
    if name == "shapes":
        return synthetic()
    if name == "auto":
        try:
            return open_dataset("cifar10", folder, on_message)
        except DownloadError as error:
            on_message(f"NOTE: {error}")
            on_message("NOTE: the study uses the built-in synthetic images (shapes) instead of CIFAR-10")
            return synthetic()
    if name in NAMED:
        path = data_folder(folder) / f"{name}.npz"
        if not path.exists():
            from nas_budget.train.data.download import download

            on_message(f"{name} is not in {path.parent}; downloading it once.")
            download(name, path)
        return open_npz(path, name)
    given, _ = split_options(name)
    place = f"{Path(given).expanduser().absolute()}{name[len(given) :]}"
    return replace(_open_path(name, data_folder(folder), on_message, on_share, like), place=place)


def open_recorded(
    name: str, place: str, folder: str | Path | None = None, on_message: Callable[[str], None] = print,
    on_share: Callable[[float], None] = lambda _: None,
) -> Dataset:  # fmt: skip
    """The data set of a study or a run: from where it lay then, or by its name where it lies there no more.

    Args:
        name: As it was recorded, and as the data set is called.
        place: `Dataset.place` of then; empty where that is not known.
        folder: As `open_dataset` takes it.
        on_message: As `open_dataset` takes it.
        on_share: As `open_dataset` takes it.

    Raises:
        DataError: They lie nowhere any more, or as `open_dataset` raises it.
    """
    if place:
        lay, here = (Path(split_options(one)[0]).expanduser() for one in (place, name))
        if _is_there(lay):
            return replace(open_dataset(place, folder, on_message, on_share), name=name)
        if not _is_there(here):
            raise DataError(f"{lay}: no such file or folder")
    return open_dataset(name, folder, on_message, on_share)


def _is_there(path: Path) -> bool:
    """Whether there is such a path; none where one may not look, as in another user's home."""
    try:
        return path.exists()
    except OSError:
        return False


def _open_path(
    name: str, folder: Path, on_message: Callable[[str], None], on_share: Callable[[float], None],
    like: ReadOptions | None,
) -> Dataset:  # fmt: skip
    """The data set of a path, with options behind it: as it lies there, or converted."""
    given, options = split_options(name)
    path = Path(given).expanduser()
    if given.endswith(".npz") and options == ReadOptions():
        try:
            dataset = open_npz(path, name)
            for warning in warnings_of(dataset, folder):
                on_message(f"WARNING: {warning}")
            return dataset
        except DataError:
            if not NPZ.matches(path):  # no images and labels by other names or of other types either
                raise
    if not path.exists() and not _is_path(given):
        known = ", ".join(("auto", *NAMED, "shapes"))
        raise UsageError(f"data: {name!r} is unknown; allowed are {known}, or a path of images")
    if like is not None:
        options = split_options(name, like)[1]
    if not path.exists() and "," in given:
        raise DataError(f"{path}: no such file or folder; options behind a path are {HELP}")
    place, form = find_form(path)
    return open_converted(place, name, form, options, folder, on_message, on_share)


def _is_path(text: str) -> bool:
    """Whether a text looks like a path rather than a name."""
    return bool(Path(text).suffix) or any(mark in text for mark in ("/", "\\", "~"))
