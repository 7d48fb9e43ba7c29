"""A data set is converted once, again where a file or an option changes, and never left half written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas_budget.errors import DataError, StorageError, UsageError
from nas_budget.train.data.conversion import cache
from nas_budget.train.data.conversion.options import split_options
from nas_budget.train.data.open import open_dataset
from tests.train.data.making import image_folder


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every conversion."""
    done: list[int] = []
    whole = cache.convert

    def counted(*arguments: Any) -> Any:
        done.append(1)
        return whole(*arguments)

    monkeypatch.setattr(cache, "convert", counted)
    return done


def test_a_data_set_is_converted_once_until_a_file_or_an_option_changes(tmp_path: Path, conversions: list[int]) -> None:
    path, store = image_folder(tmp_path / "pets"), tmp_path / "store"
    said: list[list[str]] = [[], [], []]
    first, second = (open_dataset(str(path), store, said[i].append) for i in (0, 1))
    assert (len(conversions), first.digest, said[0]) == (1, second.digest, said[1])
    assert first.origin.startswith(f"{path}, converted to {store / 'converted' / 'pets-'}")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path / "cat/0.png")
    assert open_dataset(str(path), store, said[2].append).digest != first.digest
    open_dataset(f"{path},size=9", store, said[2].append)
    assert len(conversions) == 3
    os.utime(path / "cat/1.png", (1, 1))
    open_dataset(str(path), store, said[2].append)
    assert len(conversions) == 4


@pytest.mark.parametrize("given", ["pets", "./pets", "cats/../pets"])
def test_a_relative_path_and_the_whole_one_are_one_data_set(
    tmp_path: Path, conversions: list[int], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    path = image_folder(tmp_path / "pets")
    (tmp_path / "cats").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in given, str(path):
        open_dataset(name, tmp_path / "store", lambda _: None)
    assert len(conversions) == 1


def test_a_change_behind_a_link_is_noticed(tmp_path: Path) -> None:
    path, store = image_folder(tmp_path / "pets"), tmp_path / "store"
    (path / "dog").rename(tmp_path / "dogs")
    (path / "dog").symlink_to(tmp_path / "dogs")
    first = open_dataset(str(path), store, lambda _: None)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "dogs/0.png")
    assert open_dataset(str(path), store, lambda _: None).digest != first.digest


def test_a_damaged_file_is_made_again_and_a_failed_one_leaves_nothing(tmp_path: Path, conversions: list[int]) -> None:
    path, store = image_folder(tmp_path / "pets"), tmp_path / "store"
    dataset = open_dataset(str(path), store, lambda _: None)
    (made,) = (store / "converted").iterdir()
    made.write_bytes(b"half")
    assert open_dataset(str(path), store, lambda _: None).digest == dataset.digest
    assert len(conversions) == 2
    (path / "cat/0.png").write_text("no image")
    with pytest.raises(DataError):
        open_dataset(str(path), store, lambda _: None)
    assert [*(store / "converted").iterdir()] == [made]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = image_folder(tmp_path / "pets")
    (tmp_path / "store").touch()
    with pytest.raises(StorageError, match=r"cannot be written \(.*\); choose another folder with --data-dir"):
        open_dataset(str(path), tmp_path / "store", lambda _: None)


def test_the_share_that_is_done_rises_to_one(tmp_path: Path) -> None:
    shares: list[float] = []
    open_dataset(str(image_folder(tmp_path / "pets", each=100)), tmp_path / "store", lambda _: None, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(shares) > 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (",size=0", "size=0: allowed are 1 to 1024 pixels"),
        (",size=many", "size=many: needed is a whole number; options are size=64, channels"),
        (",fit=cut", "fit=cut: allowed are crop, pad, stretch"),
        (",broken=keep", "broken=keep: allowed are refuse, skip"),
        (",channels=2", "channels=2: allowed are 1 for gray and 3 for color"),
    ],
)
def test_an_option_of_another_value_is_refused_with_those_allowed(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_dataset(f"{image_folder(tmp_path / 'pets')}{name}", tmp_path / "store")


def test_what_is_missing_in_no_form_or_an_archive_is_said_with_the_forms(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: no such file or folder$"):
        open_dataset(str(tmp_path / "none"), tmp_path)
    with pytest.raises(DataError, match=r"none,color=red: no such file or folder; options behind a path are size=64"):
        open_dataset(f"{tmp_path / 'none'},color=red", tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(
        DataError, match=r"a.txt: is in no form that is read; give a folder of images by class, .*stl10"
    ):
        open_dataset(str(tmp_path / "a.txt"), tmp_path)
    (tmp_path / "a.zip").touch()
    with pytest.raises(DataError, match=r"a.zip: is an archive; unpack it and give the folder"):
        open_dataset(str(tmp_path / "a.zip"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: is in no form"):
        open_dataset(str(tmp_path / "empty"), tmp_path)


def test_a_comma_in_a_path_is_no_option(tmp_path: Path) -> None:
    path = image_folder(tmp_path / "cats, dogs")
    assert open_dataset(str(path), tmp_path / "store", lambda _: None).classes == ("cat", "dog")
    assert split_options("a,b=1") == split_options("a,b=1")
    assert split_options("a,b=1,size=4")[0] == "a,b=1"
    assert np.array_equal([split_options("a,size=4")[1].size], [4])
