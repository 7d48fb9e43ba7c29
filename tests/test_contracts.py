"""Promises about the whole: layers, exports, light imports, documented commands."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import nas_budget
from nas_budget.cli.options.study import OPTIONS
from nas_budget.records import trials as trial_table
from nas_budget.search.config.sections import SECTIONS
from tests.conftest import Ran

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "optuna", "pandas", "plotly", "numpy", "sqlalchemy"}


def python(code: str, folder: Path = ROOT) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return ran.stdout


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["count", "--channels", "32,64,96,128,185"],
        ["search", "--help"],
        ["explore", "--help"],
        ["fit", "--help"],
        ["export", "--help"],
        ["ls", "studies/results"],
        ["show", "tests/cli/commands/early_study"],
        ["show", "tests/cli/commands/early_study", "3"],
    ],
)
def test_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys, nas_budget.cli as c; c.main({arguments!r}); print('|', *sys.modules)"
    loaded = {name.split(".")[0] for name in python(code).rpartition("|")[2].split()}
    assert not loaded & HEAVY


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = set(python("import sys, nas_budget; nas_budget.cost; print(*sys.modules)").split())
    assert not loaded & HEAVY


def test_every_exported_name_is_there_and_documented() -> None:
    assert nas_budget.__all__ == sorted(nas_budget.__all__)
    for name in nas_budget.__all__:
        assert getattr(nas_budget, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = nas_budget.nothing


def test_the_example_of_the_package_runs() -> None:
    assert doctest.testmod(nas_budget).failed == 0


def _commands(path: Path) -> list[str]:
    blocks = re.findall(r"^```(?:console|sh)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.lstrip("$! ") for block in blocks for line in block.splitlines()]
    return [line.split(" #")[0] for line in lines if line.startswith("nas-budget ")]


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOLD_IN_ORDER = ("notebook.md", "own-images.md")
"""Pages whose blocks of Python belong together; those of the others stand alone."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documented_commands_are_understood(path: Path, run: Callable[..., Ran]) -> None:
    for command in _commands(path):
        name, *options = shlex.split(command)[1:]
        known = run(name, "--help").out
        for option in options:
            if option.startswith("--"):
                assert option.split("=")[0] in known, command


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documented_counts_run_and_say_what_is_written(path: Path, run: Callable[..., Ran]) -> None:
    for command, shown in re.findall(
        r"^\$ (nas-budget (?:count|fit) .*)\n((?:(?!\$|```).*\n)*)", path.read_text(), re.MULTILINE
    ):
        ran = run(*shlex.split(command)[1:])
        assert shown.strip() in ran.out, command


def test_every_command_is_documented() -> None:
    commands = python("from nas_budget.cli.app import app; print(*(c.name for c in app.registered_commands))").split()
    for document in "README.md", "docs/reference/commands.md":
        text = (ROOT / document).read_text()
        assert [name for name in commands if f"nas-budget {name}" not in text] == [], document


def test_every_key_of_a_study_file_is_documented() -> None:
    text = (ROOT / "docs" / "study-files.md").read_text()
    missing = [f"{s}.{key}" for s, model in SECTIONS.items() for key in model.model_fields if f"`{key}`" not in text]
    assert not missing


def test_every_option_sets_a_key_there_is() -> None:
    for option in OPTIONS.values():
        section, field = option.key.split(".")
        assert field in SECTIONS[section].model_fields


def test_every_column_of_the_trials_table_is_documented() -> None:
    text = (ROOT / "docs" / "trials-table.md").read_text()
    assert [c for c in trial_table.COLUMNS if f"`{c}`" not in text] == []


def test_dependencies_are_pinned_without_addresses() -> None:
    pinned = (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [line for group in project["dependency-groups"].values() for line in group if isinstance(line, str)]
    needed = [*project["project"]["dependencies"], *groups]
    names = {re.split(r"[<>=\[]", line)[0].lower() for line in needed}
    assert names <= {line.split("==")[0] for line in pinned.lower().splitlines()}
    assert "://" not in pinned


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documented_python_runs(path: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    for code in ["\n".join(blocks)] if path.name in TOLD_IN_ORDER else blocks:
        python(code, tmp_path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documented_python_that_needs_an_extra_is_python(path: Path) -> None:
    for code in re.findall(r"^```py\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        compile(code, path.name, "exec")
