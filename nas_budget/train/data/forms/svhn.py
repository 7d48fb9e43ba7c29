"""`train_32x32.mat` and `test_32x32.mat`, as SVHN is published."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from nas_budget.errors import DataError
from nas_budget.train.data.forms.form import Form, Part, RawData, check_room, names_in

FILES = ("train_32x32.mat", "test_32x32.mat")
DIGITS = tuple(map(str, range(10)))


def is_svhn(path: Path) -> bool:
    """Whether this is a folder with the files of SVHN, or one of these files."""
    return (path.is_file() and path.name in FILES) or bool({*FILES} & names_in(path))


def svhn_files(path: Path) -> list[Path]:
    """The two files of SVHN, where the folder or one of them is given."""
    folder = path if path.is_dir() else path.parent
    return [folder / name for name in FILES]


def read_svhn(path: Path) -> RawData:
    """SVHN: digits, of which the file calls the zero 10."""
    files = svhn_files(path)
    if missing := [file.name for file in files if not file.is_file()]:
        raise DataError(f"{path}: has no {' and no '.join(missing)} beside it")
    train, test = map(_part, files)
    return RawData(train, test, DIGITS)


def _part(path: Path) -> Part:
    from scipy.io import loadmat, whosmat  # here only: it is slow to import

    try:
        shapes = {name: shape for name, shape, _ in whosmat(path)}
        if not {"X", "y"} <= shapes.keys():
            raise DataError(
                f"{path}: has no X and y (found: {', '.join(shapes) or 'nothing'}); it is damaged or no file of SVHN"
            )
        check_room(path, sum(prod(shapes[name]) for name in ("X", "y")))
        found = loadmat(path, variable_names=["X", "y"])
        images, labels = np.asarray(found["X"]), np.asarray(found["y"]).reshape(-1)
    except DataError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise DataError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); it is damaged or no .mat file"
        ) from None
    if images.ndim != 4 or images.dtype != np.uint8 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: X is {images.dtype} of shape {images.shape}; needed is uint8 of (32, 32, 3, n)")
    return Part(images.transpose(3, 0, 1, 2), np.where(labels == len(DIGITS), 0, labels))


SVHN = Form("SVHN's .mat files", is_svhn, read_svhn, lambda path: [file for file in svhn_files(path) if file.is_file()])
