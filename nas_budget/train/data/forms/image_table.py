"""Tables of images and labels: CSV and Parquet files, of paths, of bytes, or of pixels in columns."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.records.run_folder import is_file
from nas_budget.train.data.conversion.labels import few_of
from nas_budget.train.data.forms.arrays import of_parts
from nas_budget.train.data.forms.form import (
    Form,
    ImageFile,
    Part,
    RawData,
    joined,
    listed_files,
    part_begun,
    part_named,
)
from nas_budget.train.data.forms.image_folder import is_by_class, subfolders
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
IDS = ("id", "ids", "imageid", "image_id", "filename", "file_name")
"""What a column is called that says how each image is called in a submission, the surest first."""
PARTS = ("split", "set", "partition", "subset", "part", "fold")
LEAST_PIXELS = 16
"""Columns of numbers from which on these are the pixels of an image."""
NO_TABLES = ("sample", "submission")
"""How the names of tables begin that a competition lays beside its images for other uses."""
MOST_FOLDERS = 8
"""In which images are looked for."""
IMAGE_COLUMN = "a column of images (such as image or path)"
SHAPE = f"needed are {IMAGE_COLUMN} and one of labels (such as label or class)"


def is_table(path: Path) -> bool:
    """Whether this is a CSV or Parquet file, or a folder with such files whose images are in no folders of classes."""
    if not path.is_dir():
        return path.suffix.lower() in ENDINGS
    return bool({"train", None} & tables_in(path).keys()) and not is_by_class(path)


def tables_in(path: Path) -> dict[str | None, list[Path]]:
    """The tables of each part in a folder or its folder `data`, by how their names begin, as Hugging Face has them.

    Where none is for training, the only one of another name is, such as `labels.csv`. If there are several, the key of
    these is None.
    """
    found: dict[str | None, list[Path]] = {}
    for folder in (path, path / "data"):
        for one in sorted(folder.iterdir()) if folder.is_dir() and not found else ():
            if one.suffix.lower() in ENDINGS and not one.stem.lower().startswith(NO_TABLES):
                found.setdefault(part_begun(one.stem), []).append(one)
    others = found.pop(None, [])
    if "train" not in found and others:
        found["train" if len(others) == 1 else None] = others
    return found


def _tables(path: Path) -> dict[str, list[Path]]:
    """The tables of each part, where a folder or one of them is given."""
    if not path.is_dir():
        return {"train": [path]}
    found = tables_in(path)
    if several := found.get(None):
        names = few_of([table.name for table in several])
        raise DataError(f"{path}: holds several tables ({names}) and none named train.csv; give one of them")
    return {part: tables for part, tables in found.items() if part}


def read_tables(path: Path) -> RawData:
    """Images and labels of tables. A column such as `split` says which rows are for training and which for testing."""
    notes: list[str] = []
    found: dict[str, Part] = {}
    classes: tuple[str, ...] | None = None
    for part, tables in _tables(path).items():
        for table in tables:
            classes = classes or _names_of_classes(table)
            folders = {part_begun(folder.name) for folder in subfolders(table.parent)}
            for said, rows in _by_part(_read(table), table).items():
                name = said or part
                try:
                    # Where no folder is of the part that a row says, its image lies among the others.
                    read = _rows(rows, table, said if said in folders else part_begun(table.stem))
                except _NoLabelsError:
                    if name == "train":
                        raise
                    notes.append(f"{table.name} has no labels and is left out")
                    continue
                found[name] = joined([found[name], read]) if name in found else read
    return of_parts(found, classes, tuple(notes))


def read_unlabelled_table(path: Path) -> tuple[NDArray[Any] | list[ImageFile], list[str] | None]:
    """Images of a table of a test set, and how each is called, None where nothing says it; labels are not looked at.

    Raises:
        DataError: It cannot be read, or has no images.
    """
    frame = _read(path)
    label, named = _column(frame, LABELS), _column(frame, IDS)
    if pixels := _pixels(frame, label):
        return frame[pixels].to_numpy(), None if named is None else frame[named].astype(str).tolist()
    image = _image_column(frame, label)
    if image is None:
        raise DataError(f"{path}: has no column of images ({_found(frame)}); needed is {IMAGE_COLUMN}, or of pixels")
    names = [one.get("path") if isinstance(one, dict) else one for one in frame[named or image].tolist()]
    ids = [str(name if isinstance(name, str | int) else row) for row, name in enumerate(names)]
    # In the folder for training the names may be the same, and the images are others.
    return _files_of(frame[image], path, part_begun(path.stem) or "test"), ids


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
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not in UTF-8; save it as such, or give the images in folders of classes") from None
    except Exception as error:  # a damaged file can fail in any way
        words = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read ({words}); it is damaged or no table") from None
    if frame.empty:
        raise DataError(f"{path}: has no rows; {SHAPE}")
    return frame


def _read_text(path: Path) -> pd.DataFrame:
    """The rows of a text file; between columns are commas, semicolons or tabs. A class may be called NA.

    Where the first row names an image it is no row of names of columns. What names images or classes stays as it is
    written: 007 is no number.
    """
    import pandas as pd

    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    separator = max(",;\t", key=first.count)
    is_row = any(Path(cell.strip().strip('"')).suffix.lower() in SUFFIXES for cell in first.split(separator))

    def read(**how: Any) -> pd.DataFrame:
        frame: pd.DataFrame = pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", keep_default_na=False, na_values=[""],
            header=None if is_row else "infer", **how,
        )  # fmt: skip
        return frame

    columns = read(nrows=0).columns
    # Of two columns one is the label, whatever it is called.
    texts = [one for one in columns if len(columns) == 2 or str(one).strip().lower() in {*IMAGES, *IDS, *LABELS}]
    frame = read(dtype=dict.fromkeys(texts, str))
    if not isinstance(frame.index, pd.RangeIndex) and frame.iloc[:, -1].isna().all():
        # Each row ends in a comma, for which the first column was taken as names of the rows.
        frame = read(dtype=dict.fromkeys(texts, str), index_col=False)
    return frame


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


def _by_part(frame: pd.DataFrame, path: Path) -> dict[str | None, pd.DataFrame]:
    """The rows of each part, by a column that says it; None: no column does."""
    column = _column(frame, PARTS)
    if column is None:
        return {None: frame}
    parts = frame[column].map(part_named)
    if parts.isna().any():
        other = frame[column][parts.isna()].iloc[0]
        if column.lower() in ("split", "partition", "subset"):
            found = "empty" if other != other else repr(str(other))
            raise DataError(f"{path}: {column} is {found} in a row; allowed are train, test and validation")
        return {None: frame}  # a column of another meaning, such as numbers of folds
    return {name: frame[parts == name] for name in parts.unique()}


def _column(frame: pd.DataFrame, names: Iterable[str]) -> str | None:
    """The first column of a known name."""
    found = {str(column).strip().lower(): column for column in frame.columns}
    return next((found[name] for name in names if name in found), None)


def _rows(frame: pd.DataFrame, path: Path, part: str | None) -> Part:
    """Images and labels of the rows of a table; `part` as for `_folders`."""
    label = _column(frame, LABELS)
    if pixels := _pixels(frame, label):
        if label is None:
            raise _NoLabelsError(f"{path}: has no column of labels; {SHAPE}")
        return Part(frame[pixels].to_numpy(), _labels(frame, label))
    image = _image_column(frame, label)
    if label is None and image is not None and len(frame.columns) == 2:
        label = next(one for one in frame.columns if one != image)
    if image is None:
        raise DataError(f"{path}: has no column of images ({_found(frame)}); {SHAPE}")
    names = _of_columns(frame.drop(columns=image), path) if label is None else None
    if label is None and names is None:
        raise _NoLabelsError(f"{path}: has no column of labels ({_found(frame)}); {SHAPE}")
    return Part(_files_of(frame[image], path, part), names if label is None else _labels(frame, label))


def _found(frame: pd.DataFrame) -> str:
    return f"found: {few_of(list(map(str, frame.columns)))}"


def _pixels(frame: pd.DataFrame, label: str | None) -> list[str]:
    """The columns of pixels; none where images are given otherwise."""
    named = _column(frame, IDS)
    pixels = [one for one in frame.columns if one not in (label, named) and frame[one].dtype.kind in "iuf"]
    return pixels if len(pixels) >= LEAST_PIXELS and len(pixels) >= len(frame.columns) - 2 else []


def _image_column(frame: pd.DataFrame, label: str | None) -> str | None:
    """The column of images: one of a known name, unless only another holds what is an image for sure."""
    image = _column(frame, IMAGES)
    if image is None or not _holds_images(frame[image]):
        image = next((one for one in frame.columns if one != label and _holds_images(frame[one])), image)
    return image


def _of_columns(frame: pd.DataFrame, path: Path) -> list[str] | None:
    """Labels of a table with a column for each class and a 1 in one of them; None where it is no such table."""
    if len(frame.columns) < 2 or any(kind.kind not in "biuf" for kind in frame.dtypes):
        return None
    values = frame.to_numpy(float)
    if not np.isin(values, (0, 1)).all():
        return None
    if (odd := values.sum(1) != 1).any():
        row, columns = int(odd.argmax()), few_of(list(map(str, frame.columns)))
        raise _NoLabelsError(
            f"{path}: row {row + 1:,} has {values[row].sum():.0f} ones in the columns of classes ({columns}); needed "
            "is a single 1 in each row, or a column of labels (such as label or class)"
        )
    return [str(frame.columns[place]) for place in values.argmax(1)]


def _labels(frame: pd.DataFrame, label: str) -> NDArray[Any]:
    """The labels of a column: texts are numbers where all are, and none of them such as 007."""
    import pandas as pd  # here only: it is slow to import

    values = frame[label]
    if pd.api.types.is_string_dtype(values) and not values.str.match(r"\s*0\d").any():
        with suppress(ValueError):
            values = pd.to_numeric(values)
    return np.asarray(values.tolist() if values.dtype.kind in "biuf" else values.to_numpy(object))


def _holds_images(column: pd.Series[Any]) -> bool:
    """Whether the first value of a column is the path or the bytes of an image."""
    value = column.iloc[0]
    return isinstance(value, bytes | dict) or (isinstance(value, str) and Path(value).suffix.lower() in SUFFIXES)


def _image(value: object, row: int, table: Path, folders: list[Path]) -> ImageFile:
    """The image of a cell: its bytes, its path, or both as Hugging Face stores them."""
    name = f"row {row:,}"
    if isinstance(value, dict):
        path = value.get("path")
        value = value.get("bytes") or path
        name = f"{name} ({path})" if isinstance(path, str) else name
    if isinstance(value, bytes):
        return ImageFile(name, value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return ImageFile(f"{name} ({value})", _file(str(value), folders))
    raise DataError(f"{table}: {name} has no image; needed is a path or the bytes of an image")


def _files_of(column: pd.Series[Any], table: Path, part: str | None) -> list[ImageFile]:
    """The images of a column; `part` as for `_folders`."""
    folders = _folders(table, part)
    return [_image(value, row, table, folders) for row, value in enumerate(column.tolist(), 1)]


def _folders(table: Path, part: str | None) -> list[Path]:
    """Where images are looked for: beside their table, and in folders there of this part or of none.

    Where nothing says the part (None) it may be any folder, those for training first.
    """
    around = table.parent
    parts = {folder: part_begun(folder.name) for folder in subfolders(around)}
    others = [folder for folder, its in parts.items() if part is None or its in (part, None)]
    others.sort(key=lambda one: (parts[one] != (part or "train"), one.name != table.stem, one.name != "images"))
    return [around, *others[:MOST_FOLDERS]]


def _file(text: str, folders: list[Path]) -> Path:
    """The file that a cell names, perhaps as Windows writes paths; an ending may be missing."""
    for name in dict.fromkeys((text, text.replace("\\", "/"))):
        for folder in folders:
            for ending in ("", ".jpg", ".png", ".jpeg"):
                if is_file(found := folder / f"{name}{ending}"):
                    return found
    return folders[0] / text


def _files(path: Path) -> list[Path]:
    """The tables, and the images that they name, unless a Parquet file holds the images themselves."""
    tables = [table for tables in _tables(path).values() for table in tables]
    if any(map(_holds_bytes, tables)):
        return tables
    return [*tables, *(image for image in listed_files(read_tables(path)) if image.is_file())]


def _holds_bytes(table: Path) -> bool:
    """Whether a table is a Parquet file with a column of bytes, so that reading it is slow."""
    if table.suffix.lower() != ".parquet" or find_spec("pyarrow") is None:
        return False
    from pyarrow import types
    from pyarrow.parquet import read_schema

    try:
        kinds = read_schema(table).types
    except Exception:  # reading it says what is wrong
        return False
    return any(types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind) for kind in kinds)


IMAGE_TABLE = Form("a CSV or Parquet file of images and labels", is_table, read_tables, _files)
