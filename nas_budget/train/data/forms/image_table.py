"""Tables of images and labels: CSV and Parquet files, of paths, of bytes, or of pixels in columns."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas_budget.errors import DataError
from nas_budget.train.data.conversion.labels import few_of
from nas_budget.train.data.forms.arrays import of_parts
from nas_budget.train.data.forms.form import (
    TEST_NAMES,
    TRAIN_NAMES,
    VALIDATION_NAMES,
    Form,
    ImageFile,
    Part,
    RawData,
    joined,
)
from nas_budget.train.data.image_files import SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".tsv", ".parquet")
IMAGES = (
    "image", "img", "file_name", "filename", "file", "path", "filepath", "file_path", "image_path", "image_name",
    "image_id", "id",
)  # fmt: skip
"""What the column of images is called, the surest first. Letters may be large or small."""
LABELS = (
    "label", "labels", "class", "target", "category", "class_name", "class_id", "label_name", "fine_label", "y",
    "species", "breed",
)  # fmt: skip
PARTS = ("split", "set", "partition", "subset", "part", "fold")
PART_NAMES = {"train": TRAIN_NAMES, "test": TEST_NAMES, "validation": VALIDATION_NAMES}
LEAST_PIXELS = 16
"""Columns of numbers from which on these are the pixels of an image."""
SHAPE = "needed are a column of images (such as image or path) and one of labels (such as label or class)"


def is_table(path: Path) -> bool:
    """Whether this is a CSV or Parquet file, or a folder with such files for each part."""
    return (path.is_file() and path.suffix.lower() in ENDINGS) or "train" in tables_in(path)


def tables_in(path: Path) -> dict[str, list[Path]]:
    """The tables of each part in a folder or its folder `data`, by how their names begin, as Hugging Face has them."""
    found: dict[str, list[Path]] = {}
    for folder in (path, path / "data"):
        for one in sorted(folder.iterdir()) if folder.is_dir() and not found else ():
            part = _part_of(one.stem.lower().replace("_", "-").split("-")[0])
            if part and one.suffix.lower() in ENDINGS:
                found.setdefault(part, []).append(one)
    return found


def _part_of(name: object) -> str | None:
    words = str(name).strip().lower()
    return next((part for part, names in PART_NAMES.items() if words in names), None)


def _tables(path: Path) -> dict[str, list[Path]]:
    return tables_in(path) if path.is_dir() else {"train": [path]}


def read_tables(path: Path) -> RawData:
    """Images and labels of tables. A column such as `split` says which rows are for training and which for testing."""
    notes: list[str] = []
    found: dict[str, Part] = {}
    classes: tuple[str, ...] | None = None
    for part, tables in _tables(path).items():
        for table in tables:
            classes = classes or _names_of_classes(table)
            for name, rows in _by_part(_read(table), part, table).items():
                try:
                    read = _rows(rows, table)
                except _NoLabelsError as error:
                    if name == "train":
                        raise
                    notes.append(f"{table.name} has no labels ({error}) and is left out")
                    continue
                found[name] = joined([found[name], read]) if name in found else read
    return of_parts(found, classes, tuple(notes))


class _NoLabelsError(DataError):
    """A table without labels, as those of test images often are."""


def _read(path: Path) -> pd.DataFrame:
    """The rows of a table."""
    import pandas as pd  # here only: it is slow to import

    try:
        if path.suffix.lower() == ".parquet":
            if find_spec("pyarrow") is None:
                raise DataError(
                    f"{path}: Parquet files need pyarrow; install it with pip install 'nas-budget[parquet]'"
                )
            frame = pd.read_parquet(path, engine="pyarrow")
        else:
            frame = _read_text(path)
    except DataError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        words = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read ({words}); it is damaged or no table") from None
    if frame.empty:
        raise DataError(f"{path}: has no rows; {SHAPE}")
    return frame


def _read_text(path: Path) -> pd.DataFrame:
    """The rows of a text file; between columns are commas, semicolons or tabs. A class may be called NA."""
    import pandas as pd

    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    separator = max(",;\t", key=first.count)
    return pd.read_csv(path, sep=separator, encoding="utf-8-sig", keep_default_na=False, na_values=[""])


def _names_of_classes(path: Path) -> tuple[str, ...] | None:
    """Names of the classes of a Parquet file that Hugging Face's `datasets` wrote."""
    if path.suffix.lower() != ".parquet" or find_spec("pyarrow") is None:
        return None
    from pyarrow.parquet import read_schema

    try:
        about = json.loads((read_schema(path).metadata or {}).get(b"huggingface", b"{}"))
        features = about["info"]["features"]
        names = next(one["names"] for name, one in features.items() if name.lower() in LABELS and "names" in one)
        return tuple(map(str, names))
    except Exception:  # without names their numbers will do
        return None


