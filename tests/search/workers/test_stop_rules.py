"""Stop rules, in real searches and one by one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers.events import SearchEnded
from nas_budget.search.workers.stop_rules import Deadline, TrialStats, reason_to_stop
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make, settings


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def ended(
    accuracy: float | None, params: int = 10, seconds: float = 1.0, state: TrialState = TrialState.COMPLETE
) -> Any:
    attributes = {"params": params, "seconds": seconds, "repeated_seconds": 0.5}
    value = accuracy if state == TrialState.COMPLETE else None
    return optuna.trial.create_trial(state=state, value=value, user_attrs=attributes)


def test_nothing_stops_a_search_by_default(dataset: Dataset, tmp_path: Path) -> None:
    stats = TrialStats()
    for _ in range(50):
        stats.add(ended(0.9))
    assert reason_to_stop(settings(dataset, tmp_path), stats, None) == ""


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"search__target": 0.9}, "the target is reached: 90% of 90%"),
        ({"search__device_time": 3}, "trials took 3 s, at least the 3 s of device_time"),
        ({"search__patience": 1}, "none of the last 1 trials joined the Pareto front"),
    ],
)
def test_each_rule_says_why(dataset: Dataset, tmp_path: Path, rule: dict[str, Any], reason: str) -> None:
    made, stats = settings(dataset, tmp_path, **rule), TrialStats()
    stats.add(ended(0.9))
    assert bool(reason_to_stop(made, stats, None)) == ("search__target" in rule)  # the others have room left
    stats.add(ended(0.8))
    assert reason in reason_to_stop(made, stats, None)


def test_the_deadline_stops(dataset: Dataset, tmp_path: Path) -> None:
    made = settings(dataset, tmp_path)
    assert reason_to_stop(made, TrialStats(), Deadline(time.time() - 1, "it is over")) == "it is over"
    assert reason_to_stop(made, TrialStats(), Deadline(time.time() + 60, "it is over")) == ""


def test_of_a_wider_trial_seconds_and_accuracy_count(dataset: Dataset, tmp_path: Path) -> None:
    stats = TrialStats()
    stats.add(ended(0.5))
    wider = ended(0.7)
    wider.set_user_attr("level", 1)
    stats.add(wider)
    assert (stats.ended, stats.since_progress, stats.front) == (1, 0, [(10, 0.5)])
    assert (stats.seconds, stats.best) == (3.0, 0.7)
    assert "target" in reason_to_stop(settings(dataset, tmp_path, search__target=0.6), stats, None, wider=True)
    stats.since_progress = 9
    patient = settings(dataset, tmp_path, search__patience=9)
    assert "no progress" in reason_to_stop(patient, stats, None)
    assert reason_to_stop(patient, stats, None, wider=True) == ""


def test_progress_is_joining_the_front() -> None:
    stats = TrialStats()
    for accuracy, params, since in [(0.5, 10, 0), (0.4, 10, 1), (0.3, 5, 0), (0.3, 5, 1), (0.6, 20, 0), (0.6, 19, 0)]:
        stats.add(ended(accuracy, params))
        assert stats.since_progress == since
    stats.add(ended(None, state=TrialState.PRUNED))
    assert stats.since_progress == 1
    stats.add(ended(None, state=TrialState.FAIL))
    assert (stats.since_progress, stats.ended) == (1, 7)
    assert stats.seconds == 12.0
    assert sorted(stats.front) == [(5, 0.3), (10, 0.5), (19, 0.6)]


def test_a_search_ends_with_the_reason_and_goes_on_with_another_rule(dataset: Dataset, tmp_path: Path) -> None:
    events = list(make(dataset, tmp_path, search__target=0.0001).events())
    assert isinstance(events[-1], SearchEnded)
    assert "target" in events[-1].reason
    search = make(dataset, tmp_path, search__device_time=0.001)
    assert [type(e) for e in search.events()] == [SearchEnded]
    list(make(dataset, tmp_path).events())
    assert len(search.tables.rows()) == 4
