"""Download of well-known data sets with torchvision, which verifies them; written once as `.npz`."""

from __future__ import annotations

import os
import socket
import tempfile
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
    """Fetch the data set `name` and write it to `path`. On failure nothing is left, and `DownloadError` says why."""
    _check_writable(path.parent)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)  # urllib itself waits forever for a server that does not answer
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{name}-") as folder:
            part = Path(folder) / path.name
            np.savez(part, **_fetch(name, folder))
            part.replace(path)
    except (OSError, RuntimeError, ImportError, HTTPException) as error:
        raise DownloadError(f"{name} cannot be downloaded: {_reason(error)}; or put {path} there yourself") from None
    finally:
        socket.setdefaulttimeout(timeout)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "torchvision::" in text:
        return "torchvision does not load beside this torch (install both from one place)"
    if "scipy" in text.lower():
        return f"{text} (pip install scipy)"
    return text


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("permission denied")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DownloadError(f"{folder}: cannot be written ({reason}); choose another with --data-dir") from None


def _fetch(name: str, folder: str) -> dict[str, Any]:
    from torchvision import datasets  # here only: it is slow to import, and fails beside a torch of another build

    kinds = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "fashion-mnist": datasets.FashionMNIST}
    arrays = {}
    for part in "train", "test":
        if name == "svhn":
            read: Any = datasets.SVHN(folder, part, download=True)
            images, labels, classes = read.data.transpose(0, 2, 3, 1), read.labels, CLASS_NAMES[name]
        else:
            read = kinds[name](folder, train=part == "train", download=True)
            images, labels, classes = np.asarray(read.data), read.targets, CLASS_NAMES.get(name, read.classes)
        arrays[f"{part}_images"] = images.reshape(*images.shape[:3], -1).astype(np.uint8)
        arrays[f"{part}_labels"] = np.asarray(labels, np.uint8)
    return {**arrays, "classes": np.array(classes)}
