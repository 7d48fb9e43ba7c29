"""`workers.csv`: who trained the trials of a study, where, and what each worker trains now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nas_budget.records.field_table import read_rows, write_rows

ID_LENGTH = 8


@dataclass(frozen=True)
class WorkerRecord:
    """A place where trials are trained, one at a time; the fields are the columns of `workers.csv`.

    A worker that takes the place of one that is gone (same host and number, begun after the other's last trial) goes on
    in its row.

    Attributes:
        worker: Name that no other worker has, as it is noted with its trials; of several in turn, the last one's.
        host: Name of its machine.
        index: Its number on the machine, from 0.
        device: Where it trains.
        trials: Numbers of the trials that it trained to their end, separated by spaces.
        finalist_runs: Finalists' runs that it trained to their end.
        seconds: Time that all these took.
        trains: What it has under way, such as "trial 12" or "finalist run 3"; empty where nothing is.
        epoch: Epochs of that which are done.
        epochs: Epochs of that in all.
        heard: When something was last heard of it, in UTC, ISO 8601.
    """

    worker: str
    host: str
    index: int
    device: str
    trials: str
    finalist_runs: int
    seconds: float
    trains: str
    epoch: int
    epochs: int
    heard: str

    @property
    def numbers(self) -> list[int]:
        """Numbers of the trials that it trained to their end."""
        return [*map(int, self.trials.split())]

    @property
    def id(self) -> str:
        """The end of its name, by which people tell it from others."""
        return self.worker[-ID_LENGTH:]

    @property
    def place(self) -> str:
        """Where it trains, such as "worker 0 on hive"."""
        return f"worker {self.index} on {self.host}" if self.host else f"worker {self.index}"

    @property
    def n_ended(self) -> int:
        """How many trainings it brought to their end."""
        return len(self.numbers) + self.finalist_runs

    @property
    def under_way(self) -> str:
        """What it has under way and how far that is, such as "trial 12, epoch 3 of 20"; empty where nothing is."""
        return f"{self.trains}, epoch {self.epoch} of {self.epochs}" if self.trains else ""

    def silent_s(self, now: datetime) -> float:
        """Seconds since something was last heard of it."""
        return max(0.0, (now - datetime.fromisoformat(self.heard)).total_seconds())


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def write_workers(path: Path, workers: Iterable[WorkerRecord]) -> None:
    """Write the table to `path`, all of it or nothing."""
    write_rows(path, WorkerRecord, workers)


def read_workers(path: Path) -> list[WorkerRecord]:
    """The workers of a `workers.csv`; none where there is no such file.

    Raises:
        TableError: It cannot be read.
    """
    return read_rows(path, WorkerRecord, "workers", _check)


def _check(worker: WorkerRecord) -> None:
    """Raise a `ValueError` where a cell cannot be what it stands for."""
    _ = worker.numbers
    if datetime.fromisoformat(worker.heard).tzinfo is None:
        raise ValueError(f"a time without its zone, {worker.heard}")
