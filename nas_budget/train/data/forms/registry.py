"""`find_form`: which form the data at a path are in."""

from __future__ import annotations

from pathlib import Path

from nas_budget.errors import DataError
from nas_budget.train.data.forms.arrays import NPY, NPZ
from nas_budget.train.data.forms.cifar import CIFAR10, CIFAR100
from nas_budget.train.data.forms.form import Form
from nas_budget.train.data.forms.idx import IDX
from nas_budget.train.data.forms.image_folder import IMAGE_FOLDER, subfolders
from nas_budget.train.data.forms.image_table import IMAGE_TABLE
from nas_budget.train.data.forms.stl10 import STL10
from nas_budget.train.data.forms.svhn import SVHN

PUBLISHED = (CIFAR10, CIFAR100, IDX, SVHN, STL10)
FORMS: tuple[Form, ...] = (*PUBLISHED, NPZ, NPY, IMAGE_FOLDER, IMAGE_TABLE)
"""Every form, in the order in which they are tried."""
DEEPEST = 3
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def find_form(path: Path) -> tuple[Path, Form]:
    """The form that a file or folder is in, and the path that holds it: a published one may lie in folders below.

    Raises:
        DataError: It is missing, or in no form that is read; the line lists those that are.
    """
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; give {forms_in_words()}")
        for form in PUBLISHED:
            if (found := _below(path, form, DEEPEST)) is not None:
                return found, form
        for form in FORMS:
            if form.matches(path):
                return path, form
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None
    if path.suffix.lower() in ARCHIVES:
        raise DataError(f"{path}: is an archive; unpack it and give the folder")
    raise DataError(f"{path}: is in no form that is read; give {forms_in_words()}")


def forms_in_words() -> str:
    """Every form that is read, in one line."""
    # Those that most people have come first.
    words = [form.words for form in (IMAGE_FOLDER, IMAGE_TABLE, NPZ, NPY, *PUBLISHED)]
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _below(path: Path, form: Form, depth: int) -> Path | None:
    """The path itself if it is in this form, or else the one below it that is: archives unpack into such folders."""
    if form.matches(path):
        return path
    if depth == 0 or not path.is_dir():
        return None
    below = subfolders(path)
    if len(below) > DEEPEST:  # folders of classes, not of an archive
        return None
    found = [one for one in (_below(folder, form, depth - 1) for folder in below) if one is not None]
    return found[0] if len(found) == 1 else None
