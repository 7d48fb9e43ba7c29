"""The trials table read without pandas, for commands that must start at once."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from nas_budget.errors import TableError
from nas_budget.records.paths import trials_table
from nas_budget.records.trials import COLUMNS, TrialRecord, problem_of

NEEDED = ("number", "state", "accuracy", "epochs", "max_epochs", "params", "macs", "seconds", "spec")
READERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "int | None": lambda text: int(text) if text else None,
    "float | None": lambda text: float(text) if text else None,
}
"""What reads a cell, by the type of its field."""
ABSENT: dict[str, Any] = {"str": "", "int": 0, "float": 0.0}
"""What stands for a column that an older version did not write; None for those that may be empty."""


def read_trials(path: Path) -> list[TrialRecord]:
    """The trials of a `trials.csv`, or of the run folder that holds one, by number.

    Columns that an older version did not write are empty, but for those nothing can be said without.

    Raises:
        TableError: It is missing or damaged.
    """
    kinds = [str(field.type) for field in fields(TrialRecord)]
    file = trials_table(path)
    try:
        records = [TrialRecord(*map(_read, kinds, row)) for row in read_columns(file, COLUMNS)]
    except ValueError as error:
        raise TableError(f"{file}: cannot be read as a trials table ({error})") from None
    if problem := next(filter(None, map(problem_of, records)), ""):
        raise TableError(f"{file}: {problem}; the table is damaged, and a search that goes on writes it anew")
    return sorted(records, key=lambda record: record.number)


def read_columns(file: Path, names: Sequence[str]) -> list[list[str | None]]:
    """The cells of some columns, as texts, row by row; None where the table has no such column.

    Raises:
        TableError: It is missing, no trials table, or a row of it is cut off.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            head, *rows = csv.reader(opened, strict=True)
    except FileNotFoundError:
        raise TableError(f"{file}: no such file; give a run folder such as runs/quickstart") from None
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "empty, or not a text"
        raise TableError(f"{file}: cannot be read as a trials table ({reason})") from None
    if missing := [name for name in NEEDED if name not in head]:
        raise TableError(f"{file}: has no column {', '.join(missing)}; it is no trials table")
    if any(len(row) != len(head) for row in rows):
        raise TableError(f"{file}: a row is cut off; a search that goes on writes the table anew")
    places = [head.index(name) if name in head else None for name in names]
    return [[None if place is None else row[place] for place in places] for row in rows]


def _read(kind: str, text: str | None) -> Any:
    return ABSENT.get(kind) if text is None else READERS[kind](text)
