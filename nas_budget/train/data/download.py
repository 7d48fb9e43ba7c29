"""Download of well-known data sets with torchvision, which verifies them; written once as `.npz`."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from nas_budget.errors import DownloadError

TIMEOUT_S = 20.0
CLASS_NAMES = {
    "svhn": [str(digit) for digit in range(10)],
    "fashion-mnist": ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"],
}


def download(name: str, path: Path) -> None:
    """Fetch the data set `name` and write it to `path`; nothing is left behind on failure.

    Raises:
        DownloadError: No network, a broken archive, a torchvision that does not load, or no room in the folder.
    """
    _writable(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{name}-") as folder, _patience():
        part = Path(folder) / path.name
        try:
            np.savez(part, **_fetch(name, folder))
            part.replace(path)
        except (OSError, RuntimeError, ImportError, HTTPException) as error:
            raise DownloadError(
                f"{name} cannot be downloaded: {_reason(error)}; or put {path} there yourself"
            ) from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "torchvision::" in text:
        return "torchvision does not load beside this torch (install both from one place)"
    if "scipy" in text.lower():
        return f"{text} (pip install scipy)"
    return text


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("permission denied")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DownloadError(f"{folder}: cannot be written ({reason}); choose another with --data-dir") from None


@contextmanager
def _patience() -> Iterator[None]:
    """Set a time limit for a server that does not answer; urllib itself has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _fetch(name: str, folder: str) -> dict[str, Any]:
    from torchvision import datasets  # here only: it is slow to import, and fails beside a torch of another build

    if name == "svhn":
        train, test = (datasets.SVHN(folder, part, download=True) for part in ("train", "test"))
        images = [part.data.transpose(0, 2, 3, 1) for part in (train, test)]
        labels, classes = [part.labels for part in (train, test)], CLASS_NAMES[name]
    else:
        kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "fashion-mnist": datasets.FashionMNIST}
        train, test = (kind[name](folder, train=part, download=True) for part in (True, False))
        images = [
            np.asarray(part.data).reshape(len(part.data), *np.shape(part.data)[1:3], -1) for part in (train, test)
        ]
        labels, classes = [part.targets for part in (train, test)], CLASS_NAMES.get(name, train.classes)
    return {
        "train_images": images[0].astype(np.uint8),
        "train_labels": np.asarray(labels[0], np.uint8),
        "test_images": images[1].astype(np.uint8),
        "test_labels": np.asarray(labels[1], np.uint8),
        "classes": np.array(classes),
    }
