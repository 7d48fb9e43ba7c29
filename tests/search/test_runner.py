"""Real searches of networks that train in a fraction of a second."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StoppedError, StudyError
from nas_budget.search import runner
from nas_budget.search.records import spec_of
from nas_budget.search.runner import Search, SpaceUsedUp, TrialEpoch, TrialFinished, TrialStarted
from nas_budget.search.settings import resolve
from nas_budget.search.storage import quiet_optuna, recorded_settings
from nas_budget.search.study_file import read_study_file
from nas_budget.train.data import Dataset
from nas_budget.train.images import split_images

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "budget.params": 20_000,
    "space.stages": [2, 3],
    "space.width": [4, 16],
    "space.blocks": 1,
    "data.images": 100,
    "data.held_out": 50,
    "recipe.batch_size": 50,
    "recipe.epochs": 3,
    "search.trials": 4,
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def make(dataset: Dataset, folder: Path, stopped: Any = lambda: False, **changes: Any) -> Search:
    overrides = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    sections = read_study_file(None, overrides)
    storage = sections["search"]["storage"]
    settings = resolve("s", sections, CPU, dataset, recorded_settings(storage, folder, "s"))
    images = split_images(dataset, CPU, settings.n_train, settings.n_held_out)
    return Search(settings, images, folder, stopped)


def test_a_search_trains_what_fits_and_writes_it_down(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path)
    events = list(search.events())
    assert [type(e) for e in events[:2]] == [TrialStarted, TrialEpoch]
    records = [e.record for e in events if isinstance(e, TrialFinished)]
    assert [r.number for r in records] == [0, 1, 2, 3]
    assert all(r.params <= 20_000 and r.state in ("complete", "pruned") for r in records)
    assert len({r.spec for r in records}) == 4
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["spec"] for row in rows] == [r.spec for r in records]
    best = max((r for r in records if r.state == "complete"), key=lambda r: (r.accuracy or 0, -r.params))
    assert ResNetSpec.from_json((tmp_path / "best.json").read_text()) == ResNetSpec.from_json(best.spec)
    for r in records:
        lines = (tmp_path / "trials" / str(r.number) / "epochs.jsonl").read_text().splitlines()
        curve = [json.loads(line)["accuracy"] for line in lines]
        assert r.curve == " ".join(f"{a:.5f}" for a in curve)
        assert r.accuracy == curve[-1]


def test_the_study_holds_cost_and_margin_of_each_trial(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, search__trials=1)
    list(search.events())
    known = search.study.trials[0].user_attrs
    assert known["params"] + known["margin_params"] == 20_000
    assert {"macs", "spec", "seconds", "device", "versions"} <= set(known)


def test_a_search_goes_on_to_the_number_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    list(make(dataset, tmp_path, search__trials=2).events())
    assert list(make(dataset, tmp_path, search__trials=2).events()) == []
    search = make(dataset, tmp_path, search__trials=5)
    assert search.finished() == 2
    list(search.events())
    assert len({r.spec for r in search.records()}) == 5


class StopAfter:
    """Says stop when asked for the n-th time."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self) -> bool:
        self.n -= 1
        return self.n < 0


@pytest.mark.parametrize("steps", [0, 1, 7, 9])
def test_a_trial_that_was_stopped_is_trained_again_under_its_number(
    dataset: Dataset, tmp_path: Path, steps: int
) -> None:
    whole = make(dataset, tmp_path / "whole", search__pruner="none", search__trials=3)
    list(whole.events())
    with pytest.raises(StoppedError):
        list(make(dataset, tmp_path / "cut", StopAfter(steps), search__pruner="none", search__trials=3).events())
    search = make(dataset, tmp_path / "cut", search__pruner="none", search__trials=3)
    first = next(search.events())
    assert isinstance(first, TrialStarted)
    assert (first.number, first.again) == (steps // 6, True)
    list(search.events())
    assert [t.state for t in search.study.trials] == [optuna.trial.TrialState.COMPLETE] * 3
    assert search.records()[0].curve == whole.records()[0].curve  # the same network, trained the same way


def test_a_trial_of_a_living_process_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, search__trials=1)
    other = search.study.ask()
    alive = {"host": runner.this_worker()["host"], "pid": 1, "started": __import__("psutil").Process(1).create_time()}
    other.set_user_attr("worker", alive)
    list(search.events())
    assert search.study.trials[0].state == optuna.trial.TrialState.RUNNING
    assert search.finished() == 1


