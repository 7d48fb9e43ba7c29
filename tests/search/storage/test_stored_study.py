"""A study looked at in its database: what it shows is what a run folder would, and nothing of the study changes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from nas_budget.errors import StudyError, UsageError
from nas_budget.records.finalists import read_finalists
from nas_budget.records.trials import read_trials
from nas_budget.records.workers import read_workers
from nas_budget.search.storage import stored_study
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.stored_study import StoredStudy
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_images
from tests.search.studies import CPU, settings

Machine = Callable[[str], Search]


@pytest.fixture
def address(tmp_path: Path) -> str:
    quiet_optuna()
    return f"sqlite:///{tmp_path}/trials.db"


@pytest.fixture
def machine(dataset: Dataset, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A search of a machine of this name, whose run folder is its own; all but the first only train."""
    asked = settings(dataset, tmp_path / "hive", search__storage=address, search__pruner="none", search__finalists=1)

    def call(host: str) -> Search:
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        images = split_images(dataset, CPU, asked.n_train, asked.n_validation)
        return Search(asked, images, tmp_path / host, joins=host != "hive")

    return call


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_study, "LOOK_S", 0.0)


def test_it_shows_what_the_run_folder_of_the_search_shows(machine: Machine, tmp_path: Path, address: str) -> None:
    ours = machine("hive").events()
    next(ours)  # a trial is under way here
    theirs = machine("nest").events()
    for _ in range(6):
        next(theirs)  # and another one has ended there
    stored = StoredStudy(address, "s", tmp_path / "view")
    assert [(row.host, row.trains) for row in read_workers(tmp_path / "view" / "workers.csv")] == [
        ("hive", "trial 0"), ("nest", "trial 2")
    ]  # fmt: skip
    assert stored.n_ended == 1
    theirs.close()
    assert [*ours]
    stored.look()
    written = read_trials(tmp_path / "hive")
    assert read_trials(stored.table) == written
    assert len(written) == 4
    assert read_finalists(tmp_path / "view" / "finalists.csv") == read_finalists(tmp_path / "hive" / "finalists.csv")
    assert (tmp_path / "view" / "best.json").read_text() == (tmp_path / "hive" / "best.json").read_text()
    assert (tmp_path / "view" / "settings.json").read_text() == (tmp_path / "hive" / "settings.json").read_text()


@pytest.mark.slow
def test_a_table_without_news_stays_as_it_is_and_workers_are_written(
    machine: Machine, tmp_path: Path, address: str
) -> None:
    assert [*machine("hive").events()]
    stored = StoredStudy(address, "s", tmp_path / "view")
    before = stored.table.stat().st_mtime_ns
    stored.look()
    assert stored.table.stat().st_mtime_ns == before


@pytest.mark.slow
def test_nothing_of_the_study_changes_and_none_is_made(machine: Machine, tmp_path: Path, address: str) -> None:
    with pytest.raises(StudyError, match=r"trials\.db holds no study s \(it is empty\)"):
        StoredStudy(address, "s", tmp_path / "view")
    search = machine("hive")
    assert [*search.events()]
    before = search.study.user_attrs, search.study.trials
    StoredStudy(address, "s", tmp_path / "view")
    assert (search.study.user_attrs, search.study.trials) == before
    with pytest.raises(StudyError, match="holds no study t .only s.; begin it"):
        StoredStudy(address, "t", tmp_path / "view")
    with pytest.raises(UsageError, match="is unknown"):
        StoredStudy("nowhere", "s", tmp_path / "view")
