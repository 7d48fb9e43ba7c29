"""A study in a real PostgreSQL: workers that share it, die, lose it for a while, and look alike."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from nas_budget.search.open_study import join_search, open_search
from nas_budget.search.storage import leases
from nas_budget.search.storage.optuna_adapter import PatientStorage, quiet_optuna
from nas_budget.search.storage.patience import Patience
from nas_budget.search.storage.storage import MEASURED_WORKERS, open_study, strained_by
from nas_budget.search.storage.tables import versions
from nas_budget.search.storage.trial_store import TrialStore
from nas_budget.search.storage.url import trouble
from nas_budget.search.workers import scheduler
from nas_budget.search.workers.events import TrialEpoch, TrialFinished, TrialStarted
from nas_budget.train.data.dataset import Dataset
from tests import postgres
from tests.cli.commands.test_search import rows
from tests.cli.processes import start, wait_until
from tests.conftest import Run, sets
from tests.postgres import PASSWORD, USER, Postgres
from tests.search.storage.test_leases import searching, states

FEW = "space.stages=1 space.width=[4,9] space.kernels=[3,5] space.pool=2 space.shortcut_kernel=1 space.first_stride=1"
psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres.running() as started:
        yield started


@pytest.fixture
def url(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty database, whose password is in the environment alone."""
    quiet_optuna()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return server.url(uuid.uuid4().hex)


@pytest.fixture
def storage(url: str) -> Iterator[RDBStorage]:
    """The storage at that address; its connections are closed in the end, or psycopg would warn in a later test."""
    opened = RDBStorage(url)
    yield opened
    opened.engine.dispose()


def test_machines_that_look_alike_take_nothing_of_each_other_that_lives(
    dataset: Dataset, tmp_path: Path, url: str
) -> None:
    searches = [searching(dataset, tmp_path, name, 12, url) for name in ("a", "b")]
    resumed: list[bool] = []

    def run(n: int) -> None:
        resumed.extend(event.resumed for event in searches[n].events() if isinstance(event, TrialStarted))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states(searches[0].study) == [TrialState.COMPLETE] * 12
    assert resumed == [False] * 12


