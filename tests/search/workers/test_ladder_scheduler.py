"""The ladder: real searches by proxies whose best networks are trained again, wider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.search_space import intersection_search_space
from optuna.trial import TrialState

from nas_budget.arch.cost import cost
from nas_budget.arch.scale import scale_widths
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StoppedError
from nas_budget.records.trials import TrialRecord, best_of, pareto_front_of, proposed_of, read_trials
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.tables import finalists, level_of, root_of
from nas_budget.search.storage.trial_store import TrialStore, release
from nas_budget.search.workers import scheduler, trainer
from nas_budget.search.workers.events import SearchEnded, TrialFinished, TrialStarted
from nas_budget.search.workers.ladder_scheduler import LadderScheduler
from nas_budget.search.workers.scheduler import Assignment, NoMoreTrials
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make

LADDER: dict[str, Any] = {
    "search__proxy": "1/4", "search__ladder": [2, 1], "search__trials": 4, "search__workers": 1,
    "search__pruner": "none", "space__width": [14, 32], "budget__params": 200_000, "space__fill": [0.02, 1.0],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def rows_by_width(search: Search) -> dict[float, list[TrialRecord]]:
    found: dict[float, list[TrialRecord]] = {}
    for row in search.tables.rows():
        found.setdefault(row.proxy, []).append(row)
    return found


def ranked(rows: list[TrialRecord]) -> list[TrialRecord]:
    return sorted(rows, key=lambda row: (-(row.accuracy or 0), row.params))


def test_the_best_go_up_and_the_answer_is_at_full_size(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, **LADDER)
    events = list(search.events())
    widths = rows_by_width(search)
    assert {width: len(rows) for width, rows in widths.items()} == {0.25: 4, 0.5: 2, 1.0: 1}
    assert [row.of for row in widths[0.25]] == [None] * 4
    assert {row.of for row in widths[0.5]} == {row.number for row in ranked(widths[0.25])[:2]}
    (top,) = widths[1.0]
    assert top.spec == ranked(widths[0.5])[0].spec
    assert best_of(search.tables.rows()) == top
    best = ResNetSpec.from_json((tmp_path / "best.json").read_text())
    assert best == ResNetSpec.from_json(top.spec)
    for row in search.tables.rows():
        spec = ResNetSpec.from_json(row.spec)
        assert row.params == cost(spec).params <= 200_000
        assert row.proxy_params == cost(scale_widths(spec, row.proxy)).params
        told = json.loads((tmp_path / "trials" / str(row.number) / "trial.json").read_text())
        assert (told["proxy"], told["spec"]) == (row.proxy, spec.to_dict())
    started = [event for event in events if isinstance(event, TrialStarted)]
    assert len(started) == 7
    assert read_trials(tmp_path) == search.tables.rows()


def test_what_was_trained_is_the_proxy(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[ResNetSpec] = []
    real = trainer.build
    monkeypatch.setattr(trainer, "build", lambda spec, seed: built.append(spec) or real(spec, seed))
    search = make(dataset, tmp_path, **LADDER)
    list(search.events())
    wanted = [scale_widths(ResNetSpec.from_json(row.spec), row.proxy) for row in search.tables.rows()]
    assert built == wanted


def test_the_ladder_counts_apart(dataset: Dataset, tmp_path: Path) -> None:
    """Neither the number of trials, nor the front, nor what the sampler learns holds the wider trainings."""
    search = make(dataset, tmp_path, **LADDER)
    list(search.events())
    rows = search.tables.rows()
    assert search.tables.finished() == len(proposed_of(rows)) == 4
    assert {row.proxy for row in pareto_front_of(rows)} == {0.25}
    wider = sum(row.seconds for row in rows if row.of is not None)
    assert search.tables.ledger().ladder == pytest.approx(wider)
    assert search.tables.ledger().spent == pytest.approx(sum(row.seconds for row in rows))
    again = make(dataset, tmp_path, **LADDER)
    assert list(again.events()) == []
    more = make(dataset, tmp_path, **LADDER | {"search__trials": 6})
    list(more.events())
    assert more.tables.finished() == 6
    assert len({row.spec for row in proposed_of(more.tables.rows())}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("steps", [4 * 6 + 2, 4 * 6 + 6 + 3, 6 * 6 + 1])
def test_a_wider_training_that_was_stopped_is_resumed(dataset: Dataset, tmp_path: Path, steps: int) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > steps

    with pytest.raises(StoppedError):
        list(make(dataset, tmp_path, stop, **LADDER).events())
    search = make(dataset, tmp_path, **LADDER)
    events = list(search.events())
    assert isinstance(events[0], TrialStarted)
    assert events[0].resumed
    assert {width: len(rows) for width, rows in rows_by_width(search).items()} == {0.25: 4, 0.5: 2, 1.0: 1}
    assert sum(isinstance(event, TrialFinished) for event in events) == 7 - (steps - 1) // 6


def test_of_a_front_networks_of_all_sizes_go_up(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, **LADDER | {"search__aim": "front", "search__ladder": [2]})
    list(search.events())
    front = {row.number for row in pareto_front_of(search.tables.rows())}
    wider = {row.of for row in rows_by_width(search)[0.5]}
    assert wider <= front
    assert len(wider) == min(2, len(front))


def test_wider_trials_have_the_coordinates_of_the_proposed(dataset: Dataset, tmp_path: Path) -> None:
    """Tools that look for what all trials have in common, such as a dashboard's importances, find it."""
    search = make(dataset, tmp_path, **LADDER)
    list(search.events())
    trials = search.study.get_trials()
    assert intersection_search_space(trials)
    assert all(trial.params == trials[root_of(trial)].params for trial in trials)


