"""A trial of a dead worker goes on at its last checkpoint on a machine that has none of its files."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from nas_budget.errors import UsageError
from nas_budget.records.paths import TRIAL_CHECKPOINT
from nas_budget.search.config.build import read_config
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.trial_store import release
from nas_budget.search.workers import shared_checkpoints
from nas_budget.search.workers.events import Event, TrialEpoch, TrialStarted
from nas_budget.search.workers.scheduler import epochs_in
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine import checkpoint
from tests.search.studies import CPU, settings

Machine = Callable[..., Search]


@pytest.fixture(autouse=True)
def _after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of milliseconds are too short for a checkpoint after each; here they take any share of the time."""
    for module in checkpoint, shared_checkpoints:
        monkeypatch.setattr(module, "SHARE", 0)


@pytest.fixture
def machine(dataset: Dataset, tmp_path: Path) -> Machine:
    """A search of a machine of this name, with a run folder of its own; all but "first" only train."""
    quiet_optuna()

    def call(name: str, **changes: Any) -> Search:
        known = {
            "search__storage": f"sqlite:///{tmp_path}/trials.db", "search__checkpoints": str(tmp_path / "shared"),
            "search__trials": 2, "search__pruner": "none", "recipe__epochs": 6,
            "search__queue": [{"channels": [8, 16], "blocks": 1}],
        }  # fmt: skip
        asked = settings(dataset, tmp_path / name, **known | changes)
        images = split_images(dataset, CPU, asked.n_train, asked.n_validation)
        return Search(asked, images, tmp_path / name, joins=name != "first")

    return call


def train_to(search: Search, epoch: int) -> None:
    """Train the first trial to this epoch, and no more; its worker is gone then, as if its machine had died."""
    events = search.events()
    while not (isinstance(event := next(events), TrialEpoch) and event.result.epoch == epoch):
        pass
    worker = search.study.trials[0].user_attrs["worker"]
    events.close()
    release(search.study, worker)


def epochs_of(events: list[Event], number: int) -> list[int]:
    return [event.result.epoch for event in events if isinstance(event, TrialEpoch) and event.number == number]


def test_a_trial_goes_on_at_its_checkpoint_on_another_machine(machine: Machine, tmp_path: Path) -> None:
    train_to(machine("first"), 4)
    shutil.rmtree(tmp_path / "first" / "trials")  # nothing of the first machine is left
    second = machine("second")
    events = [*second.events()]
    assert TrialStarted in map(type, events)
    assert epochs_of(events, 0) == [4, 5, 6]  # the checkpoint of the epoch before the last one that was told
    assert epochs_of(events, 1) == [1, 2, 3, 4, 5, 6]
    ended = second.study.trials[0]
    assert (ended.state, sorted(ended.intermediate_values)) == (TrialState.COMPLETE, [1, 2, 3, 4, 5, 6])
    assert len(ended.user_attrs["train_losses"]) == 6
    assert not [*(tmp_path / "shared").rglob(TRIAL_CHECKPOINT)]  # what has ended needs none


@pytest.mark.slow
def test_it_is_trained_as_it_would_have_been_on_one_machine(machine: Machine, tmp_path: Path) -> None:
    train_to(machine("first"), 4)
    moved = machine("second")
    assert [*moved.events()]
    (tmp_path / "trials.db").rename(tmp_path / "moved.db")
    alone = machine("first", search__storage=f"sqlite:///{tmp_path}/alone.db")
    assert [*alone.events()]
    values = [
        [trial.user_attrs["train_losses"] for trial in search.study.trials if trial.number == 0]
        for search in (moved, alone)
    ]
    assert values[0] == values[1]


@pytest.mark.slow
def test_without_a_shared_place_it_starts_at_its_first_epoch(machine: Machine) -> None:
    """What the place is for."""
    train_to(machine("first", search__checkpoints="none"), 4)
    events = [*machine("second", search__checkpoints="none").events()]
    assert epochs_of(events, 0) == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["none", None])
def test_the_time_of_what_another_machine_trained_in_vain_is_counted(
    machine: Machine, tmp_path: Path, place: str | None
) -> None:
    """Though its files are out of reach: the study has the seconds of each epoch."""
    changes = {} if place is None else {"search__checkpoints": place}
    train_to(machine("first", **changes), 4)
    trained = epochs_in(tmp_path / "first" / "trials" / "0")
    shutil.rmtree(tmp_path / "first" / "trials")
    second = machine("second", **changes)
    events = [*second.events()]
    in_vain = [epoch.seconds for epoch in trained if epoch.epoch in epochs_of(events, 0)]
    assert len(in_vain) == (4 if place == "none" else 1)
    assert second.study.trials[0].user_attrs["repeated_seconds"] == pytest.approx(sum(in_vain))
    assert second.study.trials[0].user_attrs["epochs"] == []  # they are kept while a trial is under way


@pytest.mark.slow
def test_a_trial_that_was_done_when_its_machine_died_has_its_time_and_losses(machine: Machine, tmp_path: Path) -> None:
    train_to(machine("first"), 6)
    trained = epochs_in(tmp_path / "first" / "trials" / "0")
    shutil.rmtree(tmp_path / "first" / "trials")
    second = machine("second")
    assert epochs_of([*second.events()], 0) == []
    ended = second.study.trials[0]
    assert ended.user_attrs["seconds"] == pytest.approx(sum(epoch.seconds for epoch in trained))
    assert ended.user_attrs["train_losses"] == [epoch.train_loss for epoch in trained]


@pytest.mark.slow
def test_whoever_has_trained_further_keeps_its_own(machine: Machine, tmp_path: Path) -> None:
    train_to(machine("first"), 3)
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "shared", kept)
    train_to(machine("second"), 5)
    shutil.rmtree(tmp_path / "shared")
    shutil.copytree(kept, tmp_path / "shared")  # a copy that came late
    assert len(epochs_in(tmp_path / "second" / "trials" / "0")) == 5
    assert epochs_of([*machine("second").events()], 0) == [5, 6]


@pytest.mark.slow
def test_a_place_that_fails_ends_no_trial_and_is_said_once(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = machine("first")
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / "shared").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        events = [*first.events()]
    assert [trial.state for trial in first.study.trials] == [TrialState.COMPLETE] * 2
    assert events
    said = [record.getMessage() for record in caplog.records if "would start at its first epoch" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(f"checkpoints: {tmp_path}/shared: cannot be ")


@pytest.mark.slow
def test_the_search_leaves_no_copies_of_trials_that_ended_elsewhere(machine: Machine, tmp_path: Path) -> None:
    train_to(machine("first"), 4)
    (kept,) = (tmp_path / "shared").iterdir()
    lost = kept / "trials" / "7"
    lost.mkdir(parents=True)
    (lost / TRIAL_CHECKPOINT).write_bytes(b"of a trial that failed")
    assert [*machine("first").events()]
    assert not lost.exists()


def test_a_study_that_resumes_keeps_its_place_and_its_settings_are_read_back(machine: Machine, tmp_path: Path) -> None:
    """Also by what reads a run folder, which does not know where the study lies."""
    first = machine("first")
    assert [*first.events()]
    assert read_config(tmp_path / "first").checkpoints == str(tmp_path / "shared")
    assert machine("first", search__checkpoints="auto").settings.checkpoints == str(tmp_path / "shared")
    assert machine("first", search__checkpoints="none").place is None


def test_a_journal_has_no_use_for_it(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"search\.checkpoints: is for machines that share a database"):
        settings(dataset, tmp_path, search__checkpoints=str(tmp_path))