def test_the_threads_of_a_worker_keep_one_connection(url: str) -> None:
    storage = PatientStorage(url, Patience(url, lambda: False))
    study = optuna.create_study(storage=storage)
    threads = [threading.Thread(target=study.get_trials) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with storage.engine.connect() as connection:
        mine = connection.execute(text("select count(*) from pg_stat_activity where datname = current_database()"))
        assert mine.scalar() == 1
    storage.engine.dispose()


def test_a_server_without_a_free_connection_is_told_with_what_to_raise(url: str) -> None:
    taken = []
    address = url.replace("postgresql+psycopg", "postgresql")
    try:
        with pytest.raises(psycopg.OperationalError):
            taken.extend(psycopg.connect(address) for _ in range(200))
        with pytest.raises(OperationalError) as caught:
            PatientStorage(url, Patience(url, lambda: True))
    finally:
        for connection in taken:
            connection.close()
    assert trouble(caught.value).endswith("; each worker takes one connection: raise max_connections of the server")


def test_a_server_that_is_almost_full_is_told_before(url: str) -> None:
    assert [*strained_by(url, 8)] == []
    (full,) = strained_by(url, 55)
    assert re.search(r"allows 97 connections, \d+ are open.*raise max_connections", full)
    assert [*strained_by("journal", 90)] == [*strained_by("sqlite:///trials.db", 90)] == []


def test_more_workers_than_were_measured_are_told_what_was(url: str) -> None:
    _full, many = strained_by(url, MEASURED_WORKERS + 1)
    assert re.match(r"about 6\d workers will use this database; measured are 64, which trained 94% of their time", many)
    assert many.endswith("if trials are as short, use --engine ray")


def test_the_trials_of_a_dead_host_are_taken_over_after_their_leases(
    dataset: Dataset, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(leases, "_live", lambda *_: None)
        dead = [searching(dataset, tmp_path, f"dead {n}", 5, url).events() for n in range(2)]
        assert all(isinstance(next(events), TrialStarted) for events in dead)
    monkeypatch.setattr(leases, "BEAT_S", 0.1)
    monkeypatch.setattr(leases, "GONE_S", 1.0)
    monkeypatch.setattr(scheduler, "LOOK_S", 0.1)
    survivor = searching(dataset, tmp_path, "survivor", 5, url)
    list(survivor.events())
    trials = survivor.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 5
    assert [trial.number for trial in trials if trial.user_attrs.get("resumed")] == [0, 1]
    for events in dead:
        events.close()  # while there is a server


def test_a_server_that_is_started_again_costs_no_trial(
    dataset: Dataset, tmp_path: Path, url: str, server: Postgres
) -> None:
    search, again = searching(dataset, tmp_path, "a", 6, url), threading.Timer(2.0, server.start)
    numbers = []
    for event in search.events():
        if isinstance(event, TrialEpoch) and event.number == 1 and event.result.epoch == 1:
            server.stop()
            again.start()
        if isinstance(event, TrialFinished):
            numbers.append(event.record.number)
    again.join()
    assert numbers == [0, 1, 2, 3, 4, 5]
    trials = search.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert [[*trial.intermediate_values] for trial in trials] == [[1, 2, 3]] * 6


def test_the_password_may_be_in_a_file_of_the_servers_own_kind(
    run: Run, url: str, server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".pgpass"
    file.write_text(f"127.0.0.1:{server.port}:*:{USER}:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert run("worker", "a", "--storage", url).refused(2, "holds no study a (it is empty)")
    file.write_text(file.read_text().replace(PASSWORD, "not this one"))
    ran = run("worker", "a", "--storage", url)
    assert ran.refused(1, "password authentication failed")
    assert "not this one" not in ran.err


def test_trials_begun_by_many_at_once_have_numbers_of_their_own(url: str) -> None:
    """The number is that of the trial before, and the study is locked meanwhile."""
    stores = [
        TrialStore(optuna.create_study(study_name="s", storage=opened(url), load_if_exists=True)) for _ in range(4)
    ]
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda each: found.extend(each.create({"n": n}) for n in range(10)), args=(store,))
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [*range(40)]
    assert [trial.number for trial in stores[0].study.trials] == [*range(40)]
    for store in stores[1:]:
        store.look()
        assert len(store.running()) == 40


def opened(url: str) -> PatientStorage:
    return PatientStorage(url, Patience(url, lambda: False))


def test_a_wrong_password_is_told_in_a_line_and_not_repeated(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "not this one")
    ran = run("worker", "a", "--storage", url)
    assert ran.refused(1, "error: storage: ")
    assert " cannot be used: connection failed: " in ran.err
    assert "password authentication failed" in ran.err
    assert "not this one" not in ran.err


def test_a_server_that_does_not_answer_is_told_in_a_line(run: Run) -> None:
    ran = run("worker", "a", "--storage", "postgresql+psycopg://me@127.0.0.1:1/trials")
    assert ran.refused(1, "error: storage: postgresql+psycopg://me@127.0.0.1:1/trials cannot be used: connection")


def test_who_begins_or_joins_with_more_workers_than_the_server_bears_is_told(
    run: Run, dataset: Dataset, npz: Path, tmp_path: Path, url: str
) -> None:
    """The measured limit is that of the server: what it allows, less what is open."""
    said: list[str] = []
    asked = {"data.name": str(npz), "search.storage": url, "budget.params": "20k", "data.images": 100}
    few, many = ({**asked, "search.workers": n, "search.proxy": "none"} for n in (2, 60))
    made = open_search(None, few, "a", tmp_path, on_message=said.append)
    assert [line for line in said if "connections" in line] == []
    open_search(None, many, "a", tmp_path, on_message=said.append)
    open_study(made.settings, tmp_path, versions())
    join_search("a", url, tmp_path, device="cpu", workers=60, on_message=said.append)
    told = [line for line in said if "connections" in line]
    assert len(told) == 2
    assert all(
        re.match(r"NOTE: .* allows 97 connections, \d+ are open, .*raise max_connections", line) for line in told
    )


def test_a_database_without_a_study_is_told_in_a_line(run: Run, url: str) -> None:
    assert run("worker", "a", "--storage", url).refused(2, "holds no study a (it is empty)")


def worker(url: str, folder: Path) -> subprocess.Popen[str]:
    """A worker that is process 1 of its machine, as in a container: all of them have one host name too."""
    command = [sys.executable, "-m", "nas_budget", "worker", "a", "--storage", url, "--runs-dir", folder]
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return subprocess.Popen(
        [*alone, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def can_be_alone() -> bool:
    """Whether processes here may have numbers of their own."""
    tried = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(tried, capture_output=True, check=False).returncode


def test_two_worker_commands_find_what_one_machine_finds(
    run: Run, quick: list[object], tmp_path: Path, url: str, storage: RDBStorage
) -> None:
    """Every network of a small space: in whatever order they are begun, the same ones learn the same."""
    asked = [*quick, *sets(FEW), "--pruner", "none", "--proxy", "none", "--epochs", 40, "--workers", 1]
    assert run(*asked, "--name", "alone", "--trials", 99).code == 0
    shared = [*asked, "--name", "a", "--storage", url]
    assert run(*shared, "--trials", 1).code == 0
    study = optuna.load_study(study_name="a", storage=storage)
    recorded = study.user_attrs["settings"]
    study.set_user_attr("settings", {**recorded, "search": {**recorded["search"], "trials": 99}})
    commands = [start("worker", "a", "--storage", url, "--runs-dir", tmp_path / name) for name in ("one", "two")]
    trained = 0
    for command in commands:
        out, err = command.communicate(timeout=300)
        assert command.returncode == 0, err
        trained += int(out.removeprefix("a: ").split()[0])
    assert trained == 7 - 1
    assert run(*shared, "--trials", 99).code == 0
    alone, together = (
        {
            row["spec"]: (row["curve"], row["train_losses"])
            for row in rows(tmp_path / name)
            if row["state"] == "complete"
        }
        for name in ("alone", "a")
    )
    assert len(alone) == 7
    assert together == alone


@pytest.mark.slow
def test_containers_finish_a_study_though_one_is_killed(
    run: Run, quick: list[object], tmp_path: Path, url: str, storage: RDBStorage
) -> None:
    if not can_be_alone():
        pytest.skip("processes cannot have numbers of their own here")
    asked = [*quick, "--name", "a", "--storage", url, "--pruner", "none", "--proxy", "none", "--epochs", 60]
    assert run(*asked, "--trials", 1).code == 0
    study = optuna.load_study(study_name="a", storage=storage)
    recorded = study.user_attrs["settings"]
    study.set_user_attr("settings", {**recorded, "search": {**recorded["search"], "trials": 8}})
    containers = [worker(url, tmp_path / name) for name in ("one", "two")]
    wait_until(lambda: len({trial.user_attrs["worker"] for trial in study.get_trials()[1:]}) == 2)
    running = {t.number for t in study.get_trials(states=(TrialState.RUNNING,))}
    containers[0].send_signal(signal.SIGKILL)
    began = time.monotonic()
    out, err = containers[1].communicate(timeout=600)
    assert containers[1].returncode == 0, err
    trials = [trial for trial in study.get_trials() if trial.state != TrialState.FAIL]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 8
    resumed = [trial.number for trial in trials if trial.user_attrs.get("resumed")]
    assert len(resumed) == 1
    assert resumed[0] in running
    assert time.monotonic() - began > leases.GONE_S - leases.BEAT_S
    containers[0].communicate(timeout=60)
    assert out.startswith("a: ")
