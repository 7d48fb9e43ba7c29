"""`find_form`: which form the data at a path are in."""

from __future__ import annotations

from pathlib import Path

from nas_budget.errors import DataError
from nas_budget.train.data.forms.arrays import NPY, NPZ
from nas_budget.train.data.forms.cifar import CIFAR10, CIFAR100
from nas_budget.train.data.forms.form import Form, files_below, part_named
from nas_budget.train.data.forms.idx import IDX
from nas_budget.train.data.forms.image_folder import IMAGE_FOLDER, holds_classes, is_hidden, subfolders
from nas_budget.train.data.forms.image_table import IMAGE_TABLE
from nas_budget.train.data.forms.stl10 import STL10
from nas_budget.train.data.forms.svhn import SVHN
from nas_budget.train.data.image_files import OTHER_IMAGES

PUBLISHED = (CIFAR10, CIFAR100, IDX, SVHN, STL10)
FORMS: tuple[Form, ...] = (*PUBLISHED, NPZ, NPY, IMAGE_TABLE, IMAGE_FOLDER)
"""Every form, in the order in which they are tried."""
DEEPEST = 3
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def find_form(path: Path) -> tuple[Path, Form]:
    """The form that a file or folder is in, and the path that holds it, which may lie in a folder below.

    Raises:
        DataError: It is missing, or in no form that is read; the line lists those that are.
    """
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        for form in PUBLISHED:
            if (found := _below(path, form, DEEPEST)) is not None:
                return found, form
        path = _unwrapped(path)
        for form in FORMS:
            if form.matches(path):
                return path, form
        raise DataError(f"{path}: {_what_it_is(path)}")
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None


def _unwrapped(path: Path) -> Path:
    """The folder that holds more than one folder alone: an archive often unpacks into one in one."""
    for _ in range(DEEPEST):
        within = [one for one in path.iterdir() if not is_hidden(one)] if path.is_dir() else []
        if len(within) != 1 or part_named(within[0].name) or not (within[0].is_dir() and holds_classes(within[0])):
            break
        path = within[0]
    return path


def _what_it_is(path: Path) -> str:
    """Why a path is not read, and what to give instead."""
    if path.is_file():
        for form in PUBLISHED:
            if form.matches(path.parent):
                return f"is not read by itself; give the folder, {path.parent}, as {form.words}"
    if path.suffix.lower() in ARCHIVES:
        return "is an archive; unpack it and give the folder"
    others = sorted({file.suffix.lower() for file in files_below(path)}.intersection(OTHER_IMAGES))
    if others:
        return f"images of type {', '.join(others)} are not read; convert them to JPEG or PNG"
    return f"is in no form that is read; give {forms_in_words()}"


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
