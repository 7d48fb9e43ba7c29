"""Files of images: the good one opens, every bad one is named in one clear line."""

from __future__ import annotations

import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nas_budget.errors import DataError, DownloadError, UsageError
from nas_budget.train.data import download
from nas_budget.train.data.dataset import open_npz
from nas_budget.train.data.open import data_folder, open_dataset

N_TRAIN, N_TEST, SIZE = 20, 10, 8


def save(path: Path, **changes: Any) -> Path:
    """A valid small file of two classes, or one with some arrays changed (None: left out)."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "train_images": rng.integers(0, 256, (N_TRAIN, SIZE, SIZE, 3), np.uint8),
        "train_labels": np.arange(N_TRAIN) % 2,
        "test_images": rng.integers(0, 256, (N_TEST, SIZE, SIZE, 3), np.uint8),
        "test_labels": np.arange(N_TEST) % 2,
        "classes": np.array(["cat", "dog"]),
    } | changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


def refusal(path: Path) -> str:
    """What is said about a file that cannot be opened; one line that names it."""
    with pytest.raises(DataError) as caught:
        open_npz(path, "mine")
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said


def zeros(*shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros(shape, np.uint8)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The start of an array of names that claims this shape."""
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, {"descr": "<U3", "fortran_order": False, "shape": shape})
    return start.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *({"train_labels": (np.arange(N_TRAIN) % 2).astype(dtype)} for dtype in (np.uint8, np.int16, np.uint64)),
        {"classes": np.array([b"cat", b"dog"])},
    ],
)
def test_images_and_labels_come_back_as_they_were_saved(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = save(tmp_path / "a.npz", **changes)
    dataset = open_npz(path, "mine")
    assert (dataset.name, dataset.classes, dataset.origin) == ("mine", ("cat", "dog"), str(path))
    assert (dataset.image_size, dataset.in_channels, dataset.n_train, dataset.n_test) == (SIZE, 3, N_TRAIN, N_TEST)
    with np.load(path) as saved:
        np.savez_compressed(tmp_path / "b.npz", **saved)
        small = open_npz(tmp_path / "b.npz", "mine")
        assert small.digest == dataset.digest
        for part, form in itertools.product(("train", "test"), (dataset, small)):
            images, labels = form.read(part)
            assert np.array_equal(images, saved[f"{part}_images"])
            assert np.array_equal(labels, saved[f"{part}_labels"])
            assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels"])
def test_the_digest_tells_other_images_and_labels(tmp_path: Path, key: str) -> None:
    dataset = open_npz(save(tmp_path / "a.npz"), "mine")
    with np.load(tmp_path / "a.npz") as saved:
        changed = saved[key].copy()
    changed.flat[-1] ^= 1
    assert open_npz(save(tmp_path / "b.npz", **{key: changed}), "mine").digest != dataset.digest
    assert open_npz(save(tmp_path / "c.npz"), "mine").digest == dataset.digest


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels", "classes"])
def test_a_missing_array_is_named_beside_those_found(tmp_path: Path, key: str) -> None:
    said = refusal(save(tmp_path / "a.npz", **{key: None}))
    assert f"has no {key} " in said
    assert "(found: " in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": np.zeros((N_TRAIN, SIZE, SIZE, 3))}, "train_images is float64"),
        ({"train_images": zeros(N_TRAIN, SIZE, SIZE)}, "shape (20, 8, 8)"),
        ({"train_images": zeros(N_TRAIN, SIZE, 9, 3), "test_images": zeros(N_TEST, SIZE, 9, 3)}, "squares"),
        ({"test_images": zeros(N_TEST, 9, 9, 3)}, "(8, 8, 3) and (9, 9, 3)"),
        ({"test_images": zeros(N_TEST, SIZE, SIZE, 1)}, "(8, 8, 3) and (8, 8, 1)"),
        ({"test_labels": np.array([None] * N_TEST)}, "test_labels holds Python objects"),
        ({"classes": np.array(["cat", "dog"], object)}, "classes holds Python objects"),
        ({"train_labels": np.arange(N_TRAIN) % 2 - 1}, "train_labels: values from -1 to 0; allowed are 0 to 1"),
        ({"test_labels": np.arange(N_TEST) % 3}, "test_labels: values from 0 to 2; allowed are 0 to 1"),
        ({"train_labels": np.zeros(N_TRAIN)}, "train_labels is float64"),
        ({"train_labels": zeros(N_TRAIN, 2)}, "train_labels is uint8 of shape (20, 2)"),
        ({"train_labels": zeros(N_TRAIN - 1)}, "20 train_images but 19 train_labels"),
        ({"test_images": zeros(0, SIZE, SIZE, 3), "test_labels": zeros(0)}, "0 test_images"),
        ({"train_images": zeros(0, SIZE, SIZE, 3), "train_labels": zeros(0)}, "0 train_images"),
        ({"train_images": zeros(N_TRAIN, 0, 0, 3), "test_images": zeros(N_TEST, 0, 0, 3)}, "(0, 0, 3)"),
        ({"train_images": zeros(N_TRAIN, 8, 8, 0), "test_images": zeros(N_TEST, 8, 8, 0)}, "(8, 8, 0)"),
        ({"classes": np.array([1, 2])}, "classes is int64"),
        ({"classes": np.array([], "U1")}, "classes is <U1 of shape (0,)"),
        ({"classes": np.array("cat")}, "classes is <U3 of shape ()"),
    ],
)
def test_a_bad_array_is_said_with_what_is_needed(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refusal(save(tmp_path / "a.npz", **changes))


def test_what_is_no_archive_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("these are\nnot images\n")
    (tmp_path / "folder.npz").mkdir()
    assert all("cannot be read" in refusal(tmp_path / f"{name}.npz") for name in ("text", "folder"))
    assert "numpy.savez" in refusal(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"cat, dog",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((\n",
        b"\x93NUMPY\x09\x00" + bytes(100),
        npy_header((-1,)),
        npy_header((10**15,)),
    ],
    ids=["text", "a header without end", "an unknown version", "a size below zero", "a size beyond memory"],
)
def test_an_array_in_an_archive_that_is_none_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = save(tmp_path / "a.npz", classes=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("classes.npy", content)
    assert "cannot be read" in refusal(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(share=0)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path: Path, share: float) -> None:
    whole = save(tmp_path / "a.npz").read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole[: int(share * len(whole))])
    refusal(cut)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_file_with_one_wrong_bit_never_gives_wrong_images(tmp_path: Path, share: float, bit: int) -> None:
    path, bad = save(tmp_path / "a.npz"), tmp_path / "bad.npz"
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1 << bit
    bad.write_bytes(content)
    try:
        images, labels = open_npz(bad, "mine").read("train")
    except DataError as error:
        assert "\n" not in str(error)
    else:
        expected = open_npz(path, "mine").read("train")
        assert np.array_equal(images, expected[0])
        assert np.array_equal(labels, expected[1])


def test_damaged_images_are_noticed_when_they_are_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", train_images=zeros(500, SIZE, SIZE, 3), train_labels=zeros(500))
    content = bytearray(path.read_bytes())
    content[50_000] ^= 255  # within the first array, train_images
    path.write_bytes(content)
    dataset = open_npz(path, "mine")
    assert len(dataset.read("test")[0]) == N_TEST
    with pytest.raises(DataError, match=r"train_images cannot be read .*CRC.*damaged"):
        dataset.read("train")
    path.unlink()
    with pytest.raises(DataError, match="a.npz"):
        dataset.read("train")


def test_the_folder_is_the_one_given_else_of_the_environment_else_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_BUDGET_DATA", "/from/environment")
    monkeypatch.setenv("XDG_CACHE_HOME", "/from/cache")
    monkeypatch.setattr("sys.platform", "linux")
    assert data_folder("/given") == data_folder(Path("/given")) == Path("/given")
    assert data_folder() == Path("/from/environment")
    monkeypatch.setenv("NAS_BUDGET_DATA", "")
    assert data_folder() == Path("/from/cache/nas-budget")
    monkeypatch.delenv("NAS_BUDGET_DATA")
    assert data_folder() == Path("/from/cache/nas-budget")
    assert data_folder("~/images") == Path.home() / "images"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    words = r"'imagenet' is unknown; allowed are auto, cifar10, .*shapes, or a path of images$"
    with pytest.raises(UsageError, match=words) as said:
        open_dataset("imagenet")
    assert said.value.exit_code == 2


def test_auto_is_cifar10_where_it_is_on_disk_and_does_not_hide_that_it_is_damaged(tmp_path: Path) -> None:
    path, said = save(tmp_path / "cifar10.npz"), list[str]()
    dataset = open_dataset("auto", tmp_path, said.append)
    assert (dataset.name, dataset.n_train, said) == ("cifar10", N_TRAIN, [])
    path.write_bytes(b"half a download")
    with pytest.raises(DataError, match="damaged"):
        open_dataset("auto", tmp_path, said.append)


@pytest.mark.parametrize(("folder", "words"), [(".", "the network is down"), ("file/data", "cannot be written")])
def test_auto_without_a_download_is_the_shapes_and_a_data_set_asked_for_by_name_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, words: str
) -> None:
    def refuse(name: str, folder: str) -> None:
        raise RuntimeError("the network is down")

    monkeypatch.setattr(download, "_fetch", refuse)
    (tmp_path / "file").touch()
    said: list[str] = []
    assert open_dataset("auto", tmp_path / folder, said.append).name == "shapes"
    assert any(words in line for line in said)
    assert any("shapes" in line and "instead of CIFAR-10" in line for line in said)
    with pytest.raises(DownloadError, match=words):
        open_dataset("cifar10", tmp_path / folder, said.append)


def test_an_archive_whose_header_and_content_disagree_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.npz")
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            with archive.open(name, "w") as file:
                file.write(content)
                for _ in range(64 if name == "classes.npy" else 0):
                    file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    assert "classes cannot be read (it claims 24 bytes and holds" in refusal(path)
