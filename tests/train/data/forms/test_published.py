"""CIFAR, MNIST, SVHN and STL-10 as they are published: read as they are, and refused where they are damaged."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from nas_budget.errors import DataError
from nas_budget.train.data.forms.idx import read_idx
from nas_budget.train.data.open import open_dataset
from tests.train.data.making import cifar10, mnist, pictures, python2_pickle, write_idx


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as said:
        open_dataset(str(path), path.parent / "store", lambda _: None)
    assert "\n" not in str(said.value)
    return str(said.value)


@pytest.mark.parametrize("given", [".", "cifar-10-batches-py"])
def test_cifar10_is_read_from_its_folder_and_the_one_around_it(tmp_path: Path, given: str) -> None:
    cifar10(tmp_path / "set" / "cifar-10-batches-py")
    dataset = open_dataset(str(tmp_path / "set" / given), tmp_path / "store")
    assert (dataset.n_train, dataset.n_test, dataset.image_size, dataset.in_channels) == (50, 10, 32, 3)
    assert dataset.classes[:2] == ("airplane", "automobile")
    images, labels = dataset.read("train")
    assert np.array_equal(images[:10], pictures(10, 32, 3, seed=0))
    assert np.array_equal(dataset.read("test")[0], pictures(10, 32, 3, seed=5))
    assert labels.tolist() == list(range(10)) * 5


def test_a_hostile_file_in_a_folder_of_cifar_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    folder = cifar10(tmp_path / "cifar-10-batches-py")
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": Hostile()}, 2))
    said = refusal(folder)
    assert said.startswith(f"{folder / 'data_batch_3'}: names ")
    assert ".mkdir, which is not read for safety" in said
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({b"data": pictures(2)}, "has no data and labels"),
        ([], "has no data and labels"),
        ({b"data": pictures(2), b"labels": [0, 1]}, r"images are uint8 of shape \(2, 8, 8, 3\)"),
        ({b"data": pictures(2, 32).reshape(2, -1), b"labels": [0]}, "52 training|42 training"),
    ],
)
def test_files_of_cifar_with_other_values_are_refused(tmp_path: Path, values: Any, words: str) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-py")
    (folder / "data_batch_3").write_bytes(python2_pickle(values))
    with pytest.raises(DataError, match=words):
        open_dataset(str(folder), tmp_path / "store", lambda _: None)


def test_cifar100_has_its_fine_classes(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part, n in ("train", 12), ("test", 6):
        data = pictures(n, 32, 3, seed=n).transpose(0, 3, 1, 2).reshape(n, -1)
        values = {b"data": data, b"fine_labels": [i % 3 for i in range(n)], b"coarse_labels": [0] * n}
        (folder / part).write_bytes(python2_pickle(values))
    (folder / "meta").write_bytes(python2_pickle({b"fine_label_names": [b"apple", b"bear", b"bed"]}))
    dataset = open_dataset(str(folder), tmp_path / "store")
    assert (dataset.classes, dataset.n_train, dataset.n_test) == (("apple", "bear", "bed"), 12, 6)
    assert np.array_equal(dataset.read("train")[0], pictures(12, 32, 3, seed=12))


@pytest.mark.parametrize("ending", [".gz", ""])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mnist_is_read_compressed_or_not(tmp_path: Path, ending: str, below: str) -> None:
    mnist(tmp_path / "set" / below, ending)
    dataset = open_dataset(str(tmp_path / "set"), tmp_path / "store")
    assert (dataset.n_train, dataset.n_test, dataset.image_size, dataset.in_channels) == (20, 10, 28, 1)
    assert dataset.classes == tuple("0123456789")
    assert np.array_equal(dataset.read("train")[0], pictures(20, 28, 1, seed=20))


@pytest.mark.parametrize("ending", [".gz", ""])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[:-1], "claims 48 bytes of shape"),
        (lambda content: content + b"1", "claims 48 bytes of shape"),
        (lambda content: b"\0\0\x08\x03" + struct.pack(">3I", 10**9, 10**3, 10**3), "needs|claims"),
        (lambda content: b"\0\0\x0d\x03" + content[4:], "is no idx file of bytes"),
        (lambda content: b"\0\0\x08\x03\0", "cannot be read"),
        (lambda content: b"", "is no idx file of bytes"),
    ],
)
def test_an_idx_file_that_claims_another_size_is_refused_before_memory_is_taken(
    tmp_path: Path, ending: str, change: Any, words: str
) -> None:
    path = write_idx(tmp_path / "a", pictures(3, 4, 1)[..., 0])
    content = change(path.read_bytes())
    path = tmp_path / f"b{ending}"
    path.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(DataError, match=words):
        read_idx(path)


def test_a_folder_of_idx_files_that_is_not_whole_or_holds_several_sets_is_refused(tmp_path: Path) -> None:
    folder = mnist(tmp_path / "a")
    (folder / "t10k-labels-idx1-ubyte.gz").rename(folder / "letters-test-labels-idx1-ubyte.gz")
    assert "several data sets" in refusal(folder)
    (folder / "letters-test-labels-idx1-ubyte.gz").unlink()
    assert "has no file of test labels" in refusal(folder)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b damaged")
    assert "cannot be read" in refusal(folder)


def test_one_of_the_files_alone_is_answered_with_its_folder(tmp_path: Path) -> None:
    for path, name in (mnist(tmp_path / "m"), "train-images-idx3-ubyte.gz"), (cifar10(tmp_path / "c"), "data_batch_1"):
        with pytest.raises(DataError, match=rf"{name}: is not read by itself; give the folder, {path}, as a folder"):
            open_dataset(str(path / name), tmp_path / "store", lambda _: None)


@pytest.mark.parametrize("given", [".", "train_32x32.mat"])
def test_svhn_is_read_with_its_zeros(tmp_path: Path, given: str) -> None:
    folder = tmp_path / "svhn"
    folder.mkdir()
    for part, n in ("train", 20), ("test", 10):
        labels = np.arange(1, n + 1)[:, None] % 10
        images = pictures(n, 32, 3, seed=n).transpose(1, 2, 3, 0)
        savemat(folder / f"{part}_32x32.mat", {"X": images, "y": np.where(labels == 0, 10, labels).astype(np.uint8)})
    dataset = open_dataset(str(folder / given), tmp_path / "store")
    images, labels = dataset.read("train")
    assert np.array_equal(images, pictures(20, 32, 3, seed=20))
    assert labels.tolist() == [i % 10 for i in range(1, 21)]
    (folder / "test_32x32.mat").write_bytes((folder / "test_32x32.mat").read_bytes()[:500])
    assert "it is damaged or no " in refusal(folder)
    savemat(folder / "test_32x32.mat", {"Z": labels})
    assert "has no X and y (found: Z)" in refusal(folder)
    (folder / "test_32x32.mat").unlink()
    assert "has no test_32x32.mat" in refusal(folder)


def test_stl10_is_read_upright_with_labels_from_1(tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part, n in ("train", 4), ("test", 2):
        pictures(n, 96, 3, seed=n).transpose(0, 3, 2, 1).tofile(folder / f"{part}_X.bin")
        (np.arange(n, dtype=np.uint8) % 2 + 1).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    said: list[str] = []
    dataset = open_dataset(str(folder), tmp_path / "store", said.append)
    assert (dataset.classes, dataset.image_size) == (("airplane", "bird"), 96)
    assert np.array_equal(dataset.read("train")[0], pictures(4, 96, 3, seed=4))
    assert dataset.read("train")[1].tolist() == [0, 1, 0, 1]
    assert said == ["NOTE: labels 1 to 2 were mapped to 0 to 1"]
    (folder / "test_X.bin").write_bytes(b"short")
    assert "no multiple" in refusal(folder)
