"""The wheel in an environment of its own, outside any clone: every command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import nas_budget
from nas_budget.cli.app import app

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def build(kind: str, folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder], cwd=ROOT, check=True)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment with the wheel; what the wheel depends on is that of this environment."""
    wheel, home = build("wheel", tmp_path_factory.mktemp("wheel")), tmp_path_factory.mktemp("environment")
    venv.create(home)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    place = next(home.glob("lib/python*/site-packages"))
    # A line of a .pth file adds the folder alone: the link to this clone that lies in it is not followed.
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "nas-budget"


def test_every_command_works_outside_a_clone(command: Path, tmp_path: Path) -> None:
    tried = set()

    def run(*arguments: str) -> str:
        tried.add(arguments[0])
        home = {"HOME": str(tmp_path)}
        done = subprocess.run(
            [command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, env=home
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    where = subprocess.run(
        [command.with_name("python"), "-c", "import nas_budget as n; print(n.__file__, n.__version__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env={},
    ).stdout.split()  # fmt: skip
    assert Path(where[0]).is_relative_to(command.parents[1])
    assert where[1] == run("--version").strip() == nas_budget.__version__
    assert "4,907,445" in run("count", "--channels", "32,64,96,128,185")
    assert "best" not in run("fit", "--shape", "1:2:4", "--budget", "250k")
    assert "cifar10-5m" in run("init")
    run("init", "quickstart", "--output", "mine.toml")
    run("explore", "--preset", "quickstart", "--quiet")
    small = ["--data", "shapes", "--images", "100", "--epochs", "1", "--set", "data.validation_images=50"]
    run("search", "mine.toml", "--trials", "2", *small)
    assert "mine" in run("ls")
    run("show", "mine")
    run("show", "mine", "0")
    run("report", "mine")
    run("doctor", "mine")
    run("train", "--study", "mine", "--recipe", "fast", "--epochs", "1", "--images", "100", "--name", "best")
    assert json.loads(run("evaluate", "best", "--json"))["images"] == 4_000
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "black.png")
    run("predict", "best", "black.png")
    run("export", "best", "--format", "python")
    assert "shapes" in run("data")
    run("dashboard", "--help")
    run("worker", "--help")
    assert tried == {*typer.main.get_command(app).commands, "--version"}  # type: ignore[attr-defined]


def test_all_presets_are_in_the_wheel(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        names = wheel.namelist()
    assert {f"nas_budget/presets/{path.name}" for path in (ROOT / "studies").glob("*.toml")} <= {*names}
    assert "nas_budget/py.typed" in names


def test_the_description_has_no_picture_and_no_link_that_a_package_index_cannot_show(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        about = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    description = about.partition("\n\n")[2]
    assert description.startswith("# nas-budget\n")
    assert len(description) > 5_000
    assert re.findall(r"\]\((?!https://)|!\[", description) == []


def test_the_source_archive_has_the_tests_and_what_it_lists(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "tests/test_wheel.py" in names
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    for entry in targets["sdist"]["include"]:
        assert any(name == entry or name.startswith(f"{entry}/") for name in names), entry
