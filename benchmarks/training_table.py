"""Tables of trainings that grow: a row is appended as each training ends, and the same command resumes."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

Row = dict[str, Any]


class Job(Protocol):
    """One training."""

    @property
    def key(self) -> tuple[str, ...]:
        """The cells that tell its row from the others."""


def rows_of(table: Path) -> list[dict[str, str]]:
    """The rows there are."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def fill(
    table: Path, columns: Sequence[str], keys: Sequence[str], jobs: Iterable[Job], train: Callable[[Any], Row],
    n_workers: int,
) -> None:  # fmt: skip
    """Train what the table lacks, each in one of some processes, in the order of the jobs.

    Args:
        table: The file.
        columns: Its columns.
        keys: Those that tell one training from another.
        jobs: Trainings; the `key` of each holds its cells in the columns `keys`.
        train: Makes the row of a job.
        n_workers: Processes.
    """
    known = {tuple(row[key] for key in keys) for row in rows_of(table)}
    left = [job for job in jobs if job.key not in known]
    print(f"{len(known)} trainings in {table.name}, {len(left)} left", flush=True)
    with table.open("a", newline="") as file, multiprocessing.get_context("spawn").Pool(n_workers) as pool:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if not known:
            writer.writeheader()
        for row in pool.imap_unordered(train, left):
            writer.writerow(row)
            file.flush()


def joined(values: Iterable[object]) -> str:
    """Values as one cell."""
    return "-".join(map(str, values))


def curve(values: Iterable[float]) -> str:
    """One number an epoch as one cell."""
    return " ".join(f"{value:.5f}" for value in values)
