"""The layout and the language of the project."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median
from typing import Any

import grimp
import pytest

import nas_budget

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nas_budget"
FOLDERS = sorted({path.parent for path in PACKAGE.rglob("*.py")})
MODULES = ["nas_budget", *(m.name for m in pkgutil.walk_packages(nas_budget.__path__, "nas_budget."))]
MODULES.remove("nas_budget.__main__")
MOST_FILES = 13
NUMERICAL = (
    "space/counting", "space/sampling", "space/feasible", "space/layout_graph", "space/path_sampler",
    "train/optim/muon", "train/data/augment",
)  # fmt: skip
PRIVATE_WORDS = (
    r"held[ _-]out", r"told (right|wrong)", r"stepper", r"hopeless", r"\bbooks\b", r"\bstandings?\b",
    r"\bstart[_-]up\b", r"\blong[ _]runs?\b", r"\broster\b", r"\btally\b", r"rest_rate", r"\bpayload\b", r"\binsight\b",
    r"\bwinners?\b", r"\bsqueeze\b(?!-| and|\()", r"averaged[_ ]weights", r"\bforecasts?\b", r"stopped early",
)  # fmt: skip
"""Words of an earlier language, for which the field has others (docs/glossary.md)."""
TEXTS = [
    Path(line)
    for line in subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    if Path(line).suffix in {".py", ".md", ".toml", ".html", ".js"} and Path(line) != Path("tests/test_house.py")
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_folder_is_crowded(folder: Path) -> None:
    assert len([path for path in folder.iterdir() if path.is_file() and path.name != "__init__.py"]) <= MOST_FILES


def test_no_import_goes_in_a_circle_lazy_ones_included() -> None:
    graph = grimp.build_graph("nas_budget", cache_dir=None)
    names = graph.find_descendants("nas_budget")
    imports = {name: graph.find_modules_directly_imported_by(name) & names for name in names}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def public_classes() -> list[type]:
    return [thing for name in nas_budget.__all__ if inspect.isclass(thing := getattr(nas_budget, name))]


def test_public_classes_teach() -> None:
    texts = {thing.__name__: inspect.getdoc(thing) or "" for thing in public_classes()}
    errors = {thing.__name__ for thing in public_classes() if issubclass(thing, Exception)}
    assert [name for name, text in texts.items() if ">>>" not in text and name not in errors] == []
    assert median(len(text.splitlines()) for text in texts.values()) >= 5


@pytest.mark.parametrize("file", NUMERICAL)
def test_numerical_code_says_why(file: str) -> None:
    lines = (PACKAGE / f"{file}.py").read_text().splitlines()
    n = sum(bool(re.search(r"(^|\s)# (?!type:|noqa|fmt:)", line)) for line in lines)
    assert 4 <= 100 * n / len(lines) <= 8


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_the_words_are_the_fields(path: Path) -> None:
    text = (ROOT / path).read_text()
    found = [match[0] for word in PRIVATE_WORDS for match in re.finditer(word, text, re.IGNORECASE)]
    assert found == []


def test_one_trial_passes_through_few_files() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    trial_path: Any = importlib.import_module("trial_path")
    sys.path.remove(str(ROOT / "benchmarks"))
    called = trial_path.one_trial()
    assert 10 < len(trial_path.without_training(called)) <= 25
    assert len(called) <= 55
