"""`predict --csv`: a submission from a folder of images, arrays, or a pickled test set without labels."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run
from tests.train.data.making import write_idx

BRIEF = ("--channels", "4,8", "--blocks", "1", "--strides", "2,2", "--pool", "global", "--recipe", "brief")


@pytest.fixture
def trained(run: Run, npz: Path, tmp_path: Path) -> Path:
    ran = run("train", *BRIEF, "--data", npz, "--runs-dir", tmp_path, "--epochs", 2)
    assert ran.code == 0, ran.err
    return tmp_path / "4-8-brief"


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def write_form(form: str, images: Any, folder: Path) -> Path:
    path = folder / ("test-images-idx3-ubyte.gz" if form == "idx" else f"test.{form}")
    if form == "npy":
        np.save(path, images)
    elif form == "npz":
        np.savez(path, test_images=images)
    elif form == "idx":
        write_idx(path, images)
    elif form == "pkl":
        path.write_bytes(pickle.dumps({b"data": images, b"ids": list(range(len(images)))}))
    else:
        pictures = path if form == "folder" else folder / "test_images"
        pictures.mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(pictures / f"{i:04}.png")
        if form == "csv":
            rows = [f"{i},{i:04}.png" for i in range(len(images))]
            path.write_text("\n".join(["id,image", *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["npy", "npz", "pkl", "idx", "folder", "csv"])
@pytest.mark.parametrize(("options", "figure"), [((), "accuracy"), (("--mirrored",), "flipped")])
def test_a_submission_is_as_accurate_as_evaluate_says(
    run: Run, trained: Path, npz: Path, tmp_path: Path, form: str, options: tuple[str, ...], figure: str
) -> None:
    with np.load(npz) as file:
        images, labels = file["test_images"], file["test_labels"]
    test_set, made = write_form(form, images, tmp_path), tmp_path / "submission.csv"
    assert (
        run("predict", trained, test_set, "--csv", made, "--indices", *options).out
        == f"{made}: {len(labels):,} images\n"
    )
    head, *rows = rows_of(made)
    assert head == ["ID", "Labels"]
    right = [int(row[1]) == label for row, label in zip(rows, labels, strict=True)]
    assert np.mean(right) == pytest.approx(run("evaluate", trained, "--json").json[figure])
    assert rows[3][0] == ("0003.png" if form == "folder" else "3")


def test_names_of_classes_and_columns_can_be_chosen(run: Run, trained: Path, npz: Path, tmp_path: Path) -> None:
    made = tmp_path / "submission.csv"
    run("predict", trained, npz, "--csv", made, "--columns", "id,class")
    head, *rows = rows_of(made)
    assert head == ["id", "class"]
    assert {row[1] for row in rows} <= set(run("evaluate", trained, "--json").json["classes"])


def test_what_was_changed_to_fit_is_said(run: Run, trained: Path, npz: Path, tmp_path: Path) -> None:
    with np.load(npz) as file:
        images = file["test_images"]
    np.save(tmp_path / "float.npy", images / 255)
    made = tmp_path / "submission.csv"
    ran = run("predict", trained, tmp_path / "float.npy", "--csv", made)
    assert "NOTE: images of type float64 with values from 0 to 1 were mapped from 0..1 to 0..255" in ran.err
    assert run("predict", trained, tmp_path / "float.npy", "--csv", made, "--quiet").err == ""
    (tmp_path / "photos").mkdir()
    Image.fromarray(images[0]).save(tmp_path / "photos/0.png")
    Image.fromarray(images[1]).resize((40, 32)).save(tmp_path / "photos/1.png")
    said = run("predict", trained, tmp_path / "photos", "--csv", made).err
    assert "NOTE: 1 of 2 images were changed to fit, such as 1.png: resized from 40x32, the middle 32x32 of it" in said


def test_images_of_types_that_are_not_read_are_named(run: Run, trained: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "a.heic", "b.AVIF", "notes.txt":
        (photos / name).touch()
    for options in (), ("--csv", tmp_path / "submission.csv"):
        said = f"error: {photos}: holds no images that are read (a.heic, b.AVIF); give images such as PNG"
        assert run("predict", trained, photos, *options).refused(2, said)
    Image.new("RGB", (32, 32)).save(photos / "c.png")
    for options in (), ("--csv", tmp_path / "submission.csv"):
        said = f"NOTE: 2 of 3 images in {photos} are of types that are not read (a.heic, b.AVIF); convert them"
        assert said in run("predict", trained, photos, *options).err


def test_the_images_are_not_overwritten(run: Run, trained: Path, npz: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("id\n1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "test.csv")
    for name in "test.csv", "link.csv":
        ran = run("predict", trained, tmp_path / "test.csv", "--csv", tmp_path / name)
        assert ran.refused(2, f"error: --csv {tmp_path / name}: is the file of the images; give another")


def test_every_image_that_cannot_be_read_is_named(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in "a.png", "b.jpg":
        (tmp_path / "photos" / name).write_text("no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "photos/c.png")
    for options in (), ("--csv", tmp_path / "submission.csv"):
        ran = run("predict", trained, tmp_path / "photos", *options)
        assert ran.refused(2, "error: 2 of 3 images cannot be read: ")
        assert all(str(tmp_path / "photos" / name) in ran.err for name in ("a.png", "b.jpg"))


class Trap:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_what_cannot_be_read_is_one_line_and_nothing_is_run(run: Run, trained: Path, tmp_path: Path) -> None:
    made = tmp_path / "submission.csv"
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps(Trap()))
    np.savez(tmp_path / "other.npz", a=np.zeros(3), b=np.zeros(3))
    np.savez(tmp_path / "ids.npz", images=np.zeros((3, 32, 32, 3), np.uint8), ids=np.arange(2))
    (tmp_path / "labels.csv").write_text("id,label\n1,cat\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    for name, said in {
        "labels.csv": "no image can be read, such as row 1 (1) (no such file", "one.png": "holds no array of images",
        "trap.pkl": "which is not read for safety", "other.npz": "has a, b; needed is one of", "nope": "no such file",
        "ids.npz": "3 images but 2 IDs",
    }.items():  # fmt: skip
        ran = run("predict", trained, tmp_path / name, "--csv", made)
        assert ran.refused(2, f"error: {tmp_path / name}: ")
        assert said in ran.err
    assert run("predict", trained, tmp_path, "--csv", made, "--columns", "ID").refused(2, "error: --columns: ")
    for option in ("--mirrored",), ("--indices",), ("--columns", "id,class"):
        assert run("predict", trained, tmp_path, *option).refused(2, f"error: {option[0]} goes with --csv; add it")
    assert run("predict", trained, tmp_path, "--csv", made, "--top", 2).refused(2, "error: --top goes without --csv")
    assert run("predict", trained, tmp_path / "labels.csv").refused(2, f"error: {tmp_path / 'labels.csv'}: holds many")
    refused = run("predict", trained, tmp_path / "ids.npz")
    assert refused.refused(
        2, f"error: {tmp_path / 'ids.npz'}: holds many images; write their classes to a file: add --"
    )
    assert not made.exists()
