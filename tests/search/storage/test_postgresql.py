"""A study in a real PostgreSQL: workers that share it, die, lose it for a while, and look alike."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from nas_budget.search.storage import leases
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers import scheduler
from nas_budget.search.workers.events import TrialEpoch, TrialFinished, TrialStarted
from nas_budget.train.data.dataset import Dataset
from tests import postgres
from tests.conftest import Run
from tests.postgres import PASSWORD, Postgres
from tests.search.storage.test_leases import searching, states

pytestmark = pytest.mark.timeout(900)


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


def test_a_wrong_password_is_told_in_a_line_and_not_repeated(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "not this one")
    ran = run("worker", "a", "--storage", url)
    assert ran.refused(1, "password authentication failed")
    assert "not this one" not in ran.err


def test_a_database_without_a_study_is_told_in_a_line(run: Run, url: str) -> None:
    assert run("worker", "a", "--storage", url).refused(2, "holds no study a (it is empty)")
