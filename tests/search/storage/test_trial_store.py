"""What every store of trials promises, whichever storage of Optuna's lies below it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import optuna
import pytest
from optuna.pruners import ThresholdPruner
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.trial import TrialState

from nas_budget.errors import TrialLostError
from nas_budget.search.samplers.optuna_samplers import optuna_warnings_only
from nas_budget.search.storage.journal import Journal
from nas_budget.search.storage.optuna_adapter import PatientStorage
from nas_budget.search.storage.patience import Patience
from nas_budget.search.storage.trial_store import TrialStore, TrialTracker, release

STORAGES: dict[str, Callable[[Path], BaseStorage]] = {
    "memory": lambda _: InMemoryStorage(),
    "journal": lambda folder: JournalStorage(Journal(folder / "study.journal")),
    "sqlite": lambda folder: PatientStorage(url := f"sqlite:///{folder}/trials.db", Patience(url, lambda: False)),
}
Open = Callable[..., TrialStore]


@pytest.fixture(params=STORAGES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the store of one study, each time as another worker would."""
    held = STORAGES["memory"](tmp_path) if request.param == "memory" else None

    def call(shared: bool = False) -> TrialStore:
        storage = held or STORAGES[request.param](tmp_path)
        with optuna_warnings_only():
            study = optuna.create_study(
                study_name="s", storage=storage, direction="maximize", load_if_exists=True,
                pruner=ThresholdPruner(lower=0.5),
            )  # fmt: skip
        return TrialStore(study, {"device": "a CPU"}, shared)

    return call


def test_a_trial_is_made_whole_and_finished_with_its_last_accuracy(opened: Open) -> None:
    store = opened()
    number = store.create({"network": "8-16"})
    made = store.get(number)
    assert (made.state, made.user_attrs["network"], made.user_attrs["device"]) == (TrialState.RUNNING, "8-16", "a CPU")
    assert made.user_attrs["worker"] == store.about["worker"] != opened().about["worker"]
    for epoch, accuracy in enumerate((0.2, 0.9, 0.6), start=1):
        store.report(number, epoch, accuracy, train_loss=1.0 / epoch)
    ended = store.finish(number, TrialState.COMPLETE, seconds=3.5)
    assert (ended.state, ended.value, ended.user_attrs["seconds"]) == (TrialState.COMPLETE, 0.6, 3.5)
    assert [ended.user_attrs[f"train_loss_{epoch}"] for epoch in (1, 2, 3)] == [1.0, 0.5, 1.0 / 3]
    assert "reason" not in ended.user_attrs


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_a_trial_that_is_not_complete_keeps_its_reason(opened: Open, state: TrialState) -> None:
    store = opened()
    number = store.create({})
    assert store.finish(number, state, 1.0, "because").user_attrs["reason"] == "because"
    assert store.study.trials[number].state == state


def test_the_pruner_is_asked_at_the_last_epoch_and_gives_a_reason(opened: Open) -> None:
    store = opened()
    number = store.create({})
    store.report(number, 1, 0.9)
    assert store.prune_reason(number, 1) == ""
    store.report(number, 2, 0.1)
    assert store.prune_reason(number, 2) == "pruned at epoch 2: accuracy 0.1000 is too low for ThresholdPruner"


def test_each_worker_sees_each_trial_begin_and_end_once(opened: Open) -> None:
    ours, theirs = opened(), opened()
    number = ours.create({})
    assert [t.number for t in theirs.look()[0]] == [number]
    assert [t.number for t in theirs.running()] == [number]
    ours.report(number, 1, 0.5)
    ours.finish(number, TrialState.COMPLETE, 1.0)
    started, ended = theirs.look()
    assert (started, [t.number for t in ended], theirs.running()) == ([], [number], [])
    assert theirs.look() == ([], [])
    assert theirs.n_trials == 1


