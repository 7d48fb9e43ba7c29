"""Who trained the trials of a study, from what is noted with each."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.arch.spec import ResNetSpec
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.worker_rows import worker_rows
from nas_budget.train.optim.recipe import Recipe

START = datetime(2026, 1, 1, 12).astimezone()
NAMED = Candidate(ResNetSpec(channels=(8, 16)), Recipe(epochs=6)).to_dict()


def trial(number: int, worker: str, start: int, end: int | None, epochs: int = 6, **known: Any) -> FrozenTrial:
    """A trial that began and ended at these minutes; without an end it goes on."""
    state = TrialState.COMPLETE if end else TrialState.RUNNING
    attributes = {"worker": worker, "host": "hive", "worker_index": 0, "device": "a CPU", "seconds": 60.0}
    made = create_trial(
        state=state, value=0.5 if end else None, user_attrs={**NAMED, **attributes, **known},
        intermediate_values=dict.fromkeys(range(1, epochs + 1), 0.5),
    )  # fmt: skip
    made.number = number
    made.datetime_start = START + timedelta(minutes=start)
    made.datetime_complete = START + timedelta(minutes=end) if end else None
    return made


def rows(*trials: FrozenTrial, last_epoch: str = "") -> list[tuple[str, str, str, str]]:
    """Of each worker its place, its name, the trials it ended, and what it has under way."""
    found = worker_rows(trials, lambda _: last_epoch)
    return [(row.place, row.worker, row.trials, row.trains) for row in found]


def test_workers_of_several_machines_have_a_row_each() -> None:
    here, there = trial(0, "a", 0, 9), trial(1, "b", 1, 9, host="nest")
    assert rows(there, here, trial(2, "a", 9, None, epochs=2)) == [
        ("worker 0 on hive", "a", "0", "trial 2"),
        ("worker 0 on nest", "b", "1", ""),
    ]
    (row,) = worker_rows([here, trial(2, "a", 9, None, epochs=2)], lambda _: "")
    assert (row.seconds, row.epoch, row.epochs, row.device) == (60.0, 2, 6, "a CPU")


def test_two_of_one_number_on_one_machine_that_train_at_once_are_two() -> None:
    """As tasks of an array on one node, or containers of one host name."""
    assert [name for _, name, *_ in rows(trial(0, "a", 0, 9), trial(1, "b", 5, 12))] == ["a", "b"]


def test_who_takes_the_place_of_one_that_is_gone_goes_on_in_its_row() -> None:
    assert rows(trial(0, "a", 0, 9), trial(1, "b", 9, 12), trial(2, "c", 20, None)) == [
        ("worker 0 on hive", "c", "0 1", "trial 2")
    ]


def test_who_resumes_a_trial_that_began_elsewhere_goes_on_in_the_row_of_its_own_place() -> None:
    """The start of such a trial is that of its first attempt."""
    old = [trial(0, "a0", 0, 50), trial(1, "a1", 0, 55, worker_index=1)]
    resumed = trial(2, "b1", 50, 70, worker_index=1, resumed=True)
    assert rows(*old, resumed, trial(3, "b1", 70, 80, worker_index=1)) == [
        ("worker 0 on hive", "a0", "0", ""), ("worker 1 on hive", "b1", "1 2 3", "")
    ]  # fmt: skip
    assert rows(*old, resumed)[1] == ("worker 1 on hive", "b1", "1 2", "")


def test_a_trial_that_was_given_back_is_nobodys() -> None:
    assert rows(trial(0, "", 0, None), trial(1, "a", 0, 9)) == [("worker 0 on hive", "a", "1", "")]


def test_runs_of_finalists_are_told_from_trials_and_wider_trials_are_not() -> None:
    wider = trial(5, "a", 9, 12, of=2, level=1)
    again = trial(0, "a", 12, 15, of=2, seed=7)
    (row,) = worker_rows([trial(2, "a", 0, 9), wider, again, trial(1, "a", 15, None, of=2, seed=8)], lambda _: "")
    assert (row.trials, row.finalist_runs, row.trains) == ("2 5", 1, "finalist run 1")


def test_the_last_sign_of_a_worker_is_its_beat_its_epoch_or_the_end_of_its_last_trial() -> None:
    def heard(*trials: FrozenTrial, last_epoch: str = "") -> str:
        (row,) = worker_rows(trials, lambda _: last_epoch)
        return row.heard

    ended = trial(0, "a", 0, 9)
    assert datetime.fromisoformat(heard(ended)) == ended.datetime_complete
    begun = trial(1, "a", 9, None)
    assert datetime.fromisoformat(heard(ended, begun)) == begun.datetime_start
    beat = trial(1, "a", 9, None, beat="3 2026-02-01T00:00:00+00:00")
    assert heard(ended, beat) == "2026-02-01T00:00:00+00:00"
    assert heard(ended, beat, last_epoch="2026-03-01T00:00:00+00:00") == "2026-03-01T00:00:00+00:00"
