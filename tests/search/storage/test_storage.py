"""Opening a study that several machines may open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas_budget.errors import StorageError, StudyError
from nas_budget.search.storage import storage
from nas_budget.search.storage.optuna_adapter import create_running_trial
from nas_budget.search.storage.storage import Finished, check_folder, count_finished, open_study, recorded_settings
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import make, settings


def test_of_two_machines_that_begin_a_study_the_later_takes_the_choices_of_the_first(
    dataset: Dataset, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    first = settings(dataset, tmp_path, search__storage=url)
    other = replace(first, n_train=90, trials=9)  # resolved before the first had created the study
    open_study(first, tmp_path, "of today")
    with pytest.raises(StorageError, match=r"begun by another machine .* data.images is 100, not 90; run the command"):
        open_study(other, tmp_path, "of today")
    assert recorded_settings(url, tmp_path, "s") == first.to_dict()
    more = replace(first, trials=9)
    open_study(more, tmp_path, "of today")  # what may change when a study goes on
    assert recorded_settings(url, tmp_path, "s") == more.to_dict()


def test_a_study_whose_creator_died_before_it_wrote_its_settings_is_gone_on_with(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings(dataset, tmp_path)
    monkeypatch.setattr(storage, "SETTINGS_S", 0.2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(storage, "describe_study", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        open_study(made, tmp_path, "of today")
    assert recorded_settings("journal", tmp_path, "s") is None
    open_study(made, tmp_path, "of today")
    assert recorded_settings("journal", tmp_path, "s") == made.to_dict()


def test_who_else_works_on_the_study_of_a_database_is_known(dataset: Dataset, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = open_study(settings(dataset, tmp_path, search__storage=url), tmp_path, "of today")
    for worker, host in ("a", "hive"), ("b", "hive"), ("", "gone"), ("c", "bees"):
        create_running_trial(study, {"worker": worker, "host": host})
    assert count_finished(url, tmp_path, "s").elsewhere == ("bees", "hive")


def test_what_is_finished_is_counted_by_kind(dataset: Dataset, tmp_path: Path) -> None:
    ladder = {"search__proxy": "1/2", "search__ladder": [2], "space__width": [7, 16]}
    asked = {**ladder, "search__finalists": 1, "search__finalist_seeds": 2}
    list(make(dataset, tmp_path, **asked).events())
    assert count_finished("journal", tmp_path, "s") == Finished(trials=4, wider=(2,), finalist_runs=2)


DATABASE, SERVER = "sqlite:///s.db", "postgresql+psycopg://me:secret@host/db"


@pytest.mark.parametrize(
    ("held", "storage", "is_known", "said"),
    [
        ("study.journal trials.csv", DATABASE, False, "is kept in its journal; leave out --storage"),
        ("study.journal", SERVER, True, "is kept in its journal; leave out --storage"),
        ("trials.csv", "journal", False, "in another storage (a database); give its address by --storage"),
        ("trials.csv", SERVER, False, "me:***@host/db holds no study k1; give the address of the database"),
        ("study.journal trials.csv", "journal", False, "its study.journal holds no study k1; look with nas-budget doc"),
        ("", DATABASE, False, ""),
        ("", DATABASE, True, ""),  # begun on another machine
        ("trials.csv", DATABASE, True, ""),
        ("", "journal", False, ""),
        ("study.journal", "journal", False, ""),  # whoever created it died before it wrote its settings
        ("study.journal trials.csv", "journal", True, ""),
    ],
)
def test_a_folder_that_holds_a_study_of_another_storage_is_refused(
    tmp_path: Path, held: str, storage: str, is_known: bool, said: str
) -> None:
    for name in held.split():
        (tmp_path / name).touch()
    if not said:
        check_folder(storage, tmp_path, "k1", is_known)
        return
    with pytest.raises(StudyError) as raised:
        check_folder(storage, tmp_path, "k1", is_known)
    words = str(raised.value)
    assert words.startswith(f"{tmp_path}: holds ") and said in words
    assert "\n" not in words and "secret" not in words
