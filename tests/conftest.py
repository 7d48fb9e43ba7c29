"""Fixtures: small real images, settings that train in a second, the command line in this process."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings

from nas_budget.cli import main
from nas_budget.train.data.dataset import Dataset, open_npz
from nas_budget.train.data.synthetic import CLASSES, draw
from tests.report.browsing import CHROMIUM, FLAGS

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")
torch.set_num_threads(1)


def script(path: Path) -> Any:
    """A program of this project that is no part of the package, as a module."""
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))  # as Python does for a program
    found.loader.exec_module(module)
    sys.path.remove(str(path.parent))
    return module


@pytest.fixture(scope="session")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 training and 100 test images of the built-in kind, as a file in our form."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    save_npz(path)
    return path


def save_npz(path: Path, **changes: Any) -> None:
    """A valid file of small images, or one with some arrays changed (None: left out)."""
    names = ("train_images", "train_labels", "test_images", "test_labels")
    drawn: dict[str, Any] = dict(zip(names, (*draw(500, 5), *draw(100, 6)), strict=True))
    arrays = drawn | {"classes": np.array(CLASSES)} | changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})


@pytest.fixture(scope="session")
def dataset(npz: Path) -> Dataset:
    return open_npz(npz, "small")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int, said: str) -> bool:
        """Whether it ended with this code, and printed nothing but an error of one line that says this."""
        one_line = self.err.startswith("error: ") and self.err.count("\n") == 1
        return (self.code, self.out, one_line) == (code, "", True) and said in self.err


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line: `run("count", "--channels", "8")` gives exit code, stdout and stderr."""

    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(a) for a in arguments])
        return Ran(code, *capfd.readouterr())

    return call


@pytest.fixture
def quick(npz: Path, tmp_path: Path) -> list[object]:
    """Arguments of a search that trains each network in a fraction of a second."""
    options = ["--images", 200, "--epochs", 4, "--budget", "20k"]
    options += sets("space.stages=[2,3] space.width=[4,16] space.blocks=1 data.validation_images=100")
    return ["search", "--data", npz, "--runs-dir", tmp_path, *options, *sets("recipe.batch_size=50")]


def sets(text: str) -> list[str]:
    """The options that set each of some keys of a study file."""
    return [part for value in text.split() for part in ("--set", value)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of a module."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=120_000)
        yield opened
        opened.close()
