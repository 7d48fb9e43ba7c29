"""Real searches of networks that train in a fraction of a second."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy.exc
import torch
from optuna.trial import TrialState

from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import SpoiledDeviceError, StoppedError, StorageError, TrainingError
from nas_budget.records.predictions import read_predictions
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.tables import StudyTables, candidate_of
from nas_budget.search.storage.trial_store import TrialStore
from nas_budget.search.workers import process_pool, search_runner, trainer, trial_runner
from nas_budget.search.workers.events import SearchEnded, TrialFinished, TrialStarted, WorkerLost
from nas_budget.search.workers.part import SearchPart
from nas_budget.search.workers.scheduler import Assignment, SearchScheduler, was_done
from nas_budget.search.workers.search_runner import LocalWorker, Search, visible_gpus
from nas_budget.search.workers.trial_runner import TrialRunner
from nas_budget.train.data.dataset import Dataset, open_npz
from nas_budget.train.engine import loop
from tests.search.studies import make


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


class Killed(BaseException):
    """The process ends here."""


def test_a_search_trains_what_fits_and_writes_it_down(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path)
    events = list(search.events())
    records = sorted((e.record for e in events if isinstance(e, TrialFinished)), key=lambda r: r.number)
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


@pytest.mark.parametrize(
    ("sampler", "trials", "written"), [("bayes", 6, True), ("bayes", 4, False), ("random", 6, False)]
)
def test_a_search_with_a_model_writes_what_it_expects(
    dataset: Dataset, tmp_path: Path, sampler: str, trials: int, written: bool
) -> None:
    list(make(dataset, tmp_path, search__sampler=sampler, search__trials=trials).events())
    expected = read_predictions(tmp_path / "predictions.csv")
    assert bool(expected) == written
    assert all(one.params <= 20_000 and one.deviation > 0 for one in expected)


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
    assert len(search.tables.rows()) == 2
    list(search.events())
    assert len({r.spec for r in search.tables.rows()}) == 5


class StopAfter:
    """Says stop when asked for the n-th time."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self) -> bool:
        self.n -= 1
        return self.n < 0


@pytest.mark.slow
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
    assert (first.number, first.resumed) == (steps // 6, True)
    list(search.events())
    assert [t.state for t in search.study.trials] == [TrialState.COMPLETE] * 3
    assert search.tables.rows()[0].curve == whole.tables.rows()[0].curve  # the same network, trained the same way


def begun(dataset: Dataset, folder: Path, worker: dict[str, str], **changes: Any) -> SearchScheduler:
    """A worker of another machine that has just begun a trial of the study."""
    settings = make(dataset, folder, **changes).settings
    part = SearchPart(settings, folder, None, 0)
    scheduler = part.scheduler({"device": "a CPU", "worker_index": 0, **worker})
    assert isinstance(scheduler.suggest(), Assignment)
    assert isinstance(scheduler, SearchScheduler)
    return scheduler


def test_what_another_machine_left_in_a_run_folder_is_taken_over_at_once(dataset: Dataset, tmp_path: Path) -> None:
    begun(dataset, tmp_path, {"host": "elsewhere"}, search__trials=1)
    first, *_ = make(dataset, tmp_path, search__trials=1).events()
    assert isinstance(first, TrialStarted)
    assert first.resumed


def test_a_trial_that_had_come_to_its_end_is_not_trained_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrialRunner, "finish", dies)
        list(make(dataset, tmp_path, search__trials=1).events())
    search = make(dataset, tmp_path, search__trials=1)
    assert list(search.events()) == []
    (row,) = search.tables.rows()
    assert (row.state, row.epochs, row.repeated_seconds) == ("complete", 3, 0)
    assert row.seconds > 0


