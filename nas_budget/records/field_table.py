"""CSV tables whose columns are the fields of a dataclass, in their order."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from nas_budget.errors import TableError
from nas_budget.records.atomic_write import write_csv

Row = TypeVar("Row")
LARGEST = 10**15
"""Of a number in a table, as of a limit: what draws tables takes none that a float or 64 bits cannot hold."""


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write rows of a dataclass to `path`, all of it or nothing."""
    columns = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    write_csv(path, columns, (asdict(row).values() for row in rows))  # type: ignore[call-overload]


def read_rows(path: Path, kind: type[Row], words: str, check: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """The rows of such a table; none where there is no such file.

    Args:
        path: Of the table.
        kind: The dataclass; its fields are numbers and texts, and `accuracy` is from 0 to 1.
        words: What the rows are called in the error.
        check: Raises a `ValueError` for a row that cannot be.

    Raises:
        TableError: It cannot be read.
    """
    kinds: dict[str, Any] = get_type_hints(kind)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            cells = list(reader)
        if missing := kinds.keys() - {*(reader.fieldnames or ())}:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        rows = [kind(**{name: convert(row[name]) for name, convert in kinds.items()}) for row in cells]
        if strange := [cell for row in rows for cell in vars(row).values() if is_strange(cell)]:
            raise ValueError(f"a number is {strange[0]}")
        if strange := [row["accuracy"] for row in cells if not 0 <= float(row.get("accuracy", 0)) <= 1]:
            raise ValueError(f"an accuracy is {strange[0]}, not from 0 to 1")
        for row in rows:
            check(row)
        return rows
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as a table of {words} ({error})") from None


def is_strange(cell: Any) -> bool:
    """Whether a cell is a number that no table of ours holds: NaN, infinite, or beyond all counts."""
    return isinstance(cell, int | float) and not -LARGEST <= cell <= LARGEST
