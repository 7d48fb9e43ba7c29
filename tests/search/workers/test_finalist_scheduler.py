"""Finalists: real runs of small ones, and what their figures say."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.errors import StoppedError, TableError
from nas_budget.records.finalists import FinalistRun, read_finalists, summarize_finalists, write_finalists
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers import trainer
from nas_budget.search.workers.events import FinalistFinished, TrialEpoch, TrialStarted
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make

THREE: dict[str, Any] = {"search__finalists": 2, "search__finalist_seeds": 2, "search__pruner": "none"}


def run(trial: int, seed: int, accuracy: float, params: int = 100) -> FinalistRun:
    return FinalistRun(trial, seed, accuracy, 3, params, 1.0, 0.0, "0.1", "a CPU", "{}")


def runs(trial: int, *accuracies: float, params: int = 100) -> list[FinalistRun]:
    return [run(trial, seed, accuracy, params) for seed, accuracy in enumerate(accuracies)]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def test_the_best_trials_are_trained_again_with_other_seeds(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, **THREE, search__finalist_epochs=2)
    events = list(search.events())
    ranked = sorted(search.tables.rows(), key=lambda r: (-(r.accuracy or 0), r.params))
    best = {r.number for r in ranked[:2]}
    found = search.tables.finalist_runs()
    assert {(f.trial, f.seed, f.epochs) for f in found} == {(n, seed, 2) for n in best for seed in (1, 2)}
    assert {e.trial for e in events if isinstance(e, FinalistFinished)} == best
    assert sum(isinstance(e, TrialEpoch) and e.finalist for e in events) == 4 * 2
    assert sum(isinstance(e, TrialStarted) and e.finalist for e in events) == 4
    rows = list(csv.DictReader((tmp_path / "finalists.csv").read_text().splitlines()))
    assert [float(row["accuracy"]) for row in rows] == [f.accuracy for f in found]
    assert search.tables.ledger().finalists == pytest.approx(sum(f.seconds for f in found), abs=0.01)
    assert list(make(dataset, tmp_path, **THREE, search__finalist_epochs=2).events()) == []


def test_a_finalist_that_was_interrupted_is_trained_again(dataset: Dataset, tmp_path: Path) -> None:
    asked = 0

    def stop_in_the_finals() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4 * 6 + 7

    with pytest.raises(StoppedError):
        list(make(dataset, tmp_path, stop_in_the_finals, **THREE).events())
    search = make(dataset, tmp_path, **THREE)
    first = next(search.events())
    assert isinstance(first, TrialStarted)
    assert (first.finalist, first.resumed) == (True, True)
    list(search.events())
    assert len({(f.trial, f.seed) for f in search.tables.finalist_runs()}) == len(search.tables.finalist_runs()) == 4


@pytest.mark.slow
def test_runs_of_another_length_or_number_do_not_count(dataset: Dataset, tmp_path: Path) -> None:
    list(make(dataset, tmp_path, **THREE, search__finalist_epochs=1).events())
    longer = make(dataset, tmp_path, **THREE, search__finalist_epochs=2)
    assert longer.tables.finalist_runs() == []
    list(longer.events())
    assert [(f.epochs, f.seed) for f in longer.tables.finalist_runs()] == [(2, 1), (2, 2)] * 2
    fewer = make(dataset, tmp_path, **(THREE | {"search__finalists": 1}), search__finalist_epochs=2)
    assert len(fewer.tables.finalist_runs()) == 2
    without = make(dataset, tmp_path, search__pruner="none")
    assert without.tables.finalist_runs() == []
    assert without.tables.ledger().finalists == longer.tables.ledger().finalists > 0


def test_the_best_network_is_that_of_the_best_finalist(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, **THREE)
    list(search.events())
    assert (tmp_path / "best.json").read_text().strip() == summarize_finalists(search.tables.finalist_runs())[0].spec


@pytest.mark.slow
def test_a_run_that_failed_is_tried_again_by_the_next_search(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(make(dataset, tmp_path, search__pruner="none").events())

    def no_memory(*_: Any) -> Any:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "build", no_memory)
        events = list(make(dataset, tmp_path, **THREE).events())
    assert [e.reason for e in events if isinstance(e, FinalistFinished)] == ["RuntimeError: no memory"] * 4
    search = make(dataset, tmp_path, **THREE)
    list(search.events())
    assert len(search.tables.finalist_runs()) == 4


def test_what_seeds_alone_explain_is_a_tie_and_the_rest_is_not() -> None:
    best, near, far = summarize_finalists([*runs(1, 0.50, 0.52), *runs(2, 0.505, 0.51), *runs(3, 0.30, 0.31)])
    assert [best.trial, near.trial, far.trial] == [1, 2, 3]
    assert (best.tie, near.tie, far.tie) == (True, True, False)
    assert far.gap_to_best == pytest.approx(0.205)
    assert best.deviation == pytest.approx(0.01414, abs=1e-4)


def test_the_bound_of_a_tie_is_students() -> None:
    # Pooled variance 1e-4 with 2 degrees of freedom; t(0.975, 2) = 4.303; standard error 0.01.
    spread = 0.01 * 2**0.5 / 2
    pair = [0.5 - spread, 0.5 + spread]
    inside = runs(2, *(a - 0.0429 for a in pair))
    outside = runs(2, *(a - 0.0431 for a in pair))
    assert summarize_finalists([*runs(1, *pair), *inside])[1].tie
    assert not summarize_finalists([*runs(1, *pair), *outside])[1].tie


def test_one_run_each_tells_nothing_apart() -> None:
    assert all(s.tie and s.deviation is None for s in summarize_finalists([run(1, 0, 0.9), run(2, 0, 0.1)]))


def test_of_equals_the_smaller_comes_first() -> None:
    ranked = summarize_finalists([*runs(1, 0.5, 0.5, params=200), *runs(2, 0.5, 0.5, params=100)])
    assert [s.trial for s in ranked] == [2, 1]
    assert all(s.tie for s in ranked)


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=5))
def test_summaries_hold_their_promises(groups: list[list[float]]) -> None:
    ranked = summarize_finalists(r for i, accuracies in enumerate(groups) for r in runs(i, *accuracies))
    assert sorted(s.trial for s in ranked) == list(range(len(groups)))
    assert ranked[0].tie
    assert ranked[0].gap_to_best == 0
    assert all(a.mean >= b.mean for a, b in pairwise(ranked))


def test_a_table_of_finalists_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "finalists.csv"
    assert read_finalists(path) == []
    written = runs(3, 0.25, 0.5)
    write_finalists(path, written)
    assert read_finalists(path) == written
    path.write_text("trial,seed\n1,2\n")
    with pytest.raises(TableError, match="cannot be read as a table of finalists"):
        read_finalists(path)
