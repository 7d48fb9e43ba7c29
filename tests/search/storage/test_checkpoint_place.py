"""Where checkpoints lie for workers of all machines: a folder, another file system, and a folder that is not shared."""

from __future__ import annotations

import shutil
import uuid
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.study import Study

from nas_budget.errors import StorageError, UsageError
from nas_budget.search.storage.checkpoint_place import PROBE, CheckpointPlace


@pytest.fixture
def study() -> Study:
    return optuna.create_study()


@pytest.fixture(params=["folder", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and what fsspec has beside: here a file system in memory."""
    return str(tmp_path / "shared") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"


def test_files_are_kept_replaced_and_dropped(address: str) -> None:
    place = CheckpointPlace(address, "s")
    assert place.kept("trials/3") == {}
    place.keep("trials/3", {"a.bin": b"1", "b.bin": b"2"})
    place.keep("trials/3", {"a.bin": b"3"})
    place.keep("trials/12", {"a.bin": b"4"})
    assert CheckpointPlace(address, "s").kept("trials/3") == {"a.bin": b"3", "b.bin": b"2"}
    assert CheckpointPlace(address, "another").kept("trials/3") == {}
    place.drop_others("trials", {"12"})
    assert (place.kept("trials/3"), place.kept("trials/12")) == ({}, {"a.bin": b"4"})
    place.drop_others("finalists", set())
    place.drop("trials/12")
    place.drop("trials/12")
    assert place.kept("trials/12") == {}


def test_who_names_a_place_leaves_a_probe_and_all_others_have_to_find_it(address: str, study: Study) -> None:
    with pytest.raises(UsageError, match="study s has none that are shared; give --checkpoints to its search first"):
        CheckpointPlace(address, "s").begin(study, joins=True)
    CheckpointPlace(address, "s").begin(study, joins=False)
    known = study.user_attrs[PROBE]
    CheckpointPlace(address, "s").begin(study, joins=True)
    CheckpointPlace(address, "s").begin(study, joins=False)  # the search resumes, or a second one joins
    assert study.user_attrs[PROBE] == known


def test_a_folder_that_is_not_shared_is_one_line(tmp_path: Path, study: Study) -> None:
    CheckpointPlace(str(tmp_path / "here"), "s").begin(study, joins=False)
    for other in "there", "here":
        with pytest.raises(UsageError, match="is not the place that the other machines of study s use, or it was"):
            CheckpointPlace(str(tmp_path / other), "s").begin(study, joins=True)
        shutil.rmtree(tmp_path / "here", ignore_errors=True)
    with pytest.raises(UsageError, match="is not the place"):
        CheckpointPlace(str(tmp_path / "here"), "s").begin(study, joins=False)
    CheckpointPlace(str(tmp_path / "new"), "s").begin(study, joins=False)  # the search may name another one


def test_one_folder_may_have_another_path_on_another_machine(tmp_path: Path, study: Study) -> None:
    CheckpointPlace(str(tmp_path / "here"), "s").begin(study, joins=False)
    (tmp_path / "mounted").symlink_to(tmp_path / "here")
    CheckpointPlace(str(tmp_path / "mounted"), "s").begin(study, joins=True)


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [("nowhere://x", UsageError, "nowhere://x: Protocol not known: nowhere; give a folder that all machines share"),
     ("s3://bucket/x", UsageError, "s3://bucket/x: its driver is not installed (Install s3fs to access S3)"),
     ("/proc/nothing", StorageError, "/proc/nothing: cannot be written (No such file or directory)")],
)  # fmt: skip
def test_a_place_that_cannot_be_used_is_one_line(study: Study, address: str, error: type, said: str) -> None:
    if address.startswith("s3") and find_spec("s3fs"):
        pytest.skip("the driver is installed")
    with pytest.raises(error) as raised:
        CheckpointPlace(address, "s").begin(study, joins=False)
    assert str(raised.value).startswith(f"checkpoints: {said}")
    assert "\n" not in str(raised.value)
