"""What a study or a run recorded of its images opens again, from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.errors import DataError
from nas_budget.train.data.open import open_dataset, open_recorded
from tests.train.data.making import image_folder


def test_images_are_found_where_they_lay_or_else_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str, place: str) -> str:
        dataset = open_recorded(name, place, tmp_path / "store", lambda _: None)
        assert dataset.name == name
        return dataset.digest

    first, other = (tmp_path / name for name in ("first", "other"))
    image_folder(first / "pets", size=12)
    image_folder(other / "pets", size=12, seed=1)
    monkeypatch.chdir(first)
    recorded = open_dataset("pets,size=8", tmp_path / "store", lambda _: None)
    assert recorded.place == f"{first / 'pets'},size=8"
    monkeypatch.chdir(other)
    assert opened(recorded.name, recorded.place) == recorded.digest != opened(recorded.name, "")
    (first / "pets").rename(tmp_path / "pets")  # what lay around it has moved
    monkeypatch.chdir(tmp_path)
    assert opened(recorded.name, recorded.place) == recorded.digest
    monkeypatch.chdir(first)
    with pytest.raises(DataError, match=f"^{first / 'pets'}: no such file or folder$"):
        opened(recorded.name, recorded.place)
    assert open_dataset("shapes").place == ""


def test_a_name_that_leaves_the_images_open_is_recorded_as_those_that_were_found() -> None:
    assert open_recorded("auto", "").name == open_dataset("auto").name != "auto"


def test_a_place_in_which_one_may_not_look_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's home: in Python 3.11 asking whether a file is there is an error then."""
    exists = Path.exists

    def locked(path: Path) -> bool:
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", locked)
    mine = image_folder(tmp_path / "pets")
    assert open_recorded(str(mine), "/locked/pets", tmp_path / "store", lambda _: None).place == str(mine)
