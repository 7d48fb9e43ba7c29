"""`open_converted`: a data set of another form, converted once and kept in the folder of the data sets."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import DataError, StorageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.train.data.conversion.checks import numbered, warnings_for
from nas_budget.train.data.conversion.convert import convert
from nas_budget.train.data.conversion.options import ReadOptions
from nas_budget.train.data.dataset import Dataset, open_npz
from nas_budget.train.data.forms.form import Form
from nas_budget.untrusted import read_json, read_text

VERSION = "2"
"""Of how images are converted; another one has everything converted again."""
FOLDER = "converted"
NOTES = "notes"
MOST_BYTES = 10**6


def open_converted(
    path: Path, name: str, form: Form, options: ReadOptions, folder: Path, on_message: Callable[[str], None],
    on_share: Callable[[float], None],
) -> Dataset:  # fmt: skip
    """The data set of a file or folder, from the folder of the data sets if it is there already.

    Args:
        path: The file or folder.
        name: What it was asked for by.
        form: The form that it is in.
        options: How its images are read.
        folder: Folder of the data sets. The converted images lie in its folder `converted`.
        on_message: Called with a line for everything that was changed, and for warnings.
        on_share: Called with the share of a conversion that is done, 0 to 1.

    Raises:
        DataError: Files that cannot be read or are no images with labels.
        StorageError: A folder that cannot be written.
    """
    cached = folder / FOLDER / f"{_plain(path)}-{source_key(path, form, options)}.npz"
    found = _kept(cached, name)
    if found is None:
        try:
            arrays, notes = convert(form.read(path), options, on_share)
        except DataError as error:
            said = str(error)
            raise DataError(said if said.startswith(str(path)) else f"{path}: {said}") from None
        except OSError as error:
            raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None
        write_npz(cached, {**arrays, NOTES: np.array(notes, np.str_)})
        found = open_npz(cached, name), notes
    dataset, notes = found
    for note in notes:
        on_message(note)
    return replace(dataset, origin=f"{path}, converted to {cached}")


def warnings_of(dataset: Dataset, folder: Path) -> list[str]:
    """Warnings about a data set in our own form; they are looked for once, and kept by its digest."""
    kept = folder / FOLDER / f"{dataset.digest.replace(' ', '')}.json"
    try:
        return [str(line) for line in read_json(read_text(kept, MOST_BYTES))]
    except (OSError, ValueError, TypeError):
        pass
    arrays: dict[str, NDArray[Any]] = {"classes": np.array(dataset.classes)}
    for part in "train", "test":
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = dataset.read(part)
    found = warnings_for(arrays, [numbered(dataset.n_train, "training"), numbered(dataset.n_test, "test")])
    with suppress(OSError):  # they can be looked for again
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, json.dumps(found))
    return found


def source_key(path: Path, form: Form, options: ReadOptions) -> str:
    """A text that changes with the path, size or time of any file of a data set, and with how it is read."""
    lines = [VERSION, form.words, repr(options), str(path.resolve())]
    try:
        # The whole path, for the same key from every folder; the last link stays, as other files may lie beside it.
        files = form.files(path.parent.resolve() / path.name)
        lines += sorted(f"{file} {_state(file)}" for file in files)
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def _state(file: Path) -> str:
    """Size and time of a file, in a text; "missing" where it is a link to nowhere."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return "missing"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _plain(path: Path) -> str:
    """The name of a path in letters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", path.resolve().stem).strip("-") or "images"


def _kept(cached: Path, name: str) -> tuple[Dataset, list[str]] | None:
    """The data set that was converted before, and what was said then; None where there is none, or it is damaged."""
    if not cached.exists():
        return None
    try:
        dataset = open_npz(cached, name)
        with np.load(cached, allow_pickle=False) as file:
            return dataset, file[NOTES].tolist()
    except (DataError, OSError, ValueError, KeyError):
        return None


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an `.npz` file so that a reader, or a crash, never meets half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
            part = Path(folder) / "part.npz"
            np.savez(part, allow_pickle=False, **arrays)
            part.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); choose another folder with --data-dir"
        ) from None
