"""What a study asks of a database: statements and commits of a trial, of a look, and of reading it whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from nas_budget.search.storage import optuna_adapter
from nas_budget.search.storage.optuna_adapter import PatientStorage, quiet_optuna
from nas_budget.search.storage.patience import Patience
from nas_budget.search.storage.storage import open_study
from nas_budget.search.storage.trial_store import TrialStore, release
from nas_budget.search.workers.scheduler import Assignment, SearchScheduler
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import settings
from tests.search.workers.test_schedulers import COMPLETE, result

N_COORDINATES = 18
DISTRIBUTIONS: dict[str, Any] = {f"x{n}": FloatDistribution(0.0, 1.0) for n in range(N_COORDINATES - 2)} | {
    "kernel": CategoricalDistribution((3, 5)), "blocks": IntDistribution(1, 4),
}  # fmt: skip
POINT: dict[str, Any] = {f"x{n}": n / N_COORDINATES for n in range(N_COORDINATES - 2)} | {"kernel": 5, "blocks": 2}
ATTRIBUTES = {f"attribute_{n}": n for n in range(20)}


@dataclass
class Asked:
    """Statements and commits of a database."""

    statements: list[str] = field(default_factory=list)
    commits: int = 0


@contextmanager
def counted(storage: PatientStorage) -> Iterator[Asked]:
    asked = Asked()

    def execute(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.statements.append(statement)

    def commit(_connection: Any) -> None:
        asked.commits += 1

    event.listen(storage.engine, "before_cursor_execute", execute)
    event.listen(storage.engine, "commit", commit)
    yield asked
    event.remove(storage.engine, "before_cursor_execute", execute)
    event.remove(storage.engine, "commit", commit)


@pytest.fixture
def storage(tmp_path: Path) -> PatientStorage:
    quiet_optuna()
    url = f"sqlite:///{tmp_path}/trials.db"
    return PatientStorage(url, Patience(url, lambda: False))


@pytest.fixture
def join(storage: PatientStorage) -> Callable[[], TrialStore]:
    return lambda: TrialStore(optuna.create_study(study_name="s", storage=storage, load_if_exists=True))


def begin(store: TrialStore, **attributes: Any) -> int:
    return store.create(ATTRIBUTES | attributes, POINT, DISTRIBUTIONS)


@pytest.mark.parametrize("n_running", [0, 20])
def test_a_new_trial_takes_few_statements_however_many_run(
    storage: PatientStorage, join: Callable[[], TrialStore], n_running: int
) -> None:
    store, others = join(), join()
    for _ in range(n_running):
        begin(others)
    store.look()
    with counted(storage) as asked:
        number = begin(store)
        store.look()
    assert number == n_running
    assert len(asked.statements) <= 16
    assert sum("SELECT" not in statement for statement in asked.statements) == 4  # trial, attributes, point, number


@pytest.mark.parametrize("n_running", [0, 20])
def test_a_whole_trial_of_a_worker_asks_as_little_however_many_run(
    dataset: Dataset, tmp_path: Path, n_running: int
) -> None:
    quiet_optuna()
    made = settings(
        dataset, tmp_path, search__storage=f"sqlite:///{tmp_path}/trials.db", search__trials=90, recipe__epochs=8,
        search__pruner="none",
    )  # fmt: skip
    others, worker = (
        SearchScheduler(made, open_study(made, tmp_path, "of today"), tmp_path / name, {"worker_index": 0})
        for name in ("others", "worker")
    )
    for _ in range(n_running):
        others.suggest()
    worker.look()
    storage = optuna_adapter._database(worker.store.study)
    assert storage
    with counted(storage) as asked:
        trial = worker.suggest()
    assert isinstance(trial, Assignment)
    assert (len(asked.statements) <= 16, asked.commits) == (True, 2)  # a look and a write
    worker.on_start(trial, 0.001)
    for epoch in range(1, 9):
        with counted(storage) as asked:
            worker.on_epoch(trial, result(epoch))
        assert (len(asked.statements), asked.commits) == (5, 1)
    assert worker.on_rung(trial, 8) == COMPLETE
    with counted(storage) as asked:
        worker.on_finished(trial, COMPLETE, 1.0)
    assert len(asked.statements) <= 12
    for each in others, worker:
        each.store.release()


def test_an_epoch_is_one_write(storage: PatientStorage, join: Callable[[], TrialStore]) -> None:
    store = join()
    number = begin(store)
    with counted(storage) as asked:
        for epoch in range(1, 9):
            store.report(number, epoch, epoch / 10, 1.0 if epoch in (3, 5) else None)
    assert asked.commits == 8
    assert len(asked.statements) == 3 * 8 + 2 * 2
    with counted(storage) as asked:
        ended = store.finish(number, TrialState.COMPLETE, 1.0, train_losses=(1.0,) * 8)
    assert (ended.value, [*ended.intermediate_values]) == (0.8, [*range(1, 9)])
    assert len(asked.statements) <= 12


def test_a_look_reads_no_trial_that_runs(storage: PatientStorage, join: Callable[[], TrialStore]) -> None:
    watching, others = join(), join()
    numbers = [begin(others) for _ in range(20)]
    watching.look()
    others.report(3, 1, 0.5)
    with counted(storage) as asked:
        assert watching.look() == ([], [])
    assert len(asked.statements) == 1
    others.finish(numbers[3], TrialState.COMPLETE, 1.0)
    begin(others)
    with counted(storage) as asked:
        started, ended = watching.look()
    assert ([t.number for t in started], [t.number for t in ended]) == ([20], [3])
    assert ended[0].value == 0.5
    assert len(asked.statements) < 10


def test_who_joins_reads_all_trials_at_once_and_makes_no_object_of_a_row(
    storage: PatientStorage, join: Callable[[], TrialStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna makes a thousand objects of twenty trials, and parses the same distributions again for each."""
    store, parsed, made = join(), list[str](), list[object]()
    for _ in range(20):
        number = begin(store)
        for epoch in range(1, 9):
            store.report(number, epoch, epoch / 10, 1.0)
        store.finish(number, TrialState.COMPLETE, 1.0)
    usual = optuna_adapter.json_to_distribution
    monkeypatch.setattr(optuna_adapter, "json_to_distribution", lambda text: parsed.append(text) or usual(text))
    optuna_adapter._distribution.cache_clear()
    tables = [each.class_ for each in models.BaseModel.registry.mappers if each.class_.__name__.startswith("Trial")]
    assert len(tables) > 4

    def load(row: object, _context: object) -> None:
        made.append(row)

    for table in tables:
        event.listen(table, "load", load)
    late = join()
    with counted(storage) as asked:
        started, ended = late.look()
    for table in tables:
        event.remove(table, "load", load)
    assert (len(started), len(ended)) == (20, 20)
    assert len(asked.statements) <= 8
    assert made == []
    assert sorted(parsed) == sorted({*parsed})


