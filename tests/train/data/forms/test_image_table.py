"""CSV and Parquet files of paths, bytes or pixels, with labels."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nas_budget.errors import DataError
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.forms import image_table
from nas_budget.train.data.open import open_dataset
from tests.train.data.making import as_png, pictures

NAMES = ["cat", "dog"] * 6


def opened(path: Path) -> tuple[Dataset, list[str]]:
    said: list[str] = []
    return open_dataset(str(path), path.parent / "store", said.append), said


def saved(folder: Path, ending: str = ".png") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(pictures(12)):
        Image.fromarray(image).save(folder / f"{number}{ending}")
    return [f"{number}{ending}" for number in range(12)]


@pytest.mark.parametrize("folder", ["", "images"])
@pytest.mark.parametrize("columns", [("image", "label"), ("Filename", "Class"), ("photo", "kind"), ("file_name", "y")])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_paths_and_names(tmp_path: Path, columns: tuple[str, str], folder: str, separator: str) -> None:
    table = pd.DataFrame({columns[0]: saved(tmp_path / folder), columns[1]: NAMES})
    table.to_csv(tmp_path / "a.csv", index=False, sep=separator)
    dataset, said = opened(tmp_path / "a.csv")
    assert (dataset.classes, dataset.n_train, dataset.n_test) == (("cat", "dog"), 10, 2)
    assert said[0] == "NOTE: labels are names: 2 classes in their order (cat, dog)"
    images, labels = dataset.read("train")
    known = {image.tobytes(): NAMES[place] for place, image in enumerate(pictures(12))}
    assert [known[image.tobytes()] for image in images] == [dataset.classes[label] for label in labels]


def test_a_column_says_which_rows_are_for_testing_and_endings_may_be_missing(tmp_path: Path) -> None:
    saved(tmp_path / "images", ".jpg")
    split = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    table = pd.DataFrame({"id": range(12), "label": range(3, 15), "split": split})
    table["label"] = table["label"] % 2
    table.to_csv(tmp_path / "a.csv", index=False)
    dataset, _ = opened(tmp_path / "a.csv")
    assert (dataset.n_train, dataset.n_test, dataset.classes) == (8, 4, ("0", "1"))
    table.assign(split="held").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DataError, match="b.csv: split is 'held' in a row; allowed are train, test and validation"):
        opened(tmp_path / "b.csv")
    table.assign(split=[None, *split[1:]]).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DataError, match="b.csv: split is empty in a row; allowed are train"):
        opened(tmp_path / "b.csv")


def test_a_cell_that_no_file_can_be_named_by_is_no_image(tmp_path: Path) -> None:
    saved(tmp_path, ".jpg")
    table = pd.DataFrame({"image": ["0.jpg", "9" * 5_000, "2.jpg", "3.jpg"], "label": [0, 1, 0, 1]})
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="File name too long"):
        opened(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("table", "folder", "other"),
    [
        ("train.csv", "train", "test"),
        ("train_labels.csv", "train_images", "test_images"),
        ("labels.csv", "train", "test"),
    ],
)
def test_a_folder_as_competitions_give_it(tmp_path: Path, table: str, folder: str, other: str) -> None:
    saved(tmp_path / "set" / folder, ".jpg")
    for number in range(12):  # images of the same names, which are not those of the table
        (tmp_path / "set" / other).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "set" / other / f"{number}.jpg")
    (tmp_path / "set/sample_submission.csv").write_text("id,label\n0,a\n")
    pd.DataFrame({"id": range(12), "label": NAMES}).to_csv(tmp_path / "set" / table, index=False)
    dataset, said = opened(tmp_path / "set")
    assert (dataset.classes, dataset.n_train, dataset.n_test) == (("cat", "dog"), 10, 2)
    assert not any("alike" in line for line in said)


@pytest.mark.parametrize(("table", "folder"), [("labels.csv", "test"), ("train.csv", "test_images")])
def test_a_row_for_testing_is_looked_for_among_the_test_images(tmp_path: Path, table: str, folder: str) -> None:
    saved(tmp_path / "set/train")
    (tmp_path / "set" / folder).mkdir()
    for number in range(12):  # of the same names
        Image.new("RGB", (8, 8), (1, 2, number)).save(tmp_path / "set" / folder / f"{number}.png")
    files = [f"{number}.png" for number in range(12)]
    rows = [*zip(files, NAMES, ["train"] * 12, strict=True), *zip(files, NAMES, ["test"] * 12, strict=True)]
    pd.DataFrame(rows, columns=["file", "label", "split"]).to_csv(tmp_path / "set" / table, index=False)
    dataset, _ = opened(tmp_path / "set")
    assert np.array_equal(dataset.read("train")[0], pictures(12))
    assert dataset.read("test")[0][:, 0, 0].tolist() == [[1, 2, number] for number in range(12)]


def test_paths_as_windows_writes_them_are_found(tmp_path: Path) -> None:
    rows = {"path": [f"img\\{name}" for name in saved(tmp_path / "img")], "label": NAMES}
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    assert opened(tmp_path / "a.csv")[0].n_train == 10


def test_a_table_beside_folders_of_classes_is_left_alone(tmp_path: Path) -> None:
    for name in "cat", "dog":
        saved(tmp_path / "set" / name)
    pd.DataFrame({"image": ["cat/0.png"], "width": [8]}).to_csv(tmp_path / "set/about.csv", index=False)
    assert opened(tmp_path / "set")[0].n_train == 20


def test_a_table_without_names_of_columns_loses_no_row(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": saved(tmp_path), "label": NAMES})
    table.to_csv(tmp_path / "a.csv", index=False, header=False)
    dataset, _ = opened(tmp_path / "a.csv")
    assert (dataset.n_train + dataset.n_test, dataset.classes) == (12, ("cat", "dog"))


def test_a_column_for_each_class_is_one_hot(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": saved(tmp_path), "cat": [1, 0] * 6, "dog": [0, 1] * 6})
    table.to_csv(tmp_path / "a.csv", index=False)
    dataset, said = opened(tmp_path / "a.csv")
    assert said[0] == "NOTE: labels are names: 2 classes in their order (cat, dog)"
    known = {image.tobytes(): NAMES[place] for place, image in enumerate(pictures(12))}
    images, labels = dataset.read("train")
    assert [known[image.tobytes()] for image in images] == [dataset.classes[label] for label in labels]
    table.assign(dog=1).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DataError, match=r"b.csv: row 1 has 2 ones in the columns of classes \(cat, dog\); needed"):
        opened(tmp_path / "b.csv")


def test_a_table_belongs_to_the_only_folder_beside_it_and_of_several_one_is_to_be_given(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": saved(tmp_path / "set/img"), "label": NAMES})
    table.to_csv(tmp_path / "set/a.csv", index=False)
    assert opened(tmp_path / "set")[0].n_train == 10
    table.to_csv(tmp_path / "set/b.csv", index=False)
    with pytest.raises(
        DataError, match=r"set: holds several tables \(a.csv, b.csv\) and none named train.csv; give one"
    ):
        opened(tmp_path / "set")
    assert opened(tmp_path / "set/b.csv")[0].n_train == 10


def test_a_table_in_another_encoding_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("image,label\na.png,kåse\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a.csv: is not in UTF-8; save it as such"):
        opened(tmp_path / "a.csv")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_change_in_an_image_is_noticed(tmp_path: Path, ending: str) -> None:
    frame, table = pd.DataFrame({"image": saved(tmp_path), "label": NAMES}), tmp_path / f"a{ending}"
    if ending == ".csv":
        frame.to_csv(table, index=False)
    else:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        frame.to_parquet(table)
    digest = opened(table)[0].digest
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "0.png")
    assert opened(table)[0].digest != digest


def test_pixels_in_columns_are_gray_images_and_a_table_without_labels_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    pixels = pd.DataFrame(pictures(12, 28, 1).reshape(12, -1)).add_prefix("pixel")
    pixels.assign(label=np.arange(12) % 2).to_csv(folder / "train.csv", index=False)
    pixels.to_csv(folder / "test.csv", index=False)
    dataset, said = opened(folder)
    assert (dataset.n_train, dataset.n_test, dataset.image_size, dataset.in_channels) == (10, 2, 28, 1)
    assert said[0] == "NOTE: test.csv has no labels and is left out"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read|has no rows"),
        ("image,label\n", "has no rows"),
        ("image\na.png\n", r"has no column of labels \(found: image\); needed are"),
        ("size,label\n1,a\n2,b\n", r"has no column of images \(found: size, label\)"),
        ("image,label\na.png,\nb.png,a\n", "label 1 is missing"),
        ("image,label\n,a\nb.png,a\n", "row 1 has no image"),
        (
            "image,label\na.png,a\nb.png,b\n",
            r"no image can be read, such as row 1 \(a.png\) \(no such file or directory\), row 2",
        ),
        ("image,label\na.png,0.5\nb.png,1\n", "labels such as 0.5"),
    ],
)
def test_a_table_of_another_kind_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=words) as said:
        opened(tmp_path / "a.csv")
    assert str(said.value).startswith(str(tmp_path / "a.csv"))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("columns", "labels", "classes"),
    [
        (("id", "label"), ["007", "7"] * 6, ("007", "7")),
        (("id", "kind"), ["01", "10"] * 6, ("01", "10")),
        (("id", "label"), ["10", "9"] * 6, ("9", "10")),
        (("id", "label"), ["1.0", "0.0"] * 6, ("0", "1")),
        (("id", "label"), ["True", "False"] * 6, ("False", "True")),
    ],
)
def test_names_of_digits_stay_as_they_are_written(
    tmp_path: Path, columns: tuple[str, str], labels: list[str], classes: tuple[str, ...]
) -> None:
    saved(tmp_path / "images")
    files = [f"{number:03}" for number in range(12)]
    for number, file in enumerate(files):
        (tmp_path / f"images/{number}.png").rename(tmp_path / f"images/{file}.png")
    pd.DataFrame(zip(files, labels, strict=True), columns=columns).to_csv(tmp_path / "a.csv", index=False)
    dataset, _ = opened(tmp_path / "a.csv")
    assert (dataset.n_train, dataset.n_test, dataset.classes) == (10, 2, classes)


def test_rows_that_end_in_a_comma_are_read_as_others_are(tmp_path: Path) -> None:
    rows = [f"{file},{name}," for file, name in zip(saved(tmp_path), NAMES, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["image,label", *rows]))
    dataset, _ = opened(tmp_path / "a.csv")
    assert (dataset.n_train, dataset.n_test, dataset.classes) == (10, 2, ("cat", "dog"))


def test_a_class_may_be_called_na(tmp_path: Path) -> None:
    pd.DataFrame({"image": saved(tmp_path), "label": ["NA", "None"] * 6}).to_csv(tmp_path / "a.csv", index=False)
    assert opened(tmp_path / "a.csv")[0].classes == ("NA", "None")


def test_parquet_as_hugging_face_stores_it(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    folder = tmp_path / "pets" / "data"
    folder.mkdir(parents=True)
    label = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    about = {"huggingface": json.dumps({"info": {"features": {"label": label, "image": {"_type": "Image"}}}})}
    for part, seed in ("train", 3), ("test", 4):
        rows = [{"bytes": as_png(image), "path": f"{i}.png"} for i, image in enumerate(pictures(12, seed=seed))]
        table = pyarrow.table({"image": rows, "label": [0, 1] * 6}).replace_schema_metadata(about)
        parquet.write_table(table, folder / f"{part}-00000-of-00001.parquet")
    for given in tmp_path / "pets", folder, folder / "train-00000-of-00001.parquet":
        dataset, said = opened(given)
        assert dataset.classes == ("cat", "dog")
    dataset, said = opened(tmp_path / "pets")
    assert (dataset.n_train, dataset.n_test, said) == (12, 12, [])
    assert np.array_equal(dataset.read("train")[0], pictures(12))


@pytest.mark.parametrize("labels", [NAMES, [1, 2] * 6])
def test_parquet_of_paths(tmp_path: Path, labels: list[object]) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pd.DataFrame({"path": saved(tmp_path / "images"), "label": labels}).to_parquet(tmp_path / "a.parquet")
    dataset, said = opened(tmp_path / "a.parquet")
    assert (dataset.n_train, dataset.n_test) == (10, 2)
    assert dataset.classes == tuple(map(str, labels[:2]))
    known = {image.tobytes(): str(labels[place]) for place, image in enumerate(pictures(12))}
    images, found = dataset.read("train")
    assert [known[image.tobytes()] for image in images] == [dataset.classes[label] for label in found]
    assert said[0].startswith("NOTE: labels ")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(image_table, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"a.parquet: Parquet files need pyarrow; install it with pip install 'nas-"):
        opened(tmp_path / "a.parquet")
    if importlib.util.find_spec("pyarrow"):
        monkeypatch.undo()
        with pytest.raises(DataError, match="cannot be read"):
            opened(tmp_path / "a.parquet")
