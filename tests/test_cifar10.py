"""The real images, where they are."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas_budget.train.data.open import data_folder, open_dataset
from nas_budget.train.data.split import split_images
from tests.conftest import Run

pytestmark = [
    pytest.mark.cifar10,
    pytest.mark.skipif(not (data_folder() / "cifar10.npz").exists(), reason="cifar10.npz is not in the data folder"),
]


def test_the_split_is_the_one_promised_with_the_published_statistics() -> None:
    split = split_images(open_dataset("cifar10"), torch.device("cpu"))
    assert (len(split.train), len(split.validation)) == (45_000, 5_000)
    assert torch.bincount(split.validation.labels).tolist() == [500] * 10
    assert split.mean.numpy() / 255 == pytest.approx(np.array([0.4914, 0.4822, 0.4465]), abs=2e-3)
    assert split.std.numpy() / 255 == pytest.approx(np.array([0.2470, 0.2435, 0.2616]), abs=2e-3)


@pytest.mark.slow
def test_a_search_on_real_images_finds_networks_that_learn(run: Run, tmp_path: Path) -> None:
    options = "--budget 30k --images 2000 --epochs 3 --trials 4 --max-macs 2M --pruner none"
    ran = run("search", "--data", "cifar10", *options.split(), "--runs-dir", tmp_path, "--json")
    assert ran.code == 0, ran.err
    best = ran.json["best"]
    assert best["accuracy"] > 0.2  # ten classes: chance is 0.1
    assert best["params"] <= 30_000
    assert "the reference paper" in (tmp_path / "cifar10-30k" / "report.html").read_text()


def torch_alone(folder: Path) -> Path:
    """A folder with torch and what torch itself requires, as in an environment with nothing else."""
    wanted, seen = ["torch"], set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another system
        for top in {file.parts[0] for file in found.files or [] if ".." not in file.parts}:
            with suppress(FileExistsError):
                (folder / top).symlink_to(found.locate_file(top))
        plain = [line for line in found.requires or [] if "extra ==" not in line]
        wanted += [re.split(r"[^\w.-]", line)[0] for line in plain]
    return folder


@pytest.mark.slow
def test_a_network_trained_here_is_evaluated_asked_and_exported_in_every_form(run: Run, tmp_path: Path) -> None:
    shape = "--channels 16,32,64 --blocks 1 --strides 2,2,2 --pool global --shortcut-kernel 1 --name small"
    how = "--data cifar10 --images 4000 --recipe brief --epochs 4 --set recipe.ema=0.1 --deterministic --json"
    ran = run("train", *shape.split(), *how.split(), "--runs-dir", tmp_path)
    assert ran.code == 0, ran.err
    (seed,), folder = ran.json["seeds"], tmp_path / "small"
    assert min(seed["accuracy"], seed["ema"]) > 0.4  # ten classes: chance is 0.1

    for more, figure in ([], "accuracy"), (["--ema"], "ema"):
        evaluated = run("evaluate", folder, "--json", *more).json
        assert evaluated["accuracy"] == pytest.approx(seed[figure], abs=1e-6)
        assert evaluated["images"] == 10_000

    images, labels = (part[:40] for part in open_dataset("cifar10").read("test"))
    files = [tmp_path / f"{number}.png" for number in range(40)]
    for path, image in zip(files, images, strict=True):
        Image.fromarray(image).save(path)
    predicted = [next(iter(image["classes"])) for image in run("predict", folder, *files, "--json").json]
    names = open_dataset("cifar10").classes
    accuracy = np.mean([name == names[label] for name, label in zip(predicted, labels, strict=True)])
    assert accuracy == pytest.approx(seed["accuracy"], abs=0.25)

    formats = [word for name in ("onnx", "torch", "python") for word in ("--format", name)]
    ran = run("export", folder, *formats, "--budget", "150k", "--json")
    assert ran.code == 0, ran.err
    assert [file["format"] for file in ran.json["files"]] == ["spec", "safetensors", "onnx", "torch", "python"]
    assert all(file["params"] == ran.json["params"] <= 150_000 for file in ran.json["files"])
    assert ran.json["test_accuracy"] == pytest.approx(seed["accuracy"])
    assert ran.json["weights_digest"] == seed["digest"]

    np.save(tmp_path / "images.npy", images)
    code = f"import sys; sys.path += [{str(torch_alone(folder / 'export'))!r}]; " + CLASSIFY
    ran_alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "images.npy")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran_alone.returncode == 0, ran_alone.stderr
    assert ran_alone.stdout.split() == predicted


CLASSIFY = """
import torch
from model import CLASSES, load, predict
content = open(sys.argv[1], "rb").read()[-40 * 32 * 32 * 3 :]
images = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(40, 32, 32, 3)
print(*(CLASSES[i] for i in predict(load(), images).argmax(1)))
assert not {"numpy", "nas_budget", "safetensors"} & set(sys.modules)
"""
