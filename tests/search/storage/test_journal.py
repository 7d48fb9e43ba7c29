"""Journals that a crash left with half a line, and those that several processes write at once."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileOpenLock
from optuna.trial import TrialState

from nas_budget.errors import StorageError, StudyError
from nas_budget.search.storage.journal import BLOCK_BYTES, Journal, MendingLock, cut_torn_line
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import count_finished, recorded_settings
from nas_budget.search.workers.events import TrialEpoch
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make

TORN = b'{"op_code":7,"wor'
ONE_BY_ONE: dict[str, Any] = {"search__n_startup_trials": 1, "search__trials": 3, "search__pruner": "none"}
LAST_RECORDS = range(-10, 0)
"""The end of a trial, and all of the last one."""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


@pytest.fixture(scope="module")
def done(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that came to its end."""
    folder = tmp_path_factory.mktemp("done")
    quiet_optuna()
    list(make(dataset, folder, **ONE_BY_ONE).events())
    return folder


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "study.journal").read_bytes().splitlines(keepends=True)


def test_the_last_records_are_those_of_a_whole_trial(done: Path) -> None:
    records = [json.loads(line) for line in lines_of(done)[LAST_RECORDS.start :]]
    assert records[0]["trial_id"] == 1
    assert records[1]["op_code"] == 4  # a trial is made
    assert all(record["trial_id"] == 2 for record in records[2:])


def test_a_journal_cut_at_any_byte_is_read_and_written_again(done: Path, tmp_path: Path) -> None:
    whole, path = (done / "study.journal").read_bytes(), tmp_path / "study.journal"
    for size in range(len(whole) - len(b"".join(lines_of(done)[-3:])), len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = whole[: whole.rfind(b"\n", 0, size) + 1]
        storage = JournalStorage(Journal(path))
        assert storage.get_all_studies()[0].study_name == "s"
        assert path.read_bytes() == whole[:size]  # reading changes nothing
        storage.set_study_user_attr(0, "after", size)
        assert path.read_bytes().startswith(kept + b'{"op_code":2,')
        assert path.read_bytes().count(b"\n") == kept.count(b"\n") + 1
        assert JournalStorage(Journal(path)).get_study_user_attrs(0)["after"] == size


@pytest.mark.parametrize("record", LAST_RECORDS)
def test_a_search_goes_on_after_any_record_that_was_cut(
    done: Path, dataset: Dataset, tmp_path: Path, record: int
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(done, folder)
    before, cut = lines_of(done)[:record], lines_of(done)[record]
    (folder / "study.journal").write_bytes(b"".join(before) + cut[: len(cut) // 2])
    list(make(dataset, folder, **ONE_BY_ONE).events())
    search = make(dataset, folder, **ONE_BY_ONE)
    assert list(search.events()) == []
    assert [trial.number for trial in search.study.trials] == [0, 1, 2]
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in search.study.trials)
    assert len({row.spec for row in search.tables.rows()}) == 3
    assert lines_of(folder)[: len(before)] == before
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert [row["spec"] for row in rows] == [row.spec for row in search.tables.rows()]


def test_lines_torn_while_a_search_runs_cost_nothing(dataset: Dataset, tmp_path: Path) -> None:
    search, n_torn = make(dataset, tmp_path, **ONE_BY_ONE), 0
    for event in search.events():
        if isinstance(event, TrialEpoch):  # as when another worker is killed, or the disk was full for a while
            n_torn += 1
            with (tmp_path / "study.journal").open("ab") as file:
                file.write(TORN)
    assert n_torn >= 3
    assert search.tables.finished() == count_finished("journal", tmp_path, "s").trials == 3
    assert all(json.loads(line) for line in lines_of(tmp_path))


def test_a_journal_is_read_without_its_lock_whole_or_torn(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: MendingLock) -> bool:
        raise PermissionError(13, "Permission denied", str(self.path))

    monkeypatch.setattr(MendingLock, "acquire", refuses)
    path = tmp_path / "study.journal"
    for content in (done / "study.journal").read_bytes(), (done / "study.journal").read_bytes() + TORN:
        path.write_bytes(content)
        assert recorded_settings("journal", tmp_path, "s")
        assert count_finished("journal", tmp_path, "s").trials == 3
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.journal"]


def test_a_torn_journal_that_cannot_be_written_is_said_in_one_line(
    done: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path, size: int) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    content = (done / "study.journal").read_bytes() + TORN
    (tmp_path / "study.journal").write_bytes(content)
    monkeypatch.setattr("os.truncate", refuses)
    with pytest.raises(StorageError, match=r"study\.journal: cannot be written \(Permission denied\)"):
        make(dataset, tmp_path, **ONE_BY_ONE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.journal"]  # no lock is left
    assert (tmp_path / "study.journal").read_bytes() == content


@pytest.mark.parametrize("damage", [TORN, bytes(9), b"\xff\xfe\xfd"])
def test_a_damaged_line_among_whole_ones_is_named(done: Path, dataset: Dataset, tmp_path: Path, damage: bytes) -> None:
    lines = lines_of(done)
    lines[4] = damage + lines[4]
    (tmp_path / "study.journal").write_bytes(b"".join(lines))
    with pytest.raises(StudyError, match=rf"^{tmp_path}/study\.journal: line 5 is damaged"):
        recorded_settings("journal", tmp_path, "s")
    assert lines_of(tmp_path) == lines


@pytest.mark.parametrize("before", [b"", b"1\n", b"1\n2\n" + b"3" * 5000 + b"\n"])
@pytest.mark.parametrize("n", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_what_follows_the_last_whole_line_is_cut_off(tmp_path: Path, before: bytes, n: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(before + bytes(n))
    cut_torn_line(path)
    assert path.read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from nas_budget.search.storage.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(30):
    journal.append_logs([{"writer": sys.argv[2], "number": number, "long": "x" * 5000}])
"""


def test_processes_that_write_at_once_lose_nothing_whatever_is_torn_between_them(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal, killed = Journal(path), JournalFileOpenLock(str(path))
    command, n_torn = [sys.executable, "-c", WRITER, str(path)], 0
    with subprocess.Popen([*command, "a"]) as a, subprocess.Popen([*command, "b"]) as b:
        while a.poll() is None or b.poll() is None:
            list(Journal(path).read_logs(0))
            killed.acquire()
            with path.open("ab") as file:
                n_torn += file.write(TORN) > 0
            killed.release()
            journal.append_logs([{"writer": "c"}])
    assert (a.returncode, b.returncode) == (0, 0)
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    for name in "ab":
        assert [record["number"] for record in records if record["writer"] == name] == list(range(30))
    assert sum(record["writer"] == "c" for record in records) == n_torn


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # paths of runs are relative by default
    path = Path("runs", "study.journal")
    path.parent.mkdir()
    path.write_bytes(b"1\n" + TORN)
    JournalFileOpenLock(str(path)).acquire()
    lock = MendingLock(path)
    lock.grace_period = 1
    waiting = threading.Thread(target=lock.acquire, daemon=True)
    waiting.start()
    waiting.join(30)
    assert not waiting.is_alive()
    assert path.read_bytes() == b"1\n"
