"""Workers in processes of their own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import SpecError, SpoiledDeviceError, StoppedError, StudyError, StudyFileError, TrainingError
from nas_budget.records.finalists import FinalistRun
from nas_budget.records.trials import EpochResult
from nas_budget.search.storage import patience
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers import process_pool
from nas_budget.search.workers.events import (
    SPOILED_EXIT,
    Event,
    FinalistFinished,
    SearchEnded,
    TrialEpoch,
    TrialFinished,
    TrialStarted,
    WorkerLost,
)
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


def dies_once(number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    file = Path(os.environ["DIED"])
    if number == 0 and not file.exists():
        file.touch()
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


def seeing(number: int) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": f"MIG-{number}"}


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
def test_one_that_is_killed_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    died = {"DIED": str(tmp_path / "died")}
    events = list(run_processes(dies_once, 2, never, lambda _: died))
    assert [event for event in events if isinstance(event, WorkerLost)] == [WorkerLost(0, -signal.SIGKILL)]
    assert sorted(reasons(iter(events))) == [f"{n} {i}" for n in range(2) for i in range(3)]


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (WorkerLost(1, -9, 7), "killed by signal 9 (out of memory?) in trial 7"),
        (WorkerLost(1, -11, 3, finalist=True), "killed by signal 11 (a crash in native code) in training 3"),
        (WorkerLost(1, -15), "killed by signal 15"),
        (WorkerLost(1, 1), "ended with exit code 1"),
        (WorkerLost(1, SPOILED_EXIT, 0), "could use its GPU no more in trial 0"),
    ],
)
def test_how_a_worker_ended_is_said_in_words(lost: WorkerLost, words: str) -> None:
    assert lost.cause + lost.place == words


def test_a_lost_worker_comes_with_its_trial_and_is_replaced_until_none_ends_well() -> None:
    deaths = process_pool._Deaths(2)
    spec = ResNetSpec((4,), blocks=1)
    deaths.follow(0, TrialStarted(4, spec, 9, resumed=False, finalist=True))
    deaths.follow(1, TrialStarted(5, spec, 9, resumed=False))
    assert deaths.lost(0, -9, 1) == WorkerLost(0, -9, 4, finalist=True)
    deaths.follow(1, FinalistFinished(5, 0, None, "failed"))
    assert deaths.in_a_row.total() == 1  # a training that failed is none that ended well
    for n in range(2, 6):
        lost = deaths.lost(n % 2, -9, 1)
        assert lost == WorkerLost(n % 2, -9)
        assert deaths.verdict(lost, 1) is None
    why = deaths.verdict(deaths.lost(1, -11, 1), 1)
    assert "6 workers were lost in a row, the last killed by signal 11 (a crash in native code);" in str(why)
    deaths.follow(0, FinalistFinished(6, 0, FinalistRun(0, 0, 0.5, 1, 9, 1.0, 0.0, "0.5", "a CPU", "{}"), ""))
    assert deaths.in_a_row.total() == 0


def test_workers_that_are_lost_after_an_epoch_each_come_further_and_go_on() -> None:
    deaths = process_pool._Deaths(2)
    for n in range(100):
        deaths.follow(n % 2, TrialEpoch(4, EpochResult(1 + n, 1.2, 0.5, 1.2, 0.1, 2.0)))
        assert deaths.verdict(deaths.lost(n % 2, -9, 1), 1) is None
    assert deaths.in_a_row.total() == 2
    for _ in range(3):
        deaths.lost(0, -9, 1)
    assert "6 workers were lost in a row" in str(deaths.verdict(deaths.lost(1, -9, 1), 1))


def test_a_worker_that_is_lost_again_and_again_is_replaced_a_few_times() -> None:
    deaths = process_pool._Deaths(4)
    for _ in range(process_pool.MOST_REPLACED):
        assert deaths.lost(0, SPOILED_EXIT, 3).is_replaced
    last = deaths.lost(0, SPOILED_EXIT, 3)
    assert not last.is_replaced
    assert deaths.verdict(last, n_left=3) is None
    assert "6 workers were lost" in str(deaths.verdict(last, n_left=0))  # nobody is left for its trial


def test_where_memory_is_short_the_others_go_on_without_one_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "free_bytes", lambda: process_pool.WORKER_BYTES - 1)
    deaths = process_pool._Deaths(2)
    assert not deaths.lost(0, -9, 1).is_replaced
    assert deaths.lost(0, -11, 1).is_replaced  # a crash
    assert deaths.lost(1, -9, 0).is_replaced  # or nobody would train


def test_errors_cross_to_another_process_whole() -> None:
    for error in StudyFileError(["a: b", "c: d"]), SpecError(["x: y"]), StudyError("no"):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert type(again) is type(error)
        assert str(again) == str(error)


@pytest.mark.slow
def test_one_that_can_use_its_gpu_no_more_is_replaced_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "MOST_REPLACED", 1)
    events: list[Event] = []
    with pytest.raises(TrainingError, match="could use its GPU no more"):
        events.extend(run_processes(tells_its_gpu_or_spoils_it, 2, never, seeing))
    lost = [event for event in events if isinstance(event, WorkerLost)]
    assert lost == [WorkerLost(0, SPOILED_EXIT), WorkerLost(0, SPOILED_EXIT, is_replaced=False)]
    assert reasons(iter(events)) == ["MIG-1"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.slow
def test_a_fault_that_strikes_all_ends_it_early_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "MOST_LOST", 1)
    with pytest.raises(
        TrainingError, match=r"2 workers were lost in a row, the last killed by signal 9 \(out of memory"
    ):
        list(run_processes(dies, 2, never))


@pytest.mark.slow
def test_a_killed_worker_costs_no_trial_and_a_trial_that_takes_two_with_it_fails(
    dataset: Dataset, npz: Path, tmp_path: Path
) -> None:
    images = replace(dataset, name=str(npz))  # which the workers open
    changes: dict[str, Any] = {"search__workers": 2, "search__trials": 5, "search__pruner": "none"}
    search = make(images, tmp_path, **changes, recipe__epochs=40)
    left, pids, events = {1: 1, 2: 2}, set[int](), list[Event]()
    for event in search.events():
        events.append(event)
        if isinstance(event, TrialEpoch) and left.get(event.number):
            index = search.study.trials[event.number].user_attrs["worker_index"]
            pid = next(p.pid for p in multiprocessing.active_children() if p.name == f"worker {index}")
            if pid and pid not in pids and event.result.epoch < 30:
                os.kill(pid, signal.SIGKILL)
                pids.add(pid)
                left[event.number] -= 1
    assert not any(left.values())
    assert sorted(e.trial or 0 for e in events if isinstance(e, WorkerLost)) == [1, 2, 2]
    states = {row.number: row.state for row in search.tables.rows()}
    assert states == {0: "complete", 1: "complete", 2: "failed", 3: "complete", 4: "complete", 5: "complete"}
    assert search.tables.rows()[2].reason == "its worker was lost 2 times: killed by signal 9 (out of memory?)"
    assert sum(isinstance(event, TrialFinished) for event in events) == 6
    assert [*tmp_path.rglob("*checkpoint*")] == []


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