def test_a_lost_worker_is_noted_with_its_trial_which_fails_when_it_takes_a_second_one_with_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(next(make(dataset, tmp_path, search__trials=1).events()), TrialStarted)  # and its process is gone
    monkeypatch.setattr(process_pool, "run_processes", lambda *_: iter([WorkerLost(0, -9, 0)]))
    search = make(dataset, tmp_path, search__trials=1, search__workers=2)
    assert list(search.events()) == [WorkerLost(0, -9, 0)]
    (trial,) = search.study.trials
    assert trial.state == TrialState.RUNNING
    assert trial.user_attrs["deaths"] == [[0, "killed by signal 9 (out of memory?)"]]
    lost, ended = make(dataset, tmp_path, search__trials=1, search__workers=2).events()
    assert isinstance(ended, TrialFinished)
    assert (ended.record.number, ended.record.state) == (0, "failed")
    assert ended.record.reason == "its worker was lost 2 times: killed by signal 9 (out of memory?)"
    assert list(make(dataset, tmp_path, search__trials=1, search__workers=2).events()) == [lost]  # it has ended


def test_a_trial_whose_worker_was_lost_once_is_tried_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(next(make(dataset, tmp_path, search__trials=1).events()), TrialStarted)
    with monkeypatch.context() as patch:
        patch.setattr(process_pool, "run_processes", lambda *_: iter([WorkerLost(0, -11, 0)]))
        list(make(dataset, tmp_path, search__trials=1, search__workers=2).events())
    search = make(dataset, tmp_path, search__trials=1)
    list(search.events())
    (trial,) = search.study.trials
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["deaths"] == [[0, "killed by signal 11 (a crash in native code)"]]


def test_a_full_disk_ends_the_search_and_not_the_trial(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "epochs.jsonl")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="cannot be written .No space left"):
        patch.setattr(trial_runner, "epoch_line", full)
        list(make(dataset, tmp_path).events())
    search = make(dataset, tmp_path)
    list(search.events())
    assert [row.state for row in search.tables.rows() if row.state == "failed"] == []


def test_a_network_that_its_last_step_spoils_is_pruned(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "evaluate", lambda *_: (0.1, float("nan")))
    search = make(dataset, tmp_path, recipe__epochs=1, search__trials=1)
    list(search.events())
    (row,) = search.tables.rows()
    assert (row.state, row.epochs) == ("pruned", 1)
    assert row.reason.startswith("diverged in epoch 1")


def test_trials_of_others_in_the_study_are_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, search__finalists=1, search__finalist_seeds=1)
    search.study.add_trial(optuna.trial.create_trial(value=2.0))
    list(search.events())
    assert search.tables.finished() == 4
    assert len(search.tables.finalist_runs()) == 1


def test_a_storage_that_fails_ends_the_search_and_not_the_trial(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any, **__: Any) -> None:
        raise sqlalchemy.exc.OperationalError("statement", {}, Exception("database is locked"))

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="cannot be used: database is locked"):
        patch.setattr(TrialStore, "report", locked)
        list(make(dataset, tmp_path, search__storage=f"sqlite:///{tmp_path}/trials.db").events())
    search = make(dataset, tmp_path, search__storage=f"sqlite:///{tmp_path}/trials.db")
    list(search.events())
    assert [row.state for row in search.tables.rows() if row.state == "failed"] == []


