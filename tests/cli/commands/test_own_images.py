"""From a folder of photographs to a trained network and its predictions, as a person would do it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_budget.train.data.synthetic import CLASSES, draw
from tests.conftest import Run, sets


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 JPEG files of three classes in a folder, of many sizes."""
    path = tmp_path_factory.mktemp("own") / "photos"
    images, labels = draw(400, 5)
    for label in range(3):
        folder = path / CLASSES[label]
        folder.mkdir(parents=True)
        for number, image in enumerate(images[labels == label][:40]):
            size = (48 + number % 3, 40 + number % 5)
            Image.fromarray(image).resize(size).save(folder / f"{number}.jpg", quality=90)
    return path


def test_a_folder_of_photographs_is_checked(run: Run, photos: Path, tmp_path: Path) -> None:
    ran = run("data", photos, "--data-dir", tmp_path)
    assert ran.code == 0
    assert "crescent" not in ran.out
    assert f"{photos}: 32x32x3, {photos}, converted to" in ran.out
    assert "NOTE: images of 48x40 to 50x44 pixels were resized to 32x32" in ran.err
    found = run("data", f"{photos},size=16,fit=pad", "--data-dir", tmp_path, "--json").json
    assert (found["image_size"], found["counts"]) == (16, {"train": [32] * 3, "test": [8] * 3})
    assert run("data", f"{photos},size=none", "--data-dir", tmp_path).refused(2, "size=none: needed is a whole number")
    assert run("data", tmp_path / "none", "--data-dir", tmp_path).refused(2, "no such file or folder")


@pytest.mark.slow
def test_a_search_and_a_training_on_a_folder_of_photographs(run: Run, photos: Path, tmp_path: Path) -> None:
    data = f"{photos},size=16"
    common = ["--data-dir", tmp_path / "store", "--runs-dir", tmp_path / "runs"]
    quick = sets(
        "space.stages=[2,2] space.width=[4,8] space.blocks=1 space.pool=['global'] "
        "data.validation_images=20 recipe.batch_size=20"
    )
    search = [
        "search",
        "--data",
        data,
        "--budget",
        "20k",
        "--epochs",
        1,
        "--trials",
        2,
        "--proxy",
        "none",
        *quick,
        *common,
    ]
    ran = run(*search, "--images", 60, "--workers", 2)
    assert ran.code == 0, ran.err
    study = tmp_path / "runs" / "photos-20k"
    assert json.loads((study / "settings.json").read_text())["data"]["name"] == data
    ran = run(*search, "--images", 60, "--workers", 1, "--trials", 3)  # resumed with the same images
    assert ran.code == 0, ran.err
    ran = run("train", "--study", study, "--epochs", 1, "--name", "best", *sets("recipe.batch_size=20"), *common)
    assert ran.code == 0, ran.err
    best = tmp_path / "runs" / "best"
    evaluated = run("evaluate", best, "--data-dir", tmp_path / "store", "--json")
    assert (evaluated.json["data"], evaluated.json["images"]) == (data, 24)
    # The same folder by its path alone takes the size of the network.
    assert run("evaluate", best, "--data", photos, "--data-dir", tmp_path / "store", "--json").json["images"] == 24
    predicted = run("predict", best, photos / CLASSES[0], photos / CLASSES[1] / "0.jpg", "--json").json
    assert len(predicted) == 41
    assert {*predicted[0]["classes"]} <= {*CLASSES[:3]}
    assert run("predict", best, tmp_path / "store").refused(2, "holds no images")


@pytest.mark.slow
def test_a_study_and_a_run_remember_where_their_images_lay(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("--data-dir", tmp_path / "store", "--runs-dir", tmp_path / "runs")
    small = sets("space.stages=[2,2] space.width=[4,8] space.blocks=1 recipe.batch_size=20 data.validation_images=20")
    search = ("search", "--name", "found", "--budget", "20k", "--epochs", 1, "--proxy", "none", *small, *common)
    monkeypatch.chdir(photos.parent)
    assert run(*search, "--data", photos.name, "--trials", 1).code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ran = run(*search, "--trials", 3, "--workers", 2)
    assert ran.code == 0, ran.err
    images = ("--epochs", 1, *sets("recipe.batch_size=20 data.validation_images=20"))
    ran = run("train", "--study", tmp_path / "runs/found", "--name", "best", *images, *common)
    assert ran.code == 0, ran.err
    evaluated = run("evaluate", tmp_path / "runs/best", "--data-dir", tmp_path / "store", "--json")
    assert (evaluated.json["data"], evaluated.json["images"]) == (photos.name, 24)
    ran = run("export", tmp_path / "runs/best", "-f", "onnx-int8", "--calibration-images", 20, *common[:2])
    assert ran.code == 0, ran.err
    submitted = (tmp_path / "runs/best/export").iterdir()
    assert not [path.name for path in submitted if str(photos).encode() in path.read_bytes()]


def test_a_study_refuses_to_resume_with_other_images(run: Run, photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    for place, name in enumerate(("a", "b")):
        (own / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.random.default_rng(100 * place + number).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(own / name / f"{number}.png")
    plan = ["--data-dir", tmp_path / "store", "--runs-dir", tmp_path, "--budget", "20k", "--epochs", 1, "--trials", 1]
    plan += [
        "--proxy",
        "none",
        *sets("space.stages=[2,2] space.width=[4,8] space.blocks=1 space.pool=['global'] recipe.crop_pad=2"),
    ]
    assert run("search", "--data", own, *plan).code == 0
    Image.new("RGB", (8, 8)).save(own / "a" / "0.png")
    ran = run("search", "--data", own, *plan)
    assert ran.code == 2
    assert "the images are others" in ran.err
