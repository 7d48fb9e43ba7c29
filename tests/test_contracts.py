"""Promises about the whole: exports, light imports, documented commands, keys, columns and programs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nas_budget
from nas_budget.cli.options.study import OPTIONS
from nas_budget.records import trials as trial_table
from nas_budget.search.config.sections import SECTIONS
from tests.conftest import Run, script

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "optuna", "pandas", "plotly", "numpy", "sqlalchemy"}


def python(code: str, folder: Path = ROOT) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "count --channels 32,64,96,128,185",
        "search --help",
        "explore --help",
        "fit --help",
        "export --help",
        "ls studies/results",
        "show tests/cli/commands/early_study",
        "show tests/cli/commands/early_study 3",
    ],
)
def test_the_package_and_light_commands_load_nothing_heavy(arguments: str) -> None:
    code = f"nas_budget.cost; nas_budget.cli.main({arguments.split()!r})"
    loaded = python(f"import sys, nas_budget.cli; {code}; print('|', *sys.modules)").rpartition("|")[2]
    assert not {name.split(".")[0] for name in loaded.split()} & HEAVY


def test_exported_names_are_in_order_and_no_others_are_there() -> None:
    assert nas_budget.__all__ == sorted(nas_budget.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = nas_budget.nothing


def _blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```(?:{language})\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def _commands(path: Path) -> list[str]:
    blocks = [re.sub(r"\\\n\s*", "", block) for block in _blocks(path, "console|sh")]  # a command on two lines is one
    lines = [line.lstrip("$! ") for block in blocks for line in block.splitlines()]
    return [line.split(" #")[0] for line in lines if line.startswith("nas-budget ")]


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOLD_IN_ORDER = ("notebook.md", "own-images.md", "optuna.md")
"""Pages whose blocks of Python belong together; those of the others stand alone."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documented_commands_are_understood_and_counts_are_what_is_written(path: Path, run: Run) -> None:
    for command in _commands(path):
        name, *options = shlex.split(command)[1:]
        known = run(name, "--help").out
        for option in options:
            assert not option.startswith("--") or option.split("=")[0] in known, command
    for command, shown in re.findall(
        r"^\$ (nas-budget (?:count|fit) .*)\n((?:(?!\$|```).*\n)*)", path.read_text(), re.MULTILINE
    ):
        assert shown.strip() in run(*shlex.split(command)[1:]).out, command


def test_every_command_is_documented() -> None:
    commands = python("from nas_budget.cli.app import app; print(*(c.name for c in app.registered_commands))").split()
    for document in "README.md", "docs/reference/commands.md":
        text = (ROOT / document).read_text()
        assert [name for name in commands if f"nas-budget {name}" not in text] == [], document


def test_every_key_of_a_study_file_and_every_column_of_the_trials_table_is_documented() -> None:
    keys = [key for model in SECTIONS.values() for key in model.model_fields]
    for page, names in ("study-files.md", keys), ("trials-table.md", trial_table.COLUMNS):
        text = (ROOT / "docs" / page).read_text()
        assert [name for name in names if f"`{name}`" not in text] == [], page


def test_every_option_sets_a_key_there_is() -> None:
    for option in OPTIONS.values():
        section, field = option.key.split(".")
        assert field in SECTIONS[section].model_fields


def test_dependencies_are_pinned_without_addresses() -> None:
    pinned = (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [line for group in project["dependency-groups"].values() for line in group if isinstance(line, str)]
    needed = [*project["project"]["dependencies"], *groups]
    names = {re.split(r"[<>=\[]", line)[0].lower() for line in needed}
    assert names <= {line.split("==")[0] for line in pinned.lower().splitlines()}
    assert "://" not in pinned


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documented_python_runs(path: Path, tmp_path: Path) -> None:
    blocks = _blocks(path, "python")
    for code in ["\n".join(blocks)] if path.name in TOLD_IN_ORDER else blocks:
        python(code, tmp_path)
    for code in _blocks(path, "py"):  # which needs what is not installed here
        compile(code, path.name, "exec")


def test_the_version_is_one() -> None:
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changed = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert cited is not None and changed is not None
    assert cited[1] == changed[1] == nas_budget.__version__


def test_ci_and_hooks_run_what_people_run() -> None:
    workflow, makefile = (ROOT / ".github/workflows/ci.yml").read_text(), (ROOT / "Makefile").read_text()
    commands = re.findall(r"- run: (.*)$", workflow, re.MULTILINE)
    assert commands == [".ci/run", "make oldest"]
    assert re.search(r"^make test MARKS=$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    oldest = (
        f'python-version: "{tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"][2:]}"'
    )
    assert oldest in workflow.partition("oldest:")[2]
    for hook in re.findall(r"entry: \.venv/bin/(\w+(?: \w+)?)", (ROOT / ".pre-commit-config.yaml").read_text()):
        assert f"$(BIN)/{hook}" in makefile.partition("lint:")[2].partition("format:")[0]


def test_the_oldest_versions_are_those_that_the_project_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    assert [text for text in wanted if ">=" not in text] == []
    oldest = script(ROOT / ".ci/oldest.py").constraints(ROOT / "pyproject.toml")
    assert [re.sub(r"\[\w+\]", "", text).replace(">=", "==") for text in wanted] == oldest
    assert ".ci/oldest.py" in (ROOT / "Makefile").read_text().partition("\noldest:")[2].partition("\nlint:")[0]


def test_a_report_of_a_fault_is_asked_for_what_the_page_on_contributing_names() -> None:
    (line,) = re.findall(r"^- A report of a fault .*$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    templates = {path.stem: path.read_text() for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.md")}
    assert {*templates} == {"fault", "wish"}
    assert [word for word in re.findall(r"`[^`]+`|study file|spec", line) if word not in templates["fault"]] == []
    for text in templates.values():
        assert re.match(r"---\nname: \S.*\nabout: \S.*\n---\n", text)


def test_the_container_is_set_up_as_the_readme_says() -> None:
    container, readme = (ROOT / "Dockerfile").read_text(), (ROOT / "README.md").read_text()
    assert "pip install -c constraints.txt ." in readme
    assert re.search(r"^RUN pip install .*--constraint /src/constraints.txt /src$", container, re.MULTILINE)
    (command,) = re.findall(r"nas-budget (search .*)$", container, re.MULTILINE)
    assert f"nas-budget {command}" in readme
