"""Workers as actors of a real Ray on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from nas_budget.errors import DataError, StoppedError, StudyError, UsageError
from nas_budget.search.cluster import ray_engine
from nas_budget.search.cluster.ray_engine import RayWorkers, _cause, _connected
from nas_budget.search.open_study import open_search
from nas_budget.search.workers.events import TrialEpoch, TrialFinished, TrialStarted, WorkerLost
from nas_budget.search.workers.search_runner import Search

ray = pytest.importorskip("ray")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # Ray and torch in each worker take a minute to start
STUDY = {
    "budget.params": "20k", "data.name": "shapes", "data.images": 200, "data.validation_images": 100,
    "recipe.epochs": 3, "search.trials": 6, "search.proxy": "none", "search.workers": 2,
}  # fmt: skip


def searching(runs: Path, workers: RayWorkers) -> Search:
    return open_search(None, STUDY, "r", runs).search(workers=workers)


def processes(actor: str) -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if actor in " ".join(p.cmdline())]


def test_a_search_ends_with_every_trial_though_a_worker_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "MEASURED_WORKERS", 1)
    told: list[str] = []
    search, seen = searching(tmp_path, RayWorkers(2, cpus=0.5, on_message=told.append)), Counter[str]()
    for event in search.events():
        if isinstance(event, TrialEpoch) and not seen["TrialEpoch"]:
            os.kill(processes("WorkerActor")[0].pid, signal.SIGKILL)
        seen[type(event).__name__] += 1
    assert seen[WorkerLost.__name__] == 1
    assert told[0].startswith("NOTE: 2 workers ask one coordinator; measured are 1")
    rows = search.tables.rows()
    assert [row.number for row in rows] == list(range(6))
    assert {row.state for row in rows} == {"complete"}
    assert seen[TrialFinished.__name__] == 6
    assert len({row.spec for row in rows}) == 6
    assert not processes("WorkerActor")
    here = open_search(None, STUDY | {"search.workers": 1}, "here", tmp_path, in_process=True)
    n_same = here.settings.n_startup_trials  # those after them follow what the trials before gave, and when
    assert n_same > 3
    alone = here.search()
    for _ in alone.events():
        if alone.tables.finished() >= n_same:
            break
    assert [row.spec for row in alone.tables.rows()][:n_same] == [row.spec for row in rows][:n_same]


def test_the_last_trial_is_resumed_though_its_worker_was_the_last(tmp_path: Path) -> None:
    search = searching(tmp_path, RayWorkers(1, cpus=0.5))
    lost = 0
    for event in search.events():
        lost += isinstance(event, WorkerLost)
        if isinstance(event, TrialStarted) and event.number == 5 and not lost:
            os.kill(processes("WorkerActor")[0].pid, signal.SIGKILL)
    assert lost == 1
    assert [(row.number, row.state) for row in search.tables.rows()] == [(n, "complete") for n in range(6)]


def test_no_trial_is_lost_with_a_node_or_with_the_coordinator(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    seen, killed, resumed = Counter[str](), 0.0, list[float]()
    try:
        search = searching(tmp_path, RayWorkers(2, address=cluster.address))
        for event in search.events():
            seen[type(event).__name__] += 1
            if isinstance(event, TrialStarted) and event.resumed:
                resumed.append(time.monotonic() - killed)
            if isinstance(event, TrialStarted) and seen["TrialStarted"] == 2:  # both nodes train
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                killed = time.monotonic()
            elif isinstance(event, WorkerLost) and seen["WorkerLost"] == 1:
                coordinator = processes("CoordinatorActor")[0]
                assert not [one.path for one in coordinator.memory_maps() if "torch" in one.path]
                os.kill(coordinator.pid, signal.SIGKILL)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert seen["WorkerLost"] >= 1  # another may be placed on the node before Ray knows that it is gone
    assert 1 <= len(resumed) <= seen["WorkerLost"]  # whoever lives keeps its trial, though its coordinator is another
    assert max(resumed) < 90
    rows = search.tables.rows()
    assert [row.number for row in rows] == list(range(6))
    assert {(row.state, row.epochs) for row in rows} == {("complete", 3)}
    assert len({row.spec for row in rows}) == 6


def test_a_search_that_is_stopped_is_resumed(tmp_path: Path) -> None:
    stop = [False]
    search = searching(tmp_path, RayWorkers(2, lambda: stop[0], cpus=0.5))
    with pytest.raises(StoppedError):
        for event in search.events():
            stop[0] = stop[0] or isinstance(event, TrialFinished)
    assert 0 < search.tables.finished() < 6
    again = searching(tmp_path, RayWorkers(2, cpus=0.5))
    list(again.events())
    assert [row.number for row in again.tables.rows()] == list(range(6))


def test_a_machine_with_other_versions_or_data_ends_the_search_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if this machine, not that of the workers, were another one. Nothing is lost: the same study goes on."""
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(ray_engine, "versions", lambda: "nas-budget 0.0.1")
            others, allowed = RayWorkers(1), RayWorkers(1, any_version=True)
        with pytest.raises(
            StudyError, match=r": has nas-budget .*, and the search nas-budget 0.0.1; install those, or"
        ):
            list(searching(tmp_path, others).events())
        opened = open_search(None, STUDY, "other", tmp_path)
        changed = replace(opened, settings=replace(opened.settings, data_digest="of other images"))
        with pytest.raises(DataError, match=r": the images of shapes are not those of the study"):
            list(changed.search(workers=RayWorkers(1)).events())
        search = searching(tmp_path, allowed)
        list(search.events())
    finally:
        ray.shutdown()
    assert [(row.number, row.state) for row in search.tables.rows()] == [(n, "complete") for n in range(6)]