def test_a_trial_that_fails_does_not_end_the_search(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = runner.build, []

    def sometimes(spec: ResNetSpec, seed: int) -> Any:
        calls.append(spec)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no memory\nlong story")
        return real(spec, seed)

    monkeypatch.setattr(runner, "build", sometimes)
    search = make(dataset, tmp_path)
    list(search.events())
    failed = [r for r in search.records() if r.state == "failed"]
    assert [r.reason for r in failed] == ["OutOfMemoryError: no memory"]
    assert search.finished() == 4
    assert len(set(calls)) == 5
    assert "long story" in (tmp_path / "trials" / str(failed[0].number) / "error.txt").read_text()


def test_a_search_in_which_everything_fails_gives_up(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(spec: ResNetSpec, seed: int) -> Any:
        raise RuntimeError("no device")

    monkeypatch.setattr(runner, "build", broken)
    with pytest.raises(StudyError, match="5 trials failed in a row.*no device"):
        list(make(dataset, tmp_path).events())


def test_a_network_that_diverges_is_pruned(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, recipe__learning_rate=1e30, search__trials=1)
    list(search.events())
    record = search.records()[0]
    assert (record.state, record.epochs) == ("pruned", 1)
    assert "diverged" in record.reason


def test_a_space_that_is_used_up_ends_the_search(dataset: Dataset, tmp_path: Path) -> None:
    few = {
        "space__stages": 1,
        "space__width": [4, 6],
        "space__kernels": 3,
        "space__pool": 2,
        "space__shortcut_kernel": 1,
    }
    search = make(dataset, tmp_path, **few, recipe__epochs=1, search__trials=10)
    assert list(search.events())[-1] == SpaceUsedUp(3)
    assert list(make(dataset, tmp_path, **few, recipe__epochs=1, search__trials=10).events()) == [SpaceUsedUp(3)]
    assert sorted(spec_of(t).channels for t in search.study.trials if spec_of(t)) == [(4,), (5,), (6,)]  # type: ignore[union-attr]


def test_queued_networks_come_first_and_once(dataset: Dataset, tmp_path: Path) -> None:
    queue = [
        {"channels": [6, 9], "blocks": 1, "strides": [2, 2], "pool": "global"},
        {"channels": [5, 5, 7], "blocks": 2, "pool": 1},
        {"channels": [6, 9], "blocks": 1, "strides": [2, 2], "pool": 8},
    ]
    search = make(dataset, tmp_path, search__queue=queue)
    list(search.events())
    records = search.records()
    assert [r.channels for r in records[:2]] == ["6-9", "5-5-7"]
    assert len({r.spec for r in records}) == 4


def test_a_database_works_like_the_journal(dataset: Dataset, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/trials.db"
    list(make(dataset, tmp_path, search__storage=address, search__trials=1).events())
    search = make(dataset, tmp_path, search__storage=address, search__trials=2)
    list(search.events())
    assert [r.number for r in search.records()] == [0, 1]
    assert not (tmp_path / "study.journal").exists()


def test_the_sampler_does_not_disturb_what_is_trained(dataset: Dataset, tmp_path: Path) -> None:
    curves = []
    for sampler in "tpe", "random":
        queue = [{"channels": [6, 9], "blocks": 1}]
        search = make(dataset, tmp_path / sampler, search__sampler=sampler, search__queue=queue, search__trials=1)
        list(search.events())
        curves.append(search.records()[0].curve)
    assert curves[0] == curves[1]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", ["_choose", "_run", "_epochs", "_write_table"])
def test_a_death_at_any_point_of_a_trial_costs_no_trial(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    whole = make(dataset, tmp_path / "whole")
    list(whole.events())
    real, calls = getattr(Search, where), []

    def dies_the_third_time(self: Search, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        return real(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Search, where, dies_the_third_time)
        list(make(dataset, tmp_path / "cut").events())
    search = make(dataset, tmp_path / "cut")
    list(search.events())
    assert [t.state for t in search.study.trials if not t.state.is_finished()] == []
    assert [r.number for r in search.records()] == [0, 1, 2, 3]
    assert len({r.spec for r in search.records()}) == 4
    rows = list(csv.DictReader((tmp_path / "cut" / "trials.csv").read_text().splitlines()))
    assert [row["spec"] for row in rows] == [r.spec for r in search.records()]


def test_a_death_between_queueing_and_asking_queues_once(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = [{"channels": [6, 9], "blocks": 1}]

    def dies(self: optuna.Study, *_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(optuna.Study, "ask", dies)
        list(make(dataset, tmp_path, search__queue=queue).events())
    search = make(dataset, tmp_path, search__queue=queue)
    list(search.events())
    assert [r.channels for r in search.records()].count("6-9") == 1
    assert search.records()[0].channels == "6-9"


def test_a_table_that_was_lost_is_written_again(dataset: Dataset, tmp_path: Path) -> None:
    list(make(dataset, tmp_path, search__trials=2).events())
    before = (tmp_path / "trials.csv").read_text()
    for name in "trials.csv", "best.json":
        (tmp_path / name).unlink()
    list(make(dataset, tmp_path, search__trials=2).events())
    assert (tmp_path / "trials.csv").read_text() == before
    assert (tmp_path / "best.json").exists()


def test_two_searches_do_not_run_one_study_at_once(dataset: Dataset, tmp_path: Path) -> None:
    first, second = make(dataset, tmp_path), make(dataset, tmp_path)
    events = first.events()
    next(events)
    with pytest.raises(StudyError, match="another process"):
        next(second.events())
    events.close()
    assert isinstance(next(second.events()), TrialStarted)
