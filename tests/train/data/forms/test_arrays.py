"""Arrays of NumPy by the names that Keras, MedMNIST and others give them."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_budget.errors import DataError
from nas_budget.train.data.conversion import cache
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset
from tests.train.data.making import pictures

LABELS = np.arange(12) % 3


def opened(path: Path, **arrays: Any) -> tuple[Dataset, list[str]]:
    said: list[str] = []
    np.savez(path, **arrays)
    return open_dataset(str(path), path.parent / "store", said.append), said


def test_the_arrays_of_keras_are_read(tmp_path: Path) -> None:
    train, test = pictures(12, 28, 1), pictures(6, 28, 1, seed=9)
    arrays = {"x_train": train[..., 0], "y_train": LABELS, "x_test": test[..., 0], "y_test": LABELS[:6]}
    dataset, said = opened(tmp_path / "a.npz", **arrays)
    assert (dataset.classes, dataset.image_size, dataset.in_channels) == (("0", "1", "2"), 28, 1)
    assert np.array_equal(dataset.read("train")[0], train)
    assert np.array_equal(dataset.read("test")[1], LABELS[:6])
    assert said == []
    del arrays["y_test"]
    dataset, said = opened(tmp_path / "b.npz", **arrays)
    assert said[0] == "NOTE: x_test has no labels (y_test) and is left out"
    assert dataset.n_train + dataset.n_test == 12


def test_the_arrays_of_medmnist_are_read_and_validation_joins_training(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for place, part in enumerate(("train", "val", "test")):
        arrays[f"{part}_images"] = pictures(12, 28, 3, seed=place)
        arrays[f"{part}_labels"] = LABELS[:, None].astype(np.uint8)
    dataset, said = opened(tmp_path / "a.npz", **arrays)
    assert (dataset.n_train, dataset.n_test) == (24, 12)
    assert np.array_equal(dataset.read("train")[0][12:], pictures(12, 28, 3, seed=1))
    assert said == [
        "NOTE: the images for validation join the training images; some of all are for validation",
        "NOTE: labels of shape (n, 1) were taken as a list",
    ]


def test_arrays_that_python_2_wrote_are_read_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, array in ("images", pictures(12)), ("labels", LABELS.astype(np.uint8)):
        shape = "".join(f"{n}L, " for n in array.shape)
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({shape}), }}".ljust(117) + "\n"
        start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        (tmp_path / f"{name}.npy").write_bytes(start + array.tobytes())
    dataset = open_dataset(str(tmp_path / "images.npy"), tmp_path / "store", lambda _: None)
    assert dataset.n_train + dataset.n_test == 12
    assert capfd.readouterr().err == ""


def test_a_file_in_our_own_form_is_read_where_it_lies_and_one_of_other_types_is_converted(tmp_path: Path) -> None:
    arrays = {
        "train_images": pictures(12), "train_labels": LABELS, "test_images": pictures(6, seed=9),
        "test_labels": LABELS[:6], "classes": np.array(["a", "b", "c"]),
    }  # fmt: skip
    dataset, said = opened(tmp_path / "a.npz", **arrays)
    assert (dataset.origin, said) == (str(tmp_path / "a.npz"), [])
    assert [path.suffix for path in (tmp_path / "store/converted").iterdir()] == [".json"]  # nothing to warn of
    changed = {key: array / 255 for key, array in arrays.items() if key.endswith("images")}
    other, said = opened(
        tmp_path / "b.npz", **{**arrays, **changed, "train_labels": LABELS + 1, "test_labels": LABELS[:6] + 1}
    )
    assert np.array_equal(other.read("train")[0], dataset.read("train")[0])
    assert (other.classes, other.read("train")[1].tolist()) == (("a", "b", "c"), LABELS.tolist())
    assert said[0] == "NOTE: labels 1 to 3 were mapped to 0 to 2"
    smaller = open_dataset(f"{tmp_path / 'a.npz'},size=4", tmp_path / "store", lambda _: None)
    assert (smaller.image_size, smaller.n_train) == (4, 12)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"train_labels": LABELS * 2 % 4}, "no training images for the class b; no network can learn them"),
        ({"train_images": np.ones((12, 8, 8, 3), np.uint8)}, "all training images are alike; nothing can be learned"),
        (
            {"train_images": pictures(12) // 16, "test_images": pictures(6, seed=9) // 16},
            "all images are dark: no value is above 15 of 255; where values have fewer bits than their type, multiply",
        ),
        ({"test_images": pictures(6)}, "6 of 6 test images are training images too, such as test image 0 (training i"),
        ({"classes": np.array(["a", "A", "c"])}, "classes a and A differ in upper and lower case alone"),
    ],
)
def test_a_file_in_our_own_form_is_warned_of_each_time_and_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], warning: str
) -> None:
    arrays = {
        "train_images": pictures(12), "train_labels": LABELS, "test_images": pictures(6, seed=9),
        "test_labels": LABELS[:6], "classes": np.array(["a", "b", "c"]),
    }  # fmt: skip
    _, said = opened(tmp_path / "a.npz", **{**arrays, **changes})
    assert len(said) == 1
    assert said[0].startswith(f"WARNING: {warning}")
    monkeypatch.delattr(cache, "warnings_for")
    assert opened(tmp_path / "a.npz", **{**arrays, **changes})[1] == said


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    images = {"train_images": pictures(12), "test_images": pictures(6, seed=9)}
    labels = {"train_labels": LABELS, "test_labels": LABELS[:6]}
    for classes, words in (
        (["a", "b", "a"], "two classes have the name 'a'"),
        (["a", "", "c"], "an empty name; give it"),
    ):
        with pytest.raises(DataError, match=rf"a.npz: .*{words}"):
            opened(tmp_path / "a.npz", **images, **labels, classes=classes)


def test_a_fourth_channel_is_asked_about(tmp_path: Path) -> None:
    dataset, said = opened(tmp_path / "a.npz", images=pictures(12, channels=4), labels=LABELS)
    assert dataset.in_channels == 4
    assert said[0] == "NOTE: images have 4 channels; add ,channels=3 behind the path where the last is transparency"
    named = open_dataset(f"{tmp_path / 'a.npz'},channels=3", tmp_path / "store", lambda _: None)
    assert np.array_equal(named.read("test")[0], dataset.read("test")[0][..., :3])


def test_one_pair_of_arrays_is_split(tmp_path: Path) -> None:
    dataset, said = opened(tmp_path / "a.npz", images=pictures(12), labels=LABELS)
    assert (dataset.n_train, dataset.n_test) == (9, 3)
    assert "a fifth of each class" in said[0]


def test_arrays_of_objects_and_claims_beyond_memory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="y_train holds Python objects, which are not read for safety"):
        opened(tmp_path / "a.npz", x_train=pictures(3), y_train=np.array([{}, {}, {}]))
    header = (
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000, 1000, 3), }"
    )
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x_train.npy", header.ljust(127) + b"\n")
        archive.writestr("y_train.npy", b"")
    with pytest.raises(DataError, match=r"x_train: needs 3,000,000.0 GB of memory, and .* are free here"):
        open_dataset(str(tmp_path / "b.npz"), tmp_path / "store")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["classes", "y_train"])
def test_texts_that_are_no_characters_are_refused(tmp_path: Path, name: str, order: str) -> None:
    texts = np.array([97, sys.maxunicode + 1], f"{order}u4").view(f"{order}U1")
    arrays = {"x_train": np.zeros((2, 4, 4, 3), np.uint8), "y_train": np.array([0, 1]), "classes": np.array(["a", "b"])}
    with pytest.raises(DataError, match=r"a\.npz: cannot be read \(its texts hold what is no character\)"):
        opened(tmp_path / "a.npz", **arrays | {name: texts})


def test_an_array_is_read_where_its_labels_lie_beside_it(tmp_path: Path) -> None:
    for part, n in ("train", 12), ("test", 6):
        np.save(tmp_path / f"x_{part}.npy", pictures(n, seed=n))
        np.save(tmp_path / f"y_{part}.npy", LABELS[:n])
    for given in "x_train.npy", "x_test.npy":
        dataset = open_dataset(str(tmp_path / given), tmp_path / "store", lambda _: None)
        assert (dataset.n_train, dataset.n_test) == (12, 6)
    np.save(tmp_path / "photos.npy", pictures(3))
    with pytest.raises(DataError, match=r"has no labels beside it; name the two files images.npy and labels.npy"):
        open_dataset(str(tmp_path / "photos.npy"), tmp_path / "store")
