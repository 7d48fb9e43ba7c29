"""Workers in processes of their own."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_budget.errors import SpecError, SpoiledDeviceError, StoppedError, StudyError, StudyFileError, TrainingError
from nas_budget.search.storage import patience
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers import process_pool
from nas_budget.search.workers.events import Event, SearchEnded, TrialFinished, WorkerLost
from nas_budget.search.workers.process_pool import run_processes
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def never() -> bool:
    return False


def counts(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    for i in range(3):
        yield SearchEnded(f"{number} {i}")


def works_until_stopped(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    yield SearchEnded(f"{os.getpid()}")
    while not should_stop():
        time.sleep(0.01)
    raise StoppedError("stopped")


def dies_if_first(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from counts(number, should_stop)


def dies(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    yield SearchEnded("alive")
    os.kill(os.getpid(), signal.SIGKILL)


def logs(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    logging.getLogger("nas_budget.search.storage.patience").warning("gone: %s", "refused")
    yield SearchEnded(str(number))


def fails_if_first(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    if number == 0:
        raise StudyError("no device")
    yield from works_until_stopped(number, should_stop)


def tells_its_gpu_or_spoils_it(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    if number:
        yield SearchEnded(os.environ["CUDA_VISIBLE_DEVICES"])
    else:
        raise SpoiledDeviceError("the GPU can be used no more")


def reasons(events: Iterator[Event]) -> list[str]:
    return [event.reason for event in events if isinstance(event, SearchEnded)]


def is_alive(pid: str) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_the_events_of_all_workers_come_in_their_order() -> None:
    found = reasons(run_processes(counts, 3, never))
    assert sorted(found) == [f"{n} {i}" for n in range(3) for i in range(3)]
    for n in range(3):
        assert [t for t in found if t[0] == str(n)] == [f"{n} {i}" for i in range(3)]


def test_what_workers_log_of_an_outage_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience.logger, "filters", [patience.OncePerOutage()])
    assert sorted(reasons(run_processes(logs, 2, never))) == ["0", "1"]
    assert caplog.messages == ["gone: refused"]


def test_all_are_stopped_when_asked() -> None:
    pids: list[str] = []
    with pytest.raises(StoppedError):
        for event in run_processes(works_until_stopped, 2, lambda: len(pids) == 2):
            assert isinstance(event, SearchEnded)
            pids.append(event.reason)
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


@pytest.mark.slow
def test_none_is_left_when_whoever_listens_goes_away() -> None:
    events = run_processes(works_until_stopped, 2, never)
    first = next(events)
    assert isinstance(first, SearchEnded)
    events.close()  # type: ignore[attr-defined]
    assert not is_alive(first.reason)


@pytest.mark.slow
def test_one_that_is_killed_is_reported_and_the_others_go_on() -> None:
    events = list(run_processes(dies_if_first, 2, never))
    assert WorkerLost(0, -signal.SIGKILL) in events
    assert reasons(iter(events)) == ["1 0", "1 1", "1 2"]


def test_a_worker_lost_at_the_end_is_replaced(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []

    def some(*_: Any) -> Iterator[Event]:
        rounds.append(1)
        yield WorkerLost(0, -9) if len(rounds) == 1 else SearchEnded("done")

    monkeypatch.setattr(process_pool, "run_processes", some)
    search = make(dataset, tmp_path, search__workers=2)
    assert list(search.events()) == [WorkerLost(0, -9), SearchEnded("done")]

    def always(*_: Any) -> Iterator[Event]:
        yield WorkerLost(0, -9)

    monkeypatch.setattr(process_pool, "run_processes", always)
    with pytest.raises(TrainingError, match="lost in 3 rounds"):
        list(search.events())


def test_errors_cross_to_another_process_whole() -> None:
    for error in StudyFileError(["a: b", "c: d"]), SpecError(["x: y"]), StudyError("no"):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert type(again) is type(error)
        assert str(again) == str(error)


@pytest.mark.slow
def test_one_that_can_use_its_gpu_no_more_is_replaced_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "MOST_REPLACED", 1)
    events = [*run_processes(tells_its_gpu_or_spoils_it, 2, never, lambda i: {"CUDA_VISIBLE_DEVICES": f"MIG-{i}"})]
    assert events.count(WorkerLost(0, process_pool.SPOILED_EXIT)) == 2
    assert reasons(iter(events)) == ["MIG-1"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.slow
def test_all_killed_is_an_error() -> None:
    with pytest.raises(TrainingError, match="all 2 workers ended unexpectedly"):
        list(run_processes(dies, 2, never))


@pytest.mark.slow
def test_an_error_in_one_stops_all() -> None:
    with pytest.raises(StudyError, match="no device"):
        list(run_processes(fails_if_first, 2, never))


@pytest.mark.slow
def test_two_workers_do_the_trials_of_one_study(dataset: Dataset, npz: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"search__workers": 2, "search__trials": 9}
    images = replace(dataset, name=str(npz))  # which the workers open
    search = make(images, tmp_path, **changes, search__finalists=1, search__finalist_seeds=2)
    events = list(search.events())
    rows = search.tables.rows()
    assert [row.number for row in rows] == list(range(9))
    assert len({row.spec for row in rows}) == 9
    assert {row.worker for row in rows} == {0, 1}
    assert sum(isinstance(event, TrialFinished) for event in events) == 9
    assert len(search.tables.finalist_runs()) == 2
    alone = make(dataset, tmp_path / "alone", search__trials=9)
    list(alone.events())
    same = {row.spec: row.curve.split()[0] for row in alone.tables.rows()}
    assert all(same[row.spec] == row.curve.split()[0] for row in rows if row.spec in same)  # wherever it is trained
