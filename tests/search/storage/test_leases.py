"""Trials of machines that are gone are taken over, and no others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from nas_budget.arch.spec import AnySpec
from nas_budget.records.trials import EpochResult
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage import leases
from nas_budget.search.storage.leases import BEAT_S, GONE_S
from nas_budget.search.storage.optuna_adapter import PatientStorage, quiet_optuna
from nas_budget.search.storage.patience import Patience
from nas_budget.search.storage.trial_store import TrialStore, release
from nas_budget.search.workers import scheduler
from nas_budget.search.workers.events import Event, TrialEpoch, TrialFinished, TrialStarted
from nas_budget.search.workers.search_runner import Search
from nas_budget.search.workers.trainer import CandidateTraining, Kept
from nas_budget.train.data.dataset import Dataset
from tests.search.conftest import Clock
from tests.search.studies import settings

Join = Callable[[], TrialStore]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


@pytest.fixture
def join(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Join:
    """A worker of the study of one database, that counts up and looks when a test says so."""
    monkeypatch.setattr(leases, "_live", lambda *_: None)

    def call() -> TrialStore:
        study = optuna.create_study(study_name="s", storage=database(tmp_path), load_if_exists=True)
        store = TrialStore(study, shared=True)
        assert store.leases
        store.leases.clock, store.leases.looked = clock, clock.now
        return store

    return call


def database(folder: Path) -> PatientStorage:
    url = f"sqlite:///{folder}/trials.db"
    return PatientStorage(url, Patience(url, lambda: False))


def lost(store: TrialStore) -> list[int]:
    """What a worker sees lost once it has looked."""
    assert store.leases
    store.leases.look()
    store.look()
    return [trial.number for trial in store.others() if store.is_lost(trial)]


def test_a_worker_that_counts_up_lives_and_one_that_does_not_is_gone_after_its_lease(join: Join, clock: Clock) -> None:
    living, gone, watching = join(), join(), join()
    living.create({})
    gone.create({})
    for _ in range(20):
        assert living.leases
        living.leases.look()
        assert lost(watching) == ([] if clock.now < GONE_S else [1])
        clock.now += BEAT_S
    assert clock.now > GONE_S


def test_whoever_comes_late_watches_as_long_as_the_others(join: Join, clock: Clock) -> None:
    join().create({})
    clock.now = 10 * GONE_S
    late = join()
    assert lost(late) == []
    assert not late.is_lost(late.others()[0])


@pytest.mark.parametrize("pause", [GONE_S, 1000 * GONE_S])
def test_an_outage_is_nobodys_death(join: Join, clock: Clock, pause: float) -> None:
    """Neither one of the database nor that of the worker that watches."""
    living, watching = join(), join()
    living.create({})
    assert lost(watching) == []
    clock.now += pause
    assert lost(watching) == []
    clock.now += BEAT_S
    assert living.leases
    living.leases.look()
    for _ in range(4):
        assert lost(watching) == []
        clock.now += BEAT_S


def test_a_trial_that_ends_is_watched_no_more(join: Join) -> None:
    living, watching = join(), join()
    number = living.create({})
    lost(watching)
    assert watching.leases
    assert [*watching.leases.seen] == [number]
    living.finish(number, TrialState.FAIL, 1.0)
    lost(watching)
    assert watching.leases.seen == {}


def test_who_leaves_gives_its_trials_back_at_once(join: Join) -> None:
    leaving, watching = join(), join()
    number = leaving.create({})
    leaving.release()
    assert lost(watching) == [number]


def test_a_look_asks_the_database_for_the_counters_alone(tmp_path: Path, join: Join) -> None:
    watching = join()
    for _ in range(3):
        join().create({"network": "8-16" * 1000})
    assert watching.leases
    assert all(len(lease) == 2 and len("".join(lease)) < 50 for lease in leases.leases(watching.study).values())


class Sleeper:
    """Trains by waiting."""

    precision, device = "fp32", "a CPU"

    def __init__(self, epoch_s: float = 0.01) -> None:
        self.epoch_s = epoch_s

    def latency_s(self, spec: AnySpec) -> None:
        return None

    def train(self, candidate: Candidate, seeds: Sequence[int], kept: Kept | None = None) -> CandidateTraining:
        return CandidateTraining(self.epochs(candidate.recipe.epochs))

    def epochs(self, n: int) -> Iterator[EpochResult]:
        for epoch in range(1, n + 1):
            time.sleep(self.epoch_s)
            yield EpochResult(epoch, 1 / epoch, 1 - 0.5 / epoch, self.epoch_s, 0.1, 1.0)

    def release(self) -> None:
        """Nothing is held."""


def searching(dataset: Dataset, folder: Path, name: str, n_trials: int, url: str = "") -> Search:
    """A search of a study that all machines share, each with a run folder of its own."""
    made = settings(
        dataset, folder, search__storage=url or f"sqlite:///{folder}/trials.db", search__trials=n_trials,
        search__pruner="none", search__sampler="random",
    )  # fmt: skip
    return Search(made, Sleeper(), folder / name)


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials() if not trial.user_attrs.get("reason", "").startswith("another")]


def test_machines_that_look_alike_take_nothing_of_each_other_that_lives(dataset: Dataset, tmp_path: Path) -> None:
    """Processes of containers may have one host name, number and time of start: here they are one process."""
    searches = [searching(dataset, tmp_path, name, 12) for name in ("a", "b")]
    events: list[Event] = []
    threads = [Thread(target=lambda each: events.extend(each.events()), args=(search,)) for search in searches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states(searches[0].study) == [TrialState.COMPLETE] * 12
    assert not any(event.resumed for event in events if isinstance(event, TrialStarted))
    assert sum(isinstance(event, TrialEpoch) for event in events) == 12 * 3
    assert sum(isinstance(event, TrialFinished) for event in events) == 12


def test_the_trials_of_a_dead_host_are_taken_over_after_their_leases_and_the_study_ends_whole(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(leases, "_live", lambda *_: None)
        dead = [next(e := searching(dataset, tmp_path, f"dead {n}", 10).events()) and e for n in range(4)]
    monkeypatch.setattr(leases, "BEAT_S", 0.1)
    monkeypatch.setattr(leases, "GONE_S", 1.0)
    monkeypatch.setattr(scheduler, "LOOK_S", 0.1)
    survivor = searching(dataset, tmp_path, "survivor", 10)
    events = list(survivor.events())
    trials = survivor.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 10
    assert {trial.number for trial in trials if trial.user_attrs.get("resumed")} == set(range(4))
    begun = [event for event in events if isinstance(event, TrialStarted)]
    assert sorted(event.number for event in begun) == list(range(10))
    assert sorted(event.number for event in begun if event.resumed) == list(range(4))
    assert len(dead) == 4


class Killed(BaseException):
    """The process ends here."""


class Killing(Sleeper):
    """Trains so many epochs by waiting, and is killed."""

    def __init__(self, n_epochs: int) -> None:
        super().__init__()
        self.n_epochs = n_epochs

    def epochs(self, n: int) -> Iterator[EpochResult]:
        yield from super().epochs(self.n_epochs)
        raise Killed


def test_the_ledger_counts_what_was_lost_on_another_machine(dataset: Dataset, tmp_path: Path) -> None:
    """Files of the trial are there alone. The second attempt is over before its first epoch, and counts nothing."""
    for n_epochs in 2, 0, 1:
        gone = searching(dataset, tmp_path, f"gone {n_epochs}", 1)
        gone.trainer = Killing(n_epochs)
        with pytest.raises(Killed):
            list(gone.events())
    survivor = searching(dataset, tmp_path, "survivor", 1)
    list(survivor.events())
    assert [row.state for row in survivor.tables.rows()] == ["complete"]
    assert survivor.tables.ledger().repeated == 2 + 1  # `Sleeper` calls each epoch a second


def test_a_trial_that_was_lost_after_its_last_epoch_keeps_its_seconds_elsewhere(
    dataset: Dataset, tmp_path: Path
) -> None:
    gone = searching(dataset, tmp_path, "gone", 1)
    gone.trainer = Killing(3)
    events = gone.events()
    assert [isinstance(next(events), TrialEpoch) for _ in range(4)] == [False, True, True, True]
    events.close()
    survivor = searching(dataset, tmp_path, "survivor", 1)
    list(survivor.events())
    assert [row.state for row in survivor.tables.rows()] == ["complete"]
    assert survivor.tables.ledger().complete == 3


def test_who_was_away_and_lost_its_trial_goes_on_with_another_one_quietly(dataset: Dataset, tmp_path: Path) -> None:
    slow = searching(dataset, tmp_path, "slow", 3)
    seen: list[Event] = []
    other = TrialStore(slow.study)
    for event in slow.events():
        seen.append(event)
        if isinstance(event, TrialEpoch) and event.number == 0 and event.result.epoch == 1:
            release(slow.study)  # as if its lease had run out
            other.look()
            assert other.resume(other.others()[0])
        elif isinstance(event, TrialFinished) and event.record.number == 2:
            other.report(0, 2, 0.9)
            other.finish(0, TrialState.COMPLETE, 1.0)
    assert states(slow.study) == [TrialState.COMPLETE] * 3
    assert [event.record.number for event in seen if isinstance(event, TrialFinished)] == [1, 2]
    assert slow.study.trials[0].intermediate_values == {1: 0.5, 2: 0.9}
    lines = (tmp_path / "slow/trials/1/epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
