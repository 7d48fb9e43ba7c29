"""A coordinator and its workers, without anything that carries calls between machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from nas_budget.errors import TrialLostError
from nas_budget.records.paths import TRIAL_CHECKPOINT, TRIAL_EPOCHS, TRIAL_SETTINGS
from nas_budget.records.trials import EpochResult
from nas_budget.search.cluster.coordinator import GRACE_S, Coordinator, RemoteScheduler
from nas_budget.search.storage.storage import open_study
from nas_budget.search.storage.tables import StudyTables
from nas_budget.search.storage.trial_store import release
from nas_budget.search.workers.events import TrialFinished
from nas_budget.search.workers.scheduler import Assignment, Decision, SearchScheduler
from nas_budget.search.workers.search_runner import torch_trainer
from nas_budget.search.workers.trial_runner import run_trials
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_images
from tests.search.conftest import Clock
from tests.search.studies import CPU, settings

ABOUT = {"device": "a CPU", "versions": "of today", "worker_index": 0}
COMPLETE = Decision(TrialState.COMPLETE)
Start = Callable[..., Coordinator]


@pytest.fixture
def start(dataset: Dataset, tmp_path: Path, clock: Clock) -> Start:
    """Starts a coordinator of one study of four trials; each time as in a process of its own."""

    def call() -> Coordinator:
        made = settings(dataset, tmp_path, search__pruner="none")
        study = open_study(made, tmp_path, "of today")
        return Coordinator(SearchScheduler(made, study, tmp_path, ABOUT), clock)

    return call


def worker(coordinator: Coordinator, name: str) -> RemoteScheduler:
    return RemoteScheduler(coordinator, name, ABOUT)


def given(scheduler: RemoteScheduler) -> Assignment:
    trial = scheduler.suggest()
    assert isinstance(trial, Assignment), trial
    return trial


def epoch(number: int) -> EpochResult:
    return EpochResult(number, 1.0, 0.1 * number, 1.0, 0.1, 1.0)


def finish(scheduler: RemoteScheduler, trial: Assignment, after: int = 0) -> TrialFinished:
    """Train the epochs that are left as a runner does."""
    last = trial.rungs[-1]
    for number in range(after + 1, last + 1):
        assert scheduler.on_epoch(trial, epoch(number)).goes_on
    assert scheduler.on_rung(trial, last) == COMPLETE
    event = scheduler.on_finished(trial, COMPLETE, 3.0)
    assert isinstance(event, TrialFinished)
    return event


def test_workers_train_every_trial_once_and_their_files_come_home(
    start: Start, dataset: Dataset, tmp_path: Path
) -> None:
    coordinator = start()
    made = coordinator.scheduler.settings
    images = split_images(dataset, CPU, made.n_train, made.n_validation)
    runs = [run_trials(worker(coordinator, name), torch_trainer(made, images, lambda: False)) for name in ("a", "b")]
    finished = [e.record for pair in zip_longest(*runs) for e in pair if isinstance(e, TrialFinished)]
    assert sorted(record.number for record in finished) == [0, 1, 2, 3]
    assert {record.state for record in finished} == {"complete"}
    assert len({record.spec for record in finished}) == 4
    for number in range(4):
        folder = tmp_path / "trials" / str(number)
        assert len((folder / TRIAL_EPOCHS).read_text().splitlines()) == made.recipe.epochs
        assert sorted(path.name for path in folder.iterdir()) == sorted([TRIAL_EPOCHS, TRIAL_SETTINGS])


def test_a_worker_keeps_nothing_on_its_machine(start: Start) -> None:
    scheduler = worker(start(), "a")
    trial = given(scheduler)
    (trial.folder / TRIAL_SETTINGS).write_text("{}")
    scheduler.on_start(trial, None)
    finish(scheduler, trial)
    assert not trial.folder.exists()


def test_the_trial_of_a_worker_that_is_gone_goes_to_the_next_one_that_asks(start: Start) -> None:
    coordinator = start()
    gone, next_one = worker(coordinator, "gone"), worker(coordinator, "next")
    left = given(gone)
    gone.on_start(left, None)
    gone.on_epoch(left, epoch(1))
    coordinator.release("gone")
    again = given(next_one)
    assert (again.number, again.resumed, again.candidate) == (left.number, True, left.candidate)
    late: list[Callable[[], Any]] = [
        lambda: gone.on_epoch(left, epoch(2)),
        lambda: gone.on_rung(left, 2),
        lambda: gone.on_finished(left, COMPLETE, 1.0),
    ]
    for call in late:
        with pytest.raises(TrialLostError, match=f"trial {left.number} was given to another worker"):
            call()
    next_one.on_start(again, None)
    assert finish(next_one, again).record.accuracy == pytest.approx(0.3)


def test_a_checkpoint_travels_at_rungs_to_whoever_goes_on(start: Start) -> None:
    coordinator = start()
    gone, next_one = worker(coordinator, "gone"), worker(coordinator, "next")
    left = given(gone)
    gone.on_start(left, None)
    (left.folder / TRIAL_CHECKPOINT).write_bytes(b"weights")
    gone.on_epoch(left, epoch(1))
    at_home = coordinator.trials["gone"].folder / TRIAL_CHECKPOINT
    assert not at_home.exists()
    gone.on_rung(left, 1)
    assert at_home.exists()
    coordinator.release("gone")
    again = given(next_one)
    assert (again.folder / TRIAL_CHECKPOINT).read_bytes() == b"weights"
    next_one.on_start(again, None)
    (again.folder / TRIAL_CHECKPOINT).unlink()
    finish(next_one, again)
    assert not at_home.exists()


class TestCallsMadeTwice:
    """Where an answer is lost on its way, a call is made again."""

    def test_a_worker_is_given_the_same_trial(self, start: Start) -> None:
        coordinator = start()
        assert given(worker(coordinator, "a")).number == given(worker(coordinator, "a")).number == 0
        assert coordinator.scheduler.store.n_trials == 1

    def test_a_trial_ends_once(self, start: Start, tmp_path: Path) -> None:
        coordinator = start()
        scheduler = worker(coordinator, "a")
        trial = given(scheduler)
        scheduler.on_start(trial, None)
        event = finish(scheduler, trial)
        assert scheduler.on_finished(trial, COMPLETE, 3.0) == event
        study = open_study(coordinator.scheduler.settings, tmp_path, "of today")
        assert len(StudyTables(coordinator.scheduler.settings, study, tmp_path, "of today").rows()) == 1

    def test_after_a_restart_too(self, start: Start) -> None:
        first = given(worker(start(), "a"))
        again = given(worker(start(), "a"))
        assert (again.number, again.candidate) == (first.number, first.candidate)


class TestACoordinatorThatIsStartedAgain:
    """It knows of the trials under way by the study alone."""

    def test_a_worker_that_calls_keeps_its_trial(self, start: Start) -> None:
        scheduler = worker(start(), "a")
        trial = given(scheduler)
        scheduler.on_start(trial, None)
        (trial.folder / TRIAL_EPOCHS).write_text(json.dumps(asdict(epoch(1))) + "\n")
        scheduler.on_epoch(trial, epoch(1))
        scheduler.calls = start()
        record = finish(scheduler, trial, after=1).record
        assert (record.number, record.state, record.train_losses.split()) == (0, "complete", ["1.00000"] * 3)

    def test_others_get_other_trials_until_the_grace_is_over(self, start: Start, clock: Clock) -> None:
        left = given(worker(start(), "a"))
        coordinator = start()
        assert given(worker(coordinator, "b")).number != left.number
        clock.now = GRACE_S + 1
        again = given(worker(coordinator, "c"))
        assert (again.number, again.resumed) == (left.number, True)

    def test_one_of_another_search_takes_over_at_once(self, start: Start) -> None:
        left = given(worker(start(), "a"))
        today = start()
        release(today.scheduler.store.study)  # as every search does when it starts
        assert given(worker(today, "b")).number == left.number