def test_a_look_sees_whose_a_trial_is_now(join: Callable[[], TrialStore]) -> None:
    watching, gone, heir = join(), join(), join()
    number = begin(gone)
    watching.look()
    release(gone.study, gone.about["worker"])
    watching.look()
    assert watching.is_lost(watching.others()[0])
    gone.study.set_user_attr("x", 1)
    heir.look()
    assert heir.resume(heir.others()[0])
    watching.look()
    assert not watching.is_lost(watching.others()[0])
    assert watching.others()[0].user_attrs["worker"] == heir.about["worker"]
    heir.report(number, 1, 0.25)
    assert heir.finish(number, TrialState.COMPLETE, 1.0).value == 0.25


def test_who_takes_over_knows_what_was_reported_after_its_last_look(join: Callable[[], TrialStore]) -> None:
    gone, heir = join(), join()
    number = begin(gone)
    release(gone.study, gone.about["worker"])
    heir.look()
    lost = heir.others()[0]
    other = join()
    other.look()
    assert other.resume(other.others()[0])
    other.report(number, 1, 0.75)
    release(other.study, other.about["worker"])
    assert heir.resume(lost)
    assert heir.get(number).intermediate_values == {1: 0.75}
    assert heir.finish(number, TrialState.COMPLETE, 1.0).value == 0.75


def test_trials_are_read_as_optuna_reads_them(storage: PatientStorage, tmp_path: Path) -> None:
    """Trials of all states, with values that are no numbers."""
    theirs = RDBStorage(f"sqlite:///{tmp_path}/trials.db")
    study = optuna.create_study(study_name="s", storage=storage, directions=["maximize", "minimize"])
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING)
    for n, state in enumerate(states):
        values = [1.0, float("inf")] if state == TrialState.COMPLETE else None
        steps = {1: float("nan"), 2: float("-inf"), 3: 0.5}
        attributes = {"list": [1, None], "text": "ü", "number": 1.5, "none": None, "n": n, "flag": True}
        known: dict[str, Any] = {"params": POINT, "distributions": DISTRIBUTIONS, "intermediate_values": steps}
        known |= {"user_attrs": attributes, "system_attrs": {"x": {"y": 1}}}
        study.add_trial(create_trial(state=state, values=values, **known))
    store = TrialStore(study)
    number = begin(store)
    ours = storage.get_all_trials(study._study_id)
    assert [repr(trial) for trial in ours] == [repr(trial) for trial in theirs.get_all_trials(study._study_id)]
    assert [one(ours[number], name) for name in ("params", "user_attrs")] == [POINT, ATTRIBUTES | store.about]
    assert repr(storage.get_trial(2)) == repr(theirs.get_trial(2))
    with pytest.raises(KeyError):
        storage.get_trial(99)
    complete = storage.get_all_trials(study._study_id, states=(TrialState.COMPLETE,))
    assert [trial.number for trial in complete] == [0]


def one(trial: FrozenTrial, name: str) -> Any:
    return getattr(trial, name)


def test_what_a_worker_made_is_not_read_as_it_was(storage: PatientStorage, join: Callable[[], TrialStore]) -> None:
    """A trial that was made is known without a statement, but once."""
    store = join()
    first = begin(store)
    store.note(first, latency_s=0.5)
    assert store.get(first).user_attrs["latency_s"] == 0.5
    assert storage.made == {}
