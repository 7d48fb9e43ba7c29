"""The table of workers: what is read is what was written, and a damaged one is refused in a line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nas_budget.errors import TableError
from nas_budget.records.workers import WorkerRecord, read_workers, write_workers

HIVE = WorkerRecord(
    "ab12cd34ef-0", "hive", 0, "a GPU", "0 4 7", 1, 61.5, "trial 9", 3, 20, "2026-11-28T16:00:00+00:00"
)  # fmt: skip


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = [HIVE, replace(HIVE, host="", trials="", trains="", epoch=0, epochs=0)]
    write_workers(tmp_path / "workers.csv", written)
    assert read_workers(tmp_path / "workers.csv") == written
    assert read_workers(tmp_path / "none.csv") == []


def test_a_worker_in_words() -> None:
    assert (HIVE.id, HIVE.place, HIVE.numbers) == ("cd34ef-0", "worker 0 on hive", [0, 4, 7])
    assert replace(HIVE, host="").place == "worker 0"
    assert HIVE.silent_s(datetime(2026, 11, 28, 16, 0, 12, tzinfo=UTC)) == 12
    assert HIVE.silent_s(datetime(2026, 11, 28, 15, 0, 0, tzinfo=UTC)) == 0  # a clock that is ahead of this one


@pytest.mark.parametrize(
    ("changed", "problem"),
    [({"heard": "yesterday"}, "isoformat"), ({"heard": "2026-11-28T16:00:00"}, "without its zone"),
     ({"trials": "0 x"}, "invalid literal")],
)  # fmt: skip
def test_a_damaged_table_is_refused_in_a_line(tmp_path: Path, changed: dict[str, str], problem: str) -> None:
    write_workers(tmp_path / "workers.csv", [replace(HIVE, **changed)])
    with pytest.raises(TableError, match=problem) as raised:
        read_workers(tmp_path / "workers.csv")
    assert "\n" not in str(raised.value)
