"""Databases that are gone or locked for a while."""

from __future__ import annotations

import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from nas_budget.errors import StoppedError, StorageError
from nas_budget.search.storage import patience
from nas_budget.search.storage.optuna_adapter import CALLS, PatientStorage, create_running_trial, quiet_optuna
from nas_budget.search.storage.patience import OncePerOutage, Patience, may_pass
from nas_budget.search.storage.storage import count_finished
from nas_budget.search.workers.events import TrialFinished
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_optuna()
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(patience.logger, "filters", [OncePerOutage()])


def never() -> bool:
    return False


def address(folder: Path) -> str:
    return f"sqlite:///{folder}/s.db?timeout=0"  # SQLite itself would wait for five seconds


def lock(folder: Path) -> sqlite3.Connection:
    """What holds the database as another program would, until its rollback."""
    connection = sqlite3.connect(folder / "s.db", check_same_thread=False)
    connection.execute("begin exclusive")
    return connection


def release_when_said(connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture) -> None:
    while not caplog.records:
        time.sleep(0.01)
    connection.rollback()


def test_a_locked_database_is_waited_for_and_said_once(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search, releases = make(dataset, tmp_path, search__storage=address(tmp_path)), list[threading.Thread]()
    for event in search.events():
        if isinstance(event, TrialFinished):
            caplog.clear()
            releases.append(threading.Thread(target=release_when_said, args=(lock(tmp_path), caplog)))
            releases[-1].start()
            patience.logger.filters[:] = [OncePerOutage()]
    assert [*map(threading.Thread.join, releases)] == [None] * 4
    assert [trial.number for trial in search.study.trials] == [0, 1, 2, 3]
    assert caplog.messages == [
        f"storage: sqlite:///{tmp_path}/s.db does not answer (database is locked); "
        "waiting up to 10 min for it, nothing is lost"
    ]


def test_after_the_limit_everything_so_far_is_intact(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "GIVE_UP_S", 0.3)
    search = make(dataset, tmp_path, search__storage=address(tmp_path))
    held: sqlite3.Connection | None = None
    with pytest.raises(StorageError, match=r"s\.db cannot be used: database is locked"):
        for event in search.events():
            if isinstance(event, TrialFinished) and event.record.number == 1:
                held = lock(tmp_path)
    assert held
    held.rollback()
    assert search.tables.finished() >= 1
    assert count_finished(address(tmp_path), tmp_path, "s").trials == 2
    again = make(dataset, tmp_path, search__storage=address(tmp_path))
    list(again.events())
    assert again.tables.finished() == len(again.study.trials) == 4


def test_who_stops_a_search_does_not_wait_for_a_database(dataset: Dataset, tmp_path: Path) -> None:
    stop = threading.Event()
    search = make(dataset, tmp_path, stop.is_set, search__storage=address(tmp_path))
    with pytest.raises(StoppedError):
        for event in search.events():
            if isinstance(event, TrialFinished):
                held = lock(tmp_path)
                threading.Timer(0.3, stop.set).start()
    held.rollback()


def lost_after(monkeypatch: pytest.MonkeyPatch, n_commits: int) -> None:
    """The connection is lost once, after that many commits, before the database can say that it has stored."""
    commit, done = Session.commit, 0

    def commits(session: Session) -> None:
        nonlocal done
        commit(session)
        done += 1
        if done == n_commits:
            raise OperationalError("insert", None, Exception("server closed the connection"))

    monkeypatch.setattr(Session, "commit", commits)


def test_a_write_whose_answer_was_lost_is_not_made_twice(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write it is."""
    storage = PatientStorage(address(tmp_path), Patience(address(tmp_path), never))
    for n in range(1, 13):
        study = optuna.create_study(study_name=str(n), storage=storage)
        with monkeypatch.context() as patch:
            lost_after(patch, n)  # reads are commits too
            trial = create_running_trial(study, {"spec": n, "worker": {"pid": 1}})
            trial.report(0.5, 1)
            trial.set_user_attr("latency_s", 0.1)
            study.tell(trial, 0.5)
        [stored] = study.trials
        assert (stored.state, stored.value, stored.intermediate_values) == (TrialState.COMPLETE, 0.5, {1: 0.5})
        assert stored.user_attrs == {"spec": n, "worker": {"pid": 1}, "latency_s": 0.1}


def test_trials_begun_at_the_same_moment_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = PatientStorage(address(tmp_path), Patience(address(tmp_path), never))
    study = optuna.create_study(storage=storage)
    template = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"spec": 1})
    other = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"spec": 2})
    template.datetime_start = other.datetime_start = datetime.now(UTC)
    numbers = [storage.create_new_trial(study._study_id, each) for each in (template, template, other)]
    assert numbers[0] == numbers[1] != numbers[2]


def error_of(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OperationalError("select", None, error_of(sqlite3.SQLITE_BUSY)), True),
        (OperationalError("select", None, error_of(sqlite3.SQLITE_BUSY_SNAPSHOT)), True),
        (OperationalError("select", None, error_of(sqlite3.SQLITE_FULL)), False),
        (OperationalError("select", None, error_of(sqlite3.SQLITE_CANTOPEN)), False),
        (OperationalError("select", None, Exception("connection refused")), True),
        (ProgrammingError("select", None, Exception("no such table")), False),
        (ProgrammingError("select", None, Exception("closed"), connection_invalidated=True), True),
        (IntegrityError("insert", None, Exception("twice")), False),
    ],
)
def test_only_what_may_pass_is_waited_for(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes
    wrapped = StorageInternalError("during the commit")
    wrapped.__cause__ = error
    assert may_pass(wrapped) is passes


def test_every_call_of_a_database_is_patient() -> None:
    assert [name for name in CALLS if not hasattr(getattr(PatientStorage, name), "__wrapped__")] == []
