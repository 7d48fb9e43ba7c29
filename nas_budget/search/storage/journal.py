"""A study's journal: one record a line, appended by any process; a line that a crash cut off does no harm."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from nas_budget.errors import StudyError, UsageError
from nas_budget.records.paths import JOURNAL
from nas_budget.untrusted import read_json

BLOCK_BYTES = 4096


class MendingLock(JournalFileOpenLock):
    """The lock of whoever appends to a journal; with it comes a journal that ends with a whole line.

    Optuna passes over a torn last line when it reads, but appends to it when it writes, and what it wrote can never
    be read again. A line may be torn while others have the journal open, so it is cut off before each append. Of
    Optuna's locks this is the one that is a file: the symbolic link of the other leads nowhere when its path is
    relative, and after a crash it is then waited for without end.

    Args:
        path: Of the journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def acquire(self) -> bool:
        """Wait for the lock, or take it from a process that is gone, and cut off what is no whole line."""
        super().acquire()
        try:
            cut_torn_line(self.path)
        except BaseException:
            self.release()
            raise
        return True


class Journal(JournalFileBackend):
    """A journal that survives a crash; reading it writes nothing.

    Args:
        path: Of its file, which is made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), MendingLock(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records.

        Raises:
            OSError: They cannot be written; it names the file, which a write of the system does not.
        """
        try:
            super().append_logs(logs)
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or str(self.path)) from None

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The records from this one on.

        Raises:
            StudyError: A line that is no record, and not the last.
        """
        try:
            for record in super().read_logs(log_number_from):
                if not isinstance(record, dict):
                    raise ValueError
                yield record
        except (ValueError, RecursionError):
            raise StudyError(f"{self.path}: {_damage(self.path)}") from None


def cut_torn_line(path: Path) -> None:
    """Cut a file back to the end of its last whole line; one that ends with it is only looked at."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = _end_of_lines(file, size)
    if end < size:
        os.truncate(path, end)


def _end_of_lines(file: BinaryIO, size: int) -> int:
    """Where the last whole line ends, looked for from the end: a journal may be long."""
    end = size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _damage(path: Path) -> str:
    """What is wrong with a journal that could not be read."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not is_record(line):
                return (
                    f"line {number} is damaged, and others follow it; "
                    f"nas-budget doctor {path.parent} shows what can be repaired"
                )
    return "it was mended while it was read; run the same command again"


def is_record(line: bytes) -> bool:
    """Whether a line is a record of Optuna's."""
    try:
        return _is_record(read_json(line.decode()))
    except ValueError:
        return False


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("op_code"), int) and "worker_id" in value


def open_journal(folder: Path) -> BaseStorage:
    """The storage in a run's folder; nothing in it is made or changed.

    Raises:
        UsageError: There is no journal.
        StudyError: It is damaged, or cannot be read.
    """
    path = folder / JOURNAL
    if not path.is_file():  # Optuna would make it
        raise UsageError(
            f"{folder}: no {JOURNAL} there; give the folder of a run, such as runs/quickstart, "
            "or --storage and the address of the database that holds the study"
        )
    try:
        return journal_storage(path)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None


def journal_storage(path: Path) -> BaseStorage:
    """The storage of a journal, which is made where it is missing.

    Raises:
        StudyError: Its lines are no records of Optuna's.
    """
    try:
        return JournalStorage(Journal(path))
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
        raise StudyError(f"{path}: damaged, or not a journal of Optuna's") from None
