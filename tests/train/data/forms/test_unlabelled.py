"""Tables of a competition's test images: pixels in columns, paths and bytes; files of other forms in `test_predict`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas_budget.errors import DataError
from nas_budget.train.data.forms.form import ImageFile
from nas_budget.train.data.forms.unlabelled import read_unlabelled
from tests.train.data.making import as_png, pictures


@pytest.mark.parametrize(
    ("others", "ids"),
    [
        ({}, ["0", "1", "2"]),
        ({"id": [7, 8, 9]}, ["7", "8", "9"]),
        ({"id": ["007", "08", "1e3"]}, ["007", "08", "1e3"]),
        ({"ImageId": ["a", "b", "c"], "label": [0, 0, 0]}, ["a", "b", "c"]),
    ],
)
def test_pixels_in_columns(tmp_path: Path, others: dict[str, list[object]], ids: list[str]) -> None:
    rows = pictures(3, 28, 1).reshape(3, -1)
    pd.concat([pd.DataFrame(others), pd.DataFrame(rows).add_prefix("pixel")], axis=1).to_csv(
        tmp_path / "test.csv", index=False
    )
    found = read_unlabelled(tmp_path / "test.csv")
    assert np.array_equal(found.images, rows)
    assert found.ids == ids


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ("image\na.png\nb.png\n", ["a.png", "b.png"]),
        ("id,path\n5,a.png\n6,b.png\n", ["5", "6"]),
        ("id,path\n05,a.png\n06,b.png\n", ["05", "06"]),
        ("id;label\na;0\nb;0\n", ["a", "b"]),  # a sample of the submission, endings left out
        ("a.png\nb.png\n", ["a.png", "b.png"]),
    ],
)
def test_paths_and_labels_that_are_not_looked_at(tmp_path: Path, content: str, ids: list[str]) -> None:
    (tmp_path / "test.csv").write_text(content)
    (tmp_path / "test").mkdir()
    for name in "ab":
        (tmp_path / "test" / f"{name}.png").write_bytes(as_png(pictures(1)[0]))
    found = read_unlabelled(tmp_path / "test.csv")
    files = [one.source for one in found.images if isinstance(one, ImageFile)]
    assert files == [tmp_path / "test" / f"{name}.png" for name in "ab"]
    assert found.ids == ids


@pytest.mark.parametrize("table", ["sampleSubmission.csv", "test.csv", "ids.csv"])
@pytest.mark.parametrize("folder", ["test", "test_images", "unknown", ""])
def test_images_for_training_are_not_taken_for_those_of_a_test_set(tmp_path: Path, table: str, folder: str) -> None:
    for name in {"train", folder} - {""}:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(as_png(pictures(1)[0]))
    (tmp_path / table).write_text("id,label\n1,cat\n")
    (image,) = read_unlabelled(tmp_path / table).images
    assert isinstance(image, ImageFile)
    assert image.source == (tmp_path / folder / "1.png" if folder else tmp_path / "1")  # which is not there


def test_bytes_as_hugging_face_stores_them(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    content = as_png(pictures(1)[0])
    rows = [{"bytes": content, "path": "x.png"}, {"bytes": content, "path": None}]
    pd.DataFrame({"image": rows}).to_parquet(tmp_path / "test.parquet")
    found = read_unlabelled(tmp_path / "test.parquet")
    assert [one.source for one in found.images if isinstance(one, ImageFile)] == [content, content]
    assert found.ids == ["x.png", "1"]


def test_a_table_without_images_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("size,kind\n1,a\n")
    with pytest.raises(DataError, match=r"has no column of images \(found: size, kind\); needed is a column of images"):
        read_unlabelled(tmp_path / "test.csv")


@pytest.mark.parametrize("name", ["test_32x32.mat", "test_X.bin", "test.h5", "test.zip"])
def test_a_file_of_another_type_says_which_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match=rf"{name}: is of no type that is read here; give a folder of images, a CSV or"):
        read_unlabelled(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "channels", "n"),
    [
        ((8, 8, 3), 3, 1),
        ((3, 8, 8), 3, 1),
        ((8, 8, 3), 1, 8),
        ((5, 8, 8), 3, 5),
        ((1, 8, 8), 1, 1),
        ((2, 8, 8, 3), 3, 2),
    ],
)
def test_one_image_may_be_given_by_itself(tmp_path: Path, shape: tuple[int, ...], channels: int, n: int) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    found = read_unlabelled(tmp_path / "a.npy", channels)
    assert (len(found.images), found.ids) == (n, list(map(str, range(n))))