def test_a_target_that_is_reached_ends_the_ladder_too(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, **LADDER | {"search__target": 0.0001})
    ends = [event for event in search.events() if isinstance(event, SearchEnded)]
    assert {*rows_by_width(search)} == {0.25}
    assert len(ends) == 1  # told once, not by each level
    assert "target" in ends[0].reason


def scheduler_of(search: Search, level: int) -> LadderScheduler:
    return LadderScheduler(search.settings, search.study, search.folder, {"worker_index": 0}, level)


def test_machines_that_begin_the_same_wider_trial_train_it_once(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    asked = LADDER | {"search__storage": storage, "search__ladder": [1]}
    search = make(dataset, tmp_path, **asked)
    monkeypatch.setattr(Search, "_parts", lambda _: [(0, None)])
    list(search.events())
    ours, others = scheduler_of(search, 1), scheduler_of(search, 1)
    assert isinstance(ours.suggest(), Assignment)
    monkeypatch.setattr(others, "_next", iter([finalists(search.study, 1)[0], None]).__next__)  # as if it saw none
    assert isinstance(others._new_trial(), NoMoreTrials)
    wider = [trial for trial in search.study.get_trials() if level_of(trial)]
    assert [trial.state for trial in wider] == [TrialState.RUNNING, TrialState.FAIL]


def test_the_ladder_waits_for_the_trials_of_other_machines(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = LADDER | {"search__storage": f"sqlite:///{tmp_path}/s.db"}
    search = make(dataset, tmp_path, **asked)
    monkeypatch.setattr(Search, "_parts", lambda _: [(0, None)])
    list(search.events())
    store = TrialStore(search.study, {"host": "another"})
    number = store.create(search.study.get_trials()[0].user_attrs | store.about)
    waiting = scheduler_of(search, 1)
    waiting.should_stop = lambda: True
    monkeypatch.setattr(scheduler.logger, "filters", [])
    with pytest.raises(StoppedError):
        waiting.suggest()
    assert caplog.messages == ["waiting for the trials that are left, on another"]
    store.report(number, 3, 0.1)
    store.finish(number, TrialState.COMPLETE, 1.0)
    store.create(search.study.get_trials()[0].user_attrs | store.about)
    release(search.study)  # what is lost below is not waited for: nobody here trains it
    assert isinstance(scheduler_of(search, 1).suggest(), Assignment)


def test_finalists_are_all_trained_at_the_largest_width(dataset: Dataset, tmp_path: Path) -> None:
    changes = {"search__finalists": 2, "search__finalist_seeds": 1}
    search = make(dataset, tmp_path, **LADDER | changes)
    list(search.events())
    best = finalists(search.study, 2)
    assert [trial.user_attrs["proxy"] for trial in best] == [1.0, 0.5]
    assert len({trial.user_attrs.get("of") for trial in best}) == 2  # two networks, not one at two widths
    assert {run.trial for run in search.tables.finalist_runs()} == {trial.number for trial in best}
    assert search.tables.finalists_study
    assert [run.user_attrs["proxy"] for run in search.tables.finalists_study.get_trials()] == [1.0, 1.0]