def test_a_trial_that_fails_does_not_end_the_search(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = trainer.build, []

    def sometimes(spec: ResNetSpec, seed: int) -> Any:
        calls.append(spec)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no memory\nlong story")
        return real(spec, seed)

    monkeypatch.setattr(trainer, "build", sometimes)
    search = make(dataset, tmp_path)
    list(search.events())
    failed = [r for r in search.tables.rows() if r.state == "failed"]
    assert [r.reason for r in failed] == ["OutOfMemoryError: no memory"]
    assert search.tables.finished() == 4
    assert len(set(calls)) == 5
    assert "long story" in (tmp_path / "trials" / str(failed[0].number) / "error.txt").read_text()


@pytest.fixture
def spoiling(monkeypatch: pytest.MonkeyPatch) -> list[ResNetSpec]:
    """The first network of this process spoils its GPU; the networks that it has built."""
    calls: list[ResNetSpec] = []
    real = trainer.build

    def spoils(spec: ResNetSpec, seed: int) -> Any:
        calls.append(spec)
        if spec == calls[0]:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might")
        return real(spec, seed)

    monkeypatch.setattr(trainer, "build", spoils)
    return calls


@pytest.mark.slow
def test_a_trial_that_spoils_the_gpu_is_trained_once_more_by_a_process_of_its_own(
    tmp_path: Path, npz: Path, spoiling: list[ResNetSpec]
) -> None:
    search = make(open_npz(npz, str(npz)), tmp_path)  # a process of its own can open it by that name
    events = list(search.events())
    (lost,) = [event for event in events if isinstance(event, WorkerLost)]
    assert (lost.trial, lost.finalist) == (0, False)
    assert lost.cause == "could use its GPU no more"
    started = [(event.number, event.resumed) for event in events if isinstance(event, TrialStarted)]
    assert started[:2] == [(0, False), (0, True)]
    assert search.tables.finished() == 4
    assert len(spoiling) == 1  # this process has trained no other
    assert not [r for r in search.tables.rows() if r.state == "failed"]


def test_a_trial_that_spoils_the_gpu_twice_has_failed_and_the_others_go_on(
    dataset: Dataset, tmp_path: Path, spoiling: list[ResNetSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        """Processes that are in fact this one, each with a GPU that can be used."""

        def __init__(self, *_: Any) -> None:
            pass

        def events(self, job: LocalWorker) -> Any:
            for _ in range(2):
                try:
                    yield from search_runner.events_of(job.part, search.trainer, lambda: False)
                except SpoiledDeviceError:
                    yield WorkerLost(0, 1)

    monkeypatch.setattr(search_runner, "WorkerPool", Elsewhere)
    search = make(dataset, tmp_path)
    list(search.events())
    failed = [r for r in search.tables.rows() if r.state == "failed"]
    assert [r.reason for r in failed] == ["RuntimeError: CUDA error: an illegal memory access was encountered"]
    assert search.tables.finished() == 4
    assert spoiling.count(spoiling[0]) == 2


def test_a_gpu_that_is_spoiled_under_a_trainer_of_ones_own_ends_the_search(
    dataset: Dataset, tmp_path: Path, spoiling: list[ResNetSpec]
) -> None:
    search = make(dataset, tmp_path)
    search.trainer = Own(search.trainer)
    with pytest.raises(SpoiledDeviceError, match="can use its GPU no more .CUDA error: an illegal memory access"):
        list(search.events())
    assert [t.state for t in search.study.get_trials()] == [TrialState.RUNNING]


class Own:
    """A trainer that is not the program's, so that no other process can make one."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.mark.parametrize(
    ("name", "variable", "n", "expected"),
    [
        ("auto", None, 3, ("0", "1", "2")),
        ("cuda", "", 2, ("0", "1")),
        ("cuda:1", None, 3, ("1",)),
        ("auto", "2,5", 2, ("2", "5")),
        ("cuda:1", "2, 5", 2, ("5",)),
        ("auto", "0,7", 1, ("0",)),  # there is no GPU 7
        ("auto", "MIG-a,MIG-b", 1, ("MIG-a", "MIG-b")),
    ],
)
def test_gpus_are_dealt_out_by_the_names_that_cuda_has_for_them(
    name: str, variable: str | None, n: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus(name) == expected


def test_each_worker_sees_one_gpu(dataset: Dataset, tmp_path: Path) -> None:
    settings = make(dataset, tmp_path).settings
    part = SearchPart(settings, tmp_path, None, 0)
    worker = LocalWorker(part, None, ("4", "MIG-a"))
    assert [worker.environment(i)["CUDA_VISIBLE_DEVICES"] for i in range(3)] == ["4", "MIG-a", "4"]
    assert LocalWorker(part, None).environment(1) == {}


def test_a_search_in_which_everything_fails_gives_up(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(spec: ResNetSpec, seed: int) -> Any:
        raise RuntimeError("no device")

    monkeypatch.setattr(trainer, "build", broken)
    with pytest.raises(TrainingError, match="5 trials failed in a row.*no device"):
        list(make(dataset, tmp_path).events())


def test_a_network_that_diverges_is_pruned(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, recipe__optimizer="sgd", recipe__learning_rate=1e30, search__trials=1)
    list(search.events())
    record = search.tables.rows()[0]
    assert (record.state, record.epochs) == ("pruned", 1)
    assert "diverged" in record.reason


def test_a_space_that_is_used_up_ends_the_search(dataset: Dataset, tmp_path: Path) -> None:
    few = {
        "space__stages": 1,
        "space__width": [4, 6],
        "space__kernels": 3,
        "space__pool": 2,
        "space__shortcut_kernel": 1,
        "space__first_stride": 1,
    }
    search = make(dataset, tmp_path, **few, recipe__epochs=1, search__trials=10)
    ended = SearchEnded("all 3 networks of the space that fit have been tried")
    assert list(search.events())[-1] == ended
    assert list(make(dataset, tmp_path, **few, recipe__epochs=1, search__trials=10).events()) == [ended]
    tried = [candidate_of(t) for t in search.study.trials]
    assert sorted(candidate.spec.channels for candidate in tried if candidate) == [(4,), (5,), (6,)]


def test_queued_networks_come_first_and_once(dataset: Dataset, tmp_path: Path) -> None:
    queue = [
        {"channels": [6, 9], "blocks": 1, "strides": [2, 2], "pool": "global"},
        {"channels": [5, 5, 7], "blocks": 2, "pool": 1},
        {"channels": [6, 9], "blocks": 1, "strides": [2, 2], "pool": 8},
    ]
    search = make(dataset, tmp_path, search__queue=queue)
    list(search.events())
    records = search.tables.rows()
    assert [r.channels for r in records[:2]] == ["6-9", "5-5-7"]
    assert len({r.spec for r in records}) == 4


def test_a_database_works_like_the_journal(dataset: Dataset, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/trials.db"
    list(make(dataset, tmp_path, search__storage=address, search__trials=1).events())
    search = make(dataset, tmp_path, search__storage=address, search__trials=2)
    list(search.events())
    assert [r.number for r in search.tables.rows()] == [0, 1]
    assert not (tmp_path / "study.journal").exists()


def test_the_sampler_does_not_disturb_what_is_trained(dataset: Dataset, tmp_path: Path) -> None:
    curves = []
    for sampler in "tpe", "random":
        queue = [{"channels": [6, 9], "blocks": 1}]
        search = make(dataset, tmp_path / sampler, search__sampler=sampler, search__queue=queue, search__trials=1)
        list(search.events())
        curves.append(search.tables.rows()[0].curve)
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("home", "where"),
    [
        (SearchScheduler, "_begin"),
        (TrialRunner, "train_to"),
        (SearchScheduler, "on_rung"),
        (TrialRunner, "finish"),
        (StudyTables, "write"),
    ],
)
def test_a_death_at_any_point_of_a_trial_costs_no_trial(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: type, where: str
) -> None:
    whole = make(dataset, tmp_path / "whole")
    list(whole.events())
    real, calls = getattr(home, where), []

    def dies_the_third_time(self: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        return real(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(home, where, dies_the_third_time)
        list(make(dataset, tmp_path / "cut").events())
    search = make(dataset, tmp_path / "cut")
    list(search.events())
    assert [t.state for t in search.study.trials if not t.state.is_finished()] == []
    assert [r.number for r in search.tables.rows()] == [0, 1, 2, 3]
    assert len({r.spec for r in search.tables.rows()}) == 4
    rows = list(csv.DictReader((tmp_path / "cut" / "trials.csv").read_text().splitlines()))
    assert [row["spec"] for row in rows] == [r.spec for r in search.tables.rows()]


def test_a_table_that_was_lost_is_written_again(dataset: Dataset, tmp_path: Path) -> None:
    list(make(dataset, tmp_path, search__trials=2).events())
    before = (tmp_path / "trials.csv").read_text()
    for name in "trials.csv", "best.json":
        (tmp_path / name).unlink()
    list(make(dataset, tmp_path, search__trials=2).events())
    assert (tmp_path / "trials.csv").read_text() == before
    assert (tmp_path / "best.json").exists()


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_two_searches_do_not_run_one_study_at_once(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    storage = "journal" if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
    first, second = (make(dataset, tmp_path, search__storage=storage) for _ in range(2))
    events = first.events()
    next(events)
    with pytest.raises(StorageError, match="another process"):
        next(second.events())
    events.close()
    assert isinstance(next(second.events()), TrialStarted)


def test_several_seeds_a_trial_give_their_mean(dataset: Dataset, tmp_path: Path) -> None:
    queue = [{"channels": [6, 9], "blocks": 1}]
    ones = []
    for seed in 0, 1:
        search = make(dataset, tmp_path / str(seed), search__queue=queue, search__trials=1, search__seed=seed)
        list(search.events())
        ones.append(search.tables.rows()[0].accuracy)
    both = make(dataset, tmp_path / "both", search__queue=queue, search__trials=1, search__trial_seeds=2)
    list(both.events())
    row = both.tables.rows()[0]
    assert row.accuracy == pytest.approx(sum(a or 0 for a in ones) / 2)
    assert row.seeds == 2


def test_a_recipe_is_searched_and_written_down(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path, recipe__learning_rate=[0.01, 0.2], recipe__batch_size=[25, 50])
    list(search.events())
    rows = search.tables.rows()
    assert len({row.learning_rate for row in rows}) > 1
    assert {row.batch_size for row in rows} == {25, 50}


def test_the_table_of_a_long_study_is_not_written_after_every_trial(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    real = StudyTables.write

    def slow(self: StudyTables) -> None:
        writes.append(1)
        real(self)
        self.next_write = float("inf")

    monkeypatch.setattr(StudyTables, "write", slow)
    search = make(dataset, tmp_path)
    list(search.events())
    assert len(writes) == 2  # at the beginning and at the end
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(("known", "done"), [({}, True), ({"diverged": True}, False)])
def test_a_lost_trial_that_diverged_at_its_end_is_not_taken_for_complete(known: dict[str, bool], done: bool) -> None:
    about = {"recipe": {"epochs": 3}, **known}
    trial = optuna.trial.create_trial(state=TrialState.PRUNED, user_attrs=about, intermediate_values={3: 0.1})
    assert was_done(trial) is done


def ends(search: Search) -> list[tuple[int | None, float | None]]:
    return [(level, deadline and deadline.at) for level, deadline in search._parts()]


def test_a_time_ends_the_trials_before_the_ladder_and_all_of_it_in_the_end(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000.0)
    asked = {"search__time": 100, "search__proxy": "1/2", "search__ladder": [1], "space__width": [7, 16]}
    search = make(dataset, tmp_path, **asked, search__finalists=1)
    assert ends(search) == [(0, 1_070.0), (1, 1_100.0), (None, 1_100.0)]
    assert [deadline.why for _, deadline in search._parts() if deadline] == [
        "70% of the 2 min of search.time are over; the rest is for wider copies of the best",
        "the 2 min of search.time are over",
        "the 2 min of search.time are over",
    ]
    sooner = make(dataset, tmp_path / "sooner", **asked, search__timeout=50)
    assert ends(sooner) == [(0, 1_050.0), (1, 1_050.0)]
    endless = make(dataset, tmp_path / "endless", **asked | {"search__time": "none"})
    assert ends(endless) == [(0, None), (1, None)]