def test_a_lost_trial_is_resumed_and_what_it_trains_again_takes_the_place_of_the_first_time(opened: Open) -> None:
    gone = opened()
    number = gone.create({})
    gone.report(number, 1, 0.9)
    gone.report(number, 2, 0.1)
    store = opened()
    store.look()
    assert not store.is_lost(store.others()[0])
    release(store.study)
    store.look()
    (lost,) = store.others()
    assert store.is_lost(lost)
    assert store.resume(lost)
    assert (store.others(), [trial.number for trial in store.running()]) == ([], [number])
    store.note_repeated(number, 1.5)
    store.note_repeated(number, 0.5)
    assert store.get(number).user_attrs["resumed"]
    store.report(number, 1, 0.3)
    assert store.prune_reason(number, 1) == ""  # its earlier attempt went on
    store.report(number, 2, 0.1)
    assert store.prune_reason(number, 2)
    ended = store.finish(number, TrialState.PRUNED, 5.0, "low")
    assert ended.intermediate_values == {1: 0.3, 2: 0.1}
    assert ended.user_attrs["repeated_seconds"] == 2.0


def test_a_lost_trial_that_had_come_to_its_end_is_only_finished(opened: Open) -> None:
    gone = opened()
    number = gone.create({})
    gone.report(number, 1, 0.7)
    release(gone.study)
    store = opened()
    store.look()
    assert store.resume(store.others()[0])
    store.finish(number, TrialState.COMPLETE, seconds=4.0)
    (trial,) = store.study.trials
    assert (trial.state, trial.value, trial.user_attrs["seconds"]) == (TrialState.COMPLETE, 0.7, 4.0)


def test_only_the_trials_of_a_worker_that_is_gone_are_released(opened: Open) -> None:
    gone, other = opened(), opened()
    numbers = [store.create({}) for store in (gone, other, gone)]
    release(other.study, gone.about["worker"])
    other.look()
    assert [trial.number for trial in other.others() if other.is_lost(trial)] == [numbers[0], numbers[2]]


def test_a_worker_of_the_same_name_goes_on_where_the_one_before_it_died(opened: Open) -> None:
    before, after = opened(), opened()
    number = before.create({})
    after.about["worker"] = before.about["worker"]
    after.look()
    assert after.is_lost(after.others()[0])
    assert after.resume(after.others()[0])
    after.report(number, 1, 0.5)


def test_of_two_that_would_take_over_one_does(opened: Open) -> None:
    gone, first, second = opened(), opened(), opened()
    number = gone.create({})
    release(gone.study)
    for store in first, second:
        store.look()
    lost = [deepcopy(store.others()[0]) for store in (first, second)]
    assert [store.resume(trial) for store, trial in zip((first, second), lost, strict=True)] == [True, False]
    first.report(number, 1, 0.5)


CHANGES: dict[str, Callable[[TrialStore], object]] = {
    "note": lambda store: store.note(0, micro_batches=2),
    "report": lambda store: store.report(0, 1, 0.9, 0.1),
    "finish": lambda store: store.finish(0, TrialState.COMPLETE, 9.0),
    "fail": lambda store: store.finish(0, TrialState.FAIL, 9.0, "no memory"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("ended", [False, True])
def test_who_lost_a_trial_changes_nothing_of_it(
    opened: Open, change: Callable[[TrialStore], object], ended: bool
) -> None:
    slow, fast = opened(), opened()
    number = slow.create({})
    slow.report(number, 1, 0.2)
    release(slow.study)
    fast.look()
    fast.resume(fast.others()[0])
    if ended:
        fast.finish(number, TrialState.PRUNED, 1.0)
    with pytest.raises(TrialLostError, match="trial 0 was taken over by another worker"):
        change(slow)
    (trial,) = fast.study.trials
    assert trial.intermediate_values == {1: 0.2}
    assert trial.state == (TrialState.PRUNED if ended else TrialState.RUNNING)
    assert not {"micro_batches", "train_loss_1", "reason"} & {*trial.user_attrs}
    assert trial.user_attrs["worker"] == fast.about["worker"]


def test_a_tracker_gives_each_trial_once() -> None:
    study = optuna.create_study()
    tracker = TrialTracker(study)
    first, second = study.ask(), study.ask()
    assert [[t.number for t in part] for part in tracker.look()] == [[0, 1], []]
    study.tell(second, 1.0)
    third = study.ask()
    assert [[t.number for t in part] for part in tracker.look()] == [[2], [1]]
    assert [t.number for t in tracker.running()] == [0, 2]
    study.tell(first, 1.0)
    study.tell(third, state=TrialState.FAIL)
    assert [[t.number for t in part] for part in tracker.look()] == [[], [0, 2]]
    assert tracker.look() == ([], [])
