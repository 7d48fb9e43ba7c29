"""The folders `cifar-10-batches-py` and `cifar-100-python`, as they are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nas_budget.errors import DataError
from nas_budget.train.data.forms.form import Form, Part, RawData, joined, names_in
from nas_budget.train.data.forms.safe_pickle import read_pickle

SHAPE = (3, 32, 32)
TEN = ("test_batch", "batches.meta")
HUNDRED = {"train", "test", "meta"}


def is_cifar10(path: Path) -> bool:
    """Whether a folder holds the files of CIFAR-10 for Python."""
    names = names_in(path)
    return names.issuperset(TEN) and any(name.startswith("data_batch_") for name in names)


def is_cifar100(path: Path) -> bool:
    """Whether a folder holds the files of CIFAR-100 for Python."""
    return names_in(path) >= HUNDRED and all((path / name).is_file() for name in HUNDRED)


def read_cifar10(path: Path) -> RawData:
    """CIFAR-10: its training images are in several files."""
    batches = sorted(one for one in path.iterdir() if one.name.startswith("data_batch_"))
    train = joined([_batch(batch, b"labels") for batch in batches])
    return RawData(train, _batch(path / TEN[0], b"labels"), _names(path / TEN[1], b"label_names"))


def read_cifar100(path: Path) -> RawData:
    """CIFAR-100 with its hundred fine classes."""
    train, test = (_batch(path / name, b"fine_labels") for name in ("train", "test"))
    return RawData(train, test, _names(path / "meta", b"fine_label_names"))


def _batch(path: Path, labels: bytes) -> Part:
    values = _dictionary(path, b"data", labels)
    images, numbers = np.asarray(values[b"data"]), np.asarray(values[labels])
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != np.prod(SHAPE):
        raise DataError(f"{path}: images are {images.dtype} of shape {images.shape}; needed are uint8 of (n, 3072)")
    return Part(images.reshape(-1, *SHAPE).transpose(0, 2, 3, 1), numbers)


def _names(path: Path, key: bytes) -> tuple[str, ...]:
    names = _dictionary(path, key)[key]
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)


def _dictionary(path: Path, *keys: bytes) -> dict[bytes, Any]:
    """The values of a file by names in bytes, as Python 2 wrote them; Python 3 writes names in text."""
    values = read_pickle(path)
    if isinstance(values, dict):
        values = {key.encode() if isinstance(key, str) else key: value for key, value in values.items()}
    if not isinstance(values, dict) or any(key not in values for key in keys):
        raise DataError(f"{path}: has no {' and '.join(key.decode() for key in keys)}; it is no file of CIFAR")
    return values


CIFAR10 = Form("a folder cifar-10-batches-py", is_cifar10, read_cifar10)
CIFAR100 = Form("a folder cifar-100-python", is_cifar100, read_cifar100)
