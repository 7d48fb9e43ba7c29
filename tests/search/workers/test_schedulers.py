"""What every scheduler promises to the workers that ask it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from nas_budget.records.trials import EpochResult
from nas_budget.search.storage.storage import FINALISTS_STUDY, open_study
from nas_budget.search.storage.tables import finalists
from nas_budget.search.storage.trial_store import release
from nas_budget.search.workers.events import FinalistFinished, TrialFinished
from nas_budget.search.workers.finalist_scheduler import FinalistScheduler
from nas_budget.search.workers.scheduler import (
    GO_ON,
    Assignment,
    Decision,
    NoMoreTrials,
    Scheduler,
    SearchScheduler,
    StoredTrials,
)
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make, settings

ABOUT = {"device": "a CPU", "versions": "of today", "worker_index": 0}
N_TRIALS = 4
COMPLETE = Decision(TrialState.COMPLETE)
Make = Callable[[], StoredTrials]


@pytest.fixture(params=["search", "finalists"])
def new(request: pytest.FixtureRequest, dataset: Dataset, tmp_path: Path) -> Make:
    """Makes a scheduler of one study with four trials to give, each time as another worker would."""
    changes: dict[str, Any] = {
        "search__finalists": 2,
        "search__finalist_seeds": 2,
        "search__pruner": "none",
        "search__workers": 2,
    }
    if request.param == "finalists":
        for _ in make(dataset, tmp_path, search__pruner="none").events():
            pass

    def call() -> StoredTrials:
        made = settings(dataset, tmp_path, **changes)
        study = open_study(made, tmp_path, "of today")
        if request.param == "search":
            return SearchScheduler(made, study, tmp_path, ABOUT)
        again = open_study(made, tmp_path, "of today", FINALISTS_STUDY)
        return FinalistScheduler(made, again, tmp_path, ABOUT, finalists(study, 2))

    return call


def result(epoch: int, loss: float = 1.0, accuracy: float = 0.5, **more: Any) -> EpochResult:
    return EpochResult(epoch, loss, accuracy, 1.0, 0.1, 1.0, **more)


def train(scheduler: Scheduler, trial: Assignment, loss: float = 1.0) -> Decision:
    """Train a trial to its end as a runner does; the last decision."""
    scheduler.on_start(trial, None)
    for epoch in range(1, trial.rungs[-1] + 1):
        decision = scheduler.on_epoch(trial, result(epoch, loss))
        if decision.goes_on and epoch in trial.rungs:
            decision = scheduler.on_rung(trial, epoch)
        if not decision.goes_on:
            return decision
    raise AssertionError("a trial ends at its last rung")


def next_of(scheduler: Scheduler) -> Assignment:
    suggested = scheduler.suggest()
    assert not isinstance(suggested, NoMoreTrials), suggested
    return suggested


def test_it_gives_every_trial_once_and_then_says_that_there_are_no_more(new: Make) -> None:
    scheduler, given = new(), list[Assignment]()
    while not isinstance(trial := scheduler.suggest(), NoMoreTrials):
        assert train(scheduler, trial) == COMPLETE
        event = scheduler.on_finished(trial, COMPLETE, 1.0)
        assert isinstance(event, TrialFinished | FinalistFinished)
        given.append(trial)
    assert trial == NoMoreTrials("")
    assert sorted(trial.number for trial in given) == list(range(N_TRIALS))
    assert len({(trial.candidate, trial.seeds) for trial in given}) == N_TRIALS
    assert new().suggest() == NoMoreTrials("")


def test_the_last_rung_is_the_last_epoch(new: Make) -> None:
    trial = next_of(new())
    assert list(trial.rungs) == sorted(set(trial.rungs))
    assert trial.rungs[-1] == trial.candidate.recipe.epochs
    assert trial.seeds
    assert not trial.resumed


def test_two_workers_never_get_the_same_trial(new: Make) -> None:
    given, ours = [next_of(new())], new()
    while not isinstance(trial := ours.suggest(), NoMoreTrials):
        given.append(trial)
        ours.on_finished(trial, train(ours, trial), 1.0)
    assert sorted(trial.number for trial in given) == list(range(N_TRIALS))
    assert not any(trial.resumed for trial in given)


def test_a_loss_that_is_no_number_ends_a_trial_with_a_reason(new: Make) -> None:
    scheduler = new()
    trial = next_of(scheduler)
    scheduler.on_start(trial, 0.001)
    assert scheduler.on_epoch(trial, result(1)) == GO_ON
    decision = scheduler.on_epoch(trial, result(2, loss=nan))
    assert (decision.state, decision.goes_on) == (TrialState.PRUNED, False)
    assert decision.reason == "diverged in epoch 2 at learning rate 0.1"
    scheduler.on_finished(trial, decision, 2.0)


def test_what_a_worker_left_is_given_again_first(new: Make) -> None:
    gone = new()
    left = next_of(gone)
    gone.on_start(left, None)
    gone.on_epoch(left, result(1))
    scheduler = new()
    release(scheduler.store.study)
    again = next_of(scheduler)
    assert again == replace(left, resumed=True)
    scheduler.on_finished(again, train(scheduler, again), 1.0)
    assert next_of(scheduler).number != left.number


def test_a_trial_that_was_left_after_its_last_epoch_is_not_given_again(new: Make) -> None:
    gone = new()
    trial = next_of(gone)
    train(gone, trial)
    release(gone.store.study)
    assert next_of(new()).number != trial.number
    assert gone.store.study.trials[trial.number].state == TrialState.COMPLETE


def test_a_failed_trial_ends_too(new: Make) -> None:
    scheduler = new()
    trial = next_of(scheduler)
    scheduler.on_start(trial, None)
    event = scheduler.on_finished(trial, Decision(TrialState.FAIL, "no memory"), 0.5)
    reason = event.record.reason if isinstance(event, TrialFinished) else event.reason  # type: ignore[union-attr]
    assert reason == "no memory"


def test_a_batch_that_was_split_and_steps_that_were_not_replayed_are_noted(new: Make) -> None:
    scheduler = new()
    trial = next_of(scheduler)
    scheduler.on_start(trial, None)
    scheduler.on_epoch(trial, result(1, micro_batches=4, not_recorded="it waits"))
    store = scheduler.store
    assert store.get(trial.number).user_attrs["micro_batches"] == 4
    assert store.get(trial.number).user_attrs["not_recorded"] == "it waits"


def test_schedulers_need_no_torch() -> None:
    """Where a scheduler is a process of its own, it takes less than half of the memory without torch."""
    code = (
        "import sys; from nas_budget.search.workers import finalist_scheduler, ladder_scheduler, part, scheduler; "
        "from nas_budget.search.cluster import coordinator, ray_engine; "
        "sys.exit(bool({'torch', 'ray'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
