"""Where checkpoints lie for workers of all machines: a folder, another file system, and a folder that is not shared."""

from __future__ import annotations

import shutil
import uuid
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from nas_budget.errors import StorageError, UsageError
from nas_budget.search.storage import checkpoint_place
from nas_budget.search.storage.checkpoint_place import PROBE, CheckpointPlace, check_place, open_place


@pytest.fixture
def study() -> Study:
    return optuna.create_study(study_name="s")


@pytest.fixture(params=["folder", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and what fsspec has beside: here a file system in memory."""
    return str(tmp_path / "shared") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"


def place_at(address: str, study: str = "s", text: str = "0123456789") -> CheckpointPlace:
    return CheckpointPlace(address, study, text)


def test_files_are_kept_replaced_and_dropped(address: str) -> None:
    place = place_at(address)
    assert place.kept("trials/3") == {}
    place.keep("trials/3", {"a.bin": b"1", "b.bin": b"2"})
    place.keep("trials/3", {"a.bin": b"3"})
    place.keep("trials/12", {"a.bin": b"4"})
    assert place_at(address).kept("trials/3") == {"a.bin": b"3", "b.bin": b"2"}
    place.drop_others("trials", {"12"})
    assert (place.kept("trials/3"), place.kept("trials/12")) == ({}, {"a.bin": b"4"})
    place.drop_others("finalists", set())
    place.drop("trials/12")
    place.drop("trials/12")
    assert place.kept("trials/12") == {}


def test_studies_of_one_name_do_not_touch_each_other(address: str) -> None:
    """As those of two people who share a folder, each in a database of their own."""
    one, other = (open_place(address, optuna.create_study(study_name="cifar10-5M"), joins=False) for _ in range(2))
    one.keep("trials/3", {"a.bin": b"1"})
    other.drop_others("trials", set())
    assert other.kept("trials/3") == {}
    assert one.kept("trials/3") == {"a.bin": b"1"}
    assert one.is_the_one
    assert other.is_the_one


def test_who_names_a_place_leaves_a_probe_and_all_others_have_to_find_it(
    address: str, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_place, "SETTINGS_S", 0.2)
    with pytest.raises(UsageError, match="study s has none that are shared; give --checkpoints to its search first"):
        open_place(address, study, joins=True)
    open_place(address, study, joins=False)
    known = study.user_attrs[PROBE]
    assert open_place(address, study, joins=True).text == known
    assert open_place(address, study, joins=False).text == known  # the search resumes, or a second one joins
    assert study.user_attrs[PROBE] == known


def train_elsewhere(study: Study) -> None:
    """A trial is under way on another machine."""
    study.add_trial(
        optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"worker": "w", "host": "another"})
    )  # fmt: skip


def test_a_folder_that_is_not_shared_is_one_line(tmp_path: Path, study: Study) -> None:
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    open_place(here, study, joins=False)
    with pytest.raises(UsageError, match="there is not the place that the other machines of study s use, or it was"):
        open_place(there, study, joins=True)
    train_elsewhere(study)
    with pytest.raises(UsageError, match="there is not the place"):
        open_place(there, study, joins=False)  # a second search, beside the workers of the first
    assert not (tmp_path / "there").exists()


def test_a_place_that_was_emptied_is_used_again_once_nobody_else_trains(tmp_path: Path, study: Study) -> None:
    here = str(tmp_path / "here")
    text = open_place(here, study, joins=False).text
    shutil.rmtree(tmp_path / "here")
    with pytest.raises(UsageError, match="is not the place"):
        open_place(here, study, joins=True)
    assert open_place(here, study, joins=False).text == text
    assert open_place(here, study, joins=True).is_the_one


def test_one_folder_may_have_another_path_on_another_machine(tmp_path: Path, study: Study) -> None:
    open_place(str(tmp_path / "here"), study, joins=False).keep("trials/3", {"a.bin": b"1"})
    (tmp_path / "mounted").symlink_to(tmp_path / "here")
    assert open_place(str(tmp_path / "mounted"), study, joins=True).kept("trials/3") == {"a.bin": b"1"}


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [("nowhere://x", UsageError, "nowhere://x: Protocol not known: nowhere; give a folder that all machines share"),
     ("s3://bucket/x", UsageError, "s3://bucket/x: its driver is not installed (Install s3fs to access S3)"),
     ("/proc/nothing", StorageError, "/proc/nothing: cannot be written (No such file or directory)")],
)  # fmt: skip
def test_a_place_that_cannot_be_used_is_one_line(study: Study, address: str, error: type, said: str) -> None:
    if address.startswith("s3") and find_spec("s3fs"):
        pytest.skip("the driver is installed")
    for use in lambda: open_place(address, study, joins=False), lambda: check_place(address, "s"):
        with pytest.raises(error) as raised:
            use()
        assert str(raised.value).startswith(f"checkpoints: {said}")
        assert "\n" not in str(raised.value)


def test_to_check_a_place_leaves_nothing_in_it(address: str) -> None:
    place = place_at(address)
    place.keep("trials/3", {"a.bin": b"1"})
    files, root = place._opened
    before = files.find(root.rpartition("/")[0], withdirs=True)
    check_place(address, "s")
    assert files.find(root.rpartition("/")[0], withdirs=True) == before
    assert place.kept("trials/3") == {"a.bin": b"1"}