def test_without_an_address_the_cluster_of_others_on_this_machine_is_left_alone() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        with _connected(None) as ours:
            assert ours.get_runtime_context().gcs_address != cluster.address
        with _connected(cluster.address) as ours:
            assert ours.get_runtime_context().gcs_address == cluster.address
    finally:
        cluster.shutdown()


def test_a_search_that_is_stopped_before_a_worker_has_started_is_no_finished_one(tmp_path: Path) -> None:
    """A signal still is what it was: Ray takes SIGTERM, and aborts at it."""
    taken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))
    try:
        with _connected(None):
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(StoppedError):
                list(searching(tmp_path, RayWorkers(1, lambda: bool(taken), cpus=0.5)).events())
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert taken == [signal.SIGTERM] * 2


@pytest.mark.parametrize(
    ("gpus", "cpus", "said"),
    [(0.5, 1, "--gpus-per-worker 0.5: this machine has 0"), (0, 5, "--cpus-per-worker 5: this machine has 2")],
)
def test_a_worker_that_this_machine_has_no_room_for_is_refused(gpus: float, cpus: float, said: str) -> None:
    one = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})
    with pytest.raises(UsageError, match=said):
        RayWorkers(gpus=gpus, cpus=cpus).n_places(one)
    assert RayWorkers(address="auto", gpus=gpus, cpus=cpus).n_places(one) == 1  # a cluster may grow


def test_why_workers_are_lost_is_said_in_a_sentence() -> None:
    ended = "The actor died.\n  class_name: Worker\nThe actor is dead because its process has died. Some say: ..."
    assert _cause(RuntimeError(ended)) == "The actor is dead because its process has died"
    assert (
        _cause(RuntimeError("ray::WorkerActor.__init__()\n  File x\nTypeError: 7 were given\n"))
        == "TypeError: 7 were given"
    )
    assert _cause(RuntimeError()) == "RuntimeError"


def test_a_cluster_that_does_not_answer_is_told(tmp_path: Path) -> None:
    workers = RayWorkers(2, address="127.0.0.1:1")
    with pytest.raises(UsageError, match=r"--ray-address 127.0.0.1:1: no Ray cluster answers \(.*ray start --head"):
        list(searching(tmp_path, workers).events())
