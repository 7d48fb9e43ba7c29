"""Workers that join a study late, or at the same moment as others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from optuna.trial import TrialState

from nas_budget.arch.cost import cost
from nas_budget.search.samplers.candidate import CandidateSpace
from nas_budget.search.samplers.sampler import N_STARTUP, CandidateSampler
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import FINALISTS_STUDY, open_study
from nas_budget.search.storage.tables import finalists
from nas_budget.search.workers import scheduler as scheduling
from nas_budget.search.workers.finalist_scheduler import FinalistScheduler
from nas_budget.search.workers.scheduler import Assignment, SearchScheduler
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.data.dataset import Dataset
from tests.search.storage.test_leases import Sleeper
from tests.search.studies import settings
from tests.search.workers.test_schedulers import train

Join = Callable[[int], SearchScheduler]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


@pytest.fixture
def join(dataset: Dataset, tmp_path: Path) -> Join:
    """The scheduler of a host of its own, with the same seed, on one database."""
    made = settings(
        dataset, tmp_path, search__storage=f"sqlite:///{tmp_path}/trials.db", search__trials=20,
        search__n_startup_trials=8, search__pruner="none",
    )  # fmt: skip

    def call(host: int) -> SearchScheduler:
        folder = tmp_path / str(host)
        return SearchScheduler(made, open_study(made, folder, "of today"), folder, {"worker_index": 0})

    return call


def begin(scheduler: SearchScheduler) -> Assignment:
    trial = scheduler.suggest()
    assert isinstance(trial, Assignment)
    return trial


@pytest.mark.parametrize("sampler", ["bayes", "tpe", "random"])
def test_who_joins_takes_what_trials_have_stored_and_counts_and_computes_nothing_anew(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    made = settings(dataset, tmp_path, search__sampler=sampler, search__trials=6, search__pruner="none")
    about = {"worker_index": 0}
    first = SearchScheduler(made, open_study(made, tmp_path, "of today"), tmp_path, about)
    given = [begin(first) for _ in range(5)]
    for trial in given[:4]:
        first.on_finished(trial, train(first, trial), 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(CandidateSampler, "coordinates", lambda *_: pytest.fail("computed anew"))
        patch.setattr("nas_budget.search.samplers.sampler.cost", lambda _: pytest.fail("counted anew"))
        late = SearchScheduler(made, open_study(made, tmp_path, "of today"), tmp_path, about)
        late.look()
    assert late.seen == first.seen == {trial.candidate for trial in given}
    first.look()
    assert late.sampler.observations == first.sampler.observations
    assert [one.params for one in late.sampler.observations] == [cost(t.candidate.spec).params for t in given[:4]]


def test_hosts_that_start_together_do_not_propose_the_same(join: Join) -> None:
    """They have one seed and one host name, and none has seen a trial of another."""
    hosts = [join(n) for n in range(4)]
    for host in hosts:
        host.look()
    proposals = [host._propose() for host in hosts]
    assert len({proposal.candidate for proposal in proposals if proposal}) == 4
    for host in hosts:
        host.store.release()


def test_startup_trials_are_the_studys_and_each_is_begun_once(join: Join) -> None:
    """A host that joins goes on where the others are, and draws no more than the trial it begins."""
    hosts = [join(n) for n in range(4)]
    given = [begin(host) for host in hosts for _ in range(2)]
    assert [trial.number for trial in given] == [*range(8)]
    assert len({trial.candidate for trial in given}) == 8
    assert [host.sampler.n_begun for host in hosts] == [2, 4, 6, 8]
    assert not any("random_rows" in vars(host.sampler) for host in hosts)  # what a model chooses from
    alone = [cost(trial.candidate.spec).params for trial in given]
    assert alone[1] == max(alone)  # the second is one of the largest, whoever begins it
    for host in hosts:
        host.store.release()


def test_a_host_draws_for_the_startup_trial_that_it_begins_and_for_no_other(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight at once, in each of many hosts, took seconds and a gigabyte."""
    drawn, usual = list[int](), CandidateSpace.random
    monkeypatch.setattr(CandidateSpace, "random", lambda self, n, *given: drawn.append(n) or usual(self, n, *given))
    hosts = [join(n) for n in range(3)]
    for host in hosts:
        host.look()
    assert drawn == []
    for host in hosts:
        begin(host)
    assert drawn == [N_STARTUP] * 3
    for host in hosts:
        host.store.release()


def test_of_two_that_begin_the_same_one_goes_on(join: Join) -> None:
    first, second = join(0), join(1)
    for host in first, second:
        host.look()
    proposal = first._propose()
    assert proposal
    assert first._begin(proposal)
    assert second._begin(proposal) is None
    assert [trial.state for trial in first.store.study.trials] == [TrialState.RUNNING, TrialState.FAIL]
    for host in first, second:
        host.store.release()


def test_finalists_wait_until_the_trials_of_all_machines_have_ended(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick machine has nothing left to begin long before the slow one is done."""
    monkeypatch.setattr(scheduling, "LOOK_S", 0.05)
    changes: dict[str, Any] = {"search__finalists": 2, "search__finalist_seeds": 1, "search__pruner": "none"}
    made = settings(
        dataset, tmp_path, search__storage=f"sqlite:///{tmp_path}/trials.db", search__trials=4, search__workers=1,
        search__sampler="random", **changes,
    )  # fmt: skip
    slow, quick = (Search(made, Sleeper(wait), tmp_path / name) for name, wait in (("slow", 1.0), ("quick", 0.01)))
    events = slow.events()
    next(events)  # its first trial has begun
    threads = [Thread(target=list, args=(each,)) for each in (events, quick.events())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials, again = slow.study.trials, quick.tables.finalists_study
    assert again
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(done) == 4
    last = max(trial.datetime_complete for trial in done if trial.datetime_complete)
    begun = [trial for trial in again.trials if trial.state == TrialState.COMPLETE]
    assert min(trial.datetime_start for trial in begun if trial.datetime_start) >= last
    assert {trial.user_attrs["of"] for trial in begun} == {trial.number for trial in quick.tables.best()}
    assert [trial.number for trial in slow.tables.best()] == [trial.number for trial in quick.tables.best()]
    assert len(begun) == 2


def test_of_two_machines_that_begin_the_same_finalist_one_trains_it(dataset: Dataset, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/trials.db"
    made = settings(
        dataset, tmp_path, search__storage=storage, search__trials=2, search__finalists=1, search__finalist_seeds=1,
        search__pruner="none", search__sampler="random",
    )  # fmt: skip
    study = open_study(made, tmp_path, "of today")
    first = SearchScheduler(made, study, tmp_path, {"worker_index": 0})
    for _ in range(2):
        trial = begin(first)
        first.on_finished(trial, train(first, trial), 1.0)
    best = finalists(study, 1)
    one, other = (
        FinalistScheduler(
            made, open_study(made, tmp_path, "of today", FINALISTS_STUDY), tmp_path / name, {"worker_index": 0}, best
        )
        for name in ("one", "other")
    )
    seed = 1
    assert one._begin(best[0], seed)
    assert other._begin(best[0], seed) is None
    assert [run.state for run in one.store.study.trials] == [TrialState.RUNNING, TrialState.FAIL]
    for each in first, one, other:
        each.store.release()