def _by_part(frame: pd.DataFrame, part: str, path: Path) -> dict[str, pd.DataFrame]:
    """The rows of each part, by a column that says it; else all of them are of one part."""
    column = _column(frame, PARTS)
    if column is None:
        return {part: frame}
    parts = frame[column].map(_part_of)
    if parts.isna().any():
        other = frame[column][parts.isna()].iloc[0]
        if column.lower() in ("split", "partition", "subset"):
            raise DataError(f"{path}: {column} is {other!r} in a row; allowed are train, test and validation")
        return {part: frame}  # a column of another meaning, such as numbers of folds
    return {name: frame[parts == name] for name in parts.unique()}


def _column(frame: pd.DataFrame, names: Iterable[str]) -> str | None:
    """The first column of a known name."""
    found = {str(column).strip().lower(): column for column in frame.columns}
    return next((found[name] for name in names if name in found), None)


def _rows(frame: pd.DataFrame, path: Path) -> Part:
    """Images and labels of the rows of a table."""
    label = _column(frame, LABELS)
    pixels = [one for one in frame.columns if one != label and frame[one].dtype.kind in "iuf"]
    if len(pixels) >= LEAST_PIXELS and len(pixels) >= len(frame.columns) - 2:
        if label is None:
            raise _NoLabelsError(f"{path}: has no column of labels; {SHAPE}")
        return Part(frame[pixels].to_numpy(), _labels(frame, label))
    image = _column(frame, IMAGES)
    if image is None or (label is not None and not _holds_images(frame[image])):
        image = next((one for one in frame.columns if one != label and _holds_images(frame[one])), image)
    if label is None and image is not None and len(frame.columns) == 2:
        label = next(one for one in frame.columns if one != image)
    found = f"found: {few_of(list(map(str, frame.columns)))}"
    if image is None:
        raise DataError(f"{path}: has no column of images ({found}); {SHAPE}")
    if label is None:
        raise _NoLabelsError(f"{path}: has no column of labels ({found}); {SHAPE}")
    files = [_image(value, row, path) for row, value in enumerate(frame[image].tolist(), 1)]
    return Part(files, _labels(frame, label))


def _labels(frame: pd.DataFrame, label: str) -> np.ndarray[Any, Any]:
    values = frame[label]
    return np.asarray(values.tolist() if values.dtype.kind in "biuf" else values.to_numpy(object))


def _holds_images(column: pd.Series[Any]) -> bool:
    """Whether the first value of a column is the path or the bytes of an image."""
    value = column.iloc[0]
    return isinstance(value, bytes | dict) or (isinstance(value, str) and Path(value).suffix.lower() in SUFFIXES)


def _image(value: object, row: int, table: Path) -> ImageFile:
    """The image of a cell: its bytes, its path, or both as Hugging Face stores them."""
    name = f"row {row:,}"
    if isinstance(value, dict):
        path = value.get("path")
        value = value.get("bytes") or path
        name = f"{name} ({path})" if isinstance(path, str) else name
    if isinstance(value, bytes):
        return ImageFile(name, value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return ImageFile(f"{name} ({value})", _file(str(value), table))
    raise DataError(f"{table}: {name} has no image; needed is a path or the bytes of an image")


def _file(text: str, table: Path) -> Path:
    """The file that a cell names, beside its table or in a folder `images` there; an ending may be missing."""
    for folder in (table.parent, table.parent / "images", table.parent / table.stem):
        for ending in ("", ".jpg", ".png", ".jpeg"):
            if (found := folder / f"{text}{ending}").is_file():
                return found
    return table.parent / text


def _files(path: Path) -> list[Path]:
    """The tables, and the images that those of text name; Parquet files mostly hold the images themselves."""
    tables = [table for tables in _tables(path).values() for table in tables]
    if any(table.suffix.lower() == ".parquet" for table in tables):
        return tables
    raw = read_tables(path)
    parts = [part.images for part in (raw.train, raw.test) if part and not isinstance(part.images, np.ndarray)]
    images = [one.source for images in parts for one in images if isinstance(one.source, Path)]
    return [*tables, *(image for image in images if image.is_file())]


IMAGE_TABLE = Form("a CSV or Parquet file of images and labels", is_table, read_tables, _files)
