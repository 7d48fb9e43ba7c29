"""What the shell is offered, asked for as the scripts of typer ask."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES
from nas_budget.arch.budget import parse_quantity
from nas_budget.cli.options import completion
from nas_budget.cli.options.study import OPTIONS, toml_value
from nas_budget.records.paths import BEST_SPEC, JOURNAL, WEIGHTS
from nas_budget.search.config.sections import key_help
from nas_budget.train.data.open import NAMED
from nas_budget.train.export.export import check_formats
from tests.cli.processes import COMMAND, answer
from tests.test_contracts import HEAVY

SHELLS = ["bash", "zsh", "fish"]
UNDETECTED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


def offered(folder: Path, line: str, code: str = COMMAND) -> list[str]:
    """What bash is offered for the last word of a line, which may be empty."""
    words = ["nas-budget", *line.split()]
    place = len(words) if line.endswith(" ") else len(words) - 1
    variables = {"_NAS_BUDGET_COMPLETE": "complete_bash", "COMP_WORDS": f"nas-budget {line}", "COMP_CWORD": str(place)}
    return answer(folder=folder, code=code, **variables).split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose runs hold a study that goes on, one that is only a table, a run, and one that goes on."""
    held = {"study": (JOURNAL, BEST_SPEC, "trials.csv"), "table": ("trials.csv",), "run": ("result.json", WEIGHTS)}
    for name, files in {**held, "begun": ("run.json",), "else": ("notes.txt",)}.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        for file in files:
            (tmp_path / "runs" / name / file).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("show runs/s", ["runs/study"]),
        ("show st", ["study"]),
        ("show nothing", []),
        ("train --study ", ["runs/study"]),
        ("evaluate ", ["runs/run"]),
        ("predict ", ["runs/run"]),
        ("export ", ["runs/run"]),
        ("dashboard ", ["runs/study"]),
        ("se", ["search"]),
        ("search --sam", ["--sampler"]),
        ("search --recipe ", list(completion.RECIPES)),
        ("train --recipe s", ["strong", "study"]),
        ("search --sampler n", ["nsga2"]),
        ("search --pruner h", ["halving", "hyperband"]),
        ("search --data c", ["cifar10", "cifar100"]),
        ("data s", ["svhn", "shapes"]),
        ("export runs/run --format o", ["onnx", "onnx-int8"]),
        ("count --weight-format f", ["fp32", "fp16"]),
    ],
)
def test_names_and_run_folders_that_hold_the_right_thing_are_offered(folder: Path, line: str, names: list[str]) -> None:
    assert offered(folder, line) == names


def test_show_takes_bare_names_too(folder: Path) -> None:
    names = ["begun", "run", "study", "table"]
    assert sorted(offered(folder, "show ")) == sorted([*names, *(f"runs/{name}" for name in names)])


def test_run_folders_of_another_place(folder: Path) -> None:
    shutil.move(folder / "runs", folder / "other")
    assert offered(folder, "train --runs-dir other --study ") == ["other/study"]
    assert offered(folder, "show ") == []  # there are no runs; the shell offers files


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_that_asks_this_command(tmp_path: Path, shell: str) -> None:
    script = answer("--show-completion", shell, **UNDETECTED)
    assert "_NAS_BUDGET_COMPLETE=complete_" + shell in script
    assert "nas-budget" in script
    said = answer("--install-completion", shell, **UNDETECTED, HOME=str(tmp_path))
    assert f"{shell} completion installed" in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_NAS_BUDGET_COMPLETE" in path.read_text() for path in files)


@pytest.mark.parametrize(("shell", "said"), [("zsh", '"runs/run"'), ("fish", "runs/run")])
def test_other_shells_are_answered_too(folder: Path, shell: str, said: str) -> None:
    line = {"_NAS_BUDGET_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "nas-budget evaluate "}
    line |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "_TYPER_COMPLETE_WORD_TO_COMPLETE": ""}
    assert said in answer(folder=folder, **line)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes(folder: Path) -> None:
    script = answer("--show-completion", "bash", **UNDETECTED)
    program = folder / "nas-budget"
    program.write_text(f"#!{sys.executable}\n{COMMAND}\n")
    program.chmod(0o755)
    lines = "COMP_WORDS=(nas-budget evaluate ''); COMP_CWORD=2; _nas_budget_completion ./nas-budget; "
    lines += 'echo "${COMPREPLY[@]}"'
    ran = subprocess.run(["bash", "-c", f"{script}\n{lines}"], capture_output=True, text=True, cwd=folder, check=True)
    assert ran.stdout == "runs/run\n"


def test_completing_loads_nothing_heavy(folder: Path) -> None:
    code = "import sys, atexit; atexit.register(lambda: print('|', *sys.modules)); " + COMMAND
    loaded = {name.split(".")[0] for name in offered(folder, "evaluate ", code)}
    assert not loaded & HEAVY


def test_the_names_are_those_there_are() -> None:
    assert set(completion.DATA) == {"auto", *NAMED, "shapes"}
    assert (*FAMILIES,) == completion.BLOCKS
    assert completion.ACTIVATIONS == ACTIVATIONS


def test_the_formats_are_those_there_are() -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    check_formats(list(completion.FORMATS))


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_and_the_key_that_it_sets_have_one_default_and_the_same_choices(name: str) -> None:
    option, key = OPTIONS[name], key_help(OPTIONS[name].key)
    if key.choices:
        assert {*option.choices} - {"auto"} == {*key.choices} - {"auto"}
    if "by " in option.default:
        assert key.default in (None, "auto")
    elif name not in ("fill", "family", "latency_table", "checkpoints"):  # these say in words what the default does
        value = toml_value(option.default)
        one = parse_quantity(value) if name == "budget" else value
        assert key.default == ((one,) if isinstance(key.default, tuple) else one)
