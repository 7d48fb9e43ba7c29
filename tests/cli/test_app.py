"""Exit codes: one table, which every command keeps; and what becomes of output that nobody reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_budget import errors
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.app import app
from nas_budget.cli.console import output
from nas_budget.errors import InputError, NasBudgetError, StorageError, UnfinishedError
from nas_budget.search.workers.events import FinalistFinished
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.engine.model import build
from nas_budget.train.engine.weights import Model, save_model
from tests.cli.processes import start
from tests.conftest import Run

ROOT = Path(__file__).parents[2]
TABLE = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("|")]
UNUSABLE = {
    "count": [
        "missing.json", "damaged.json", "--module missing:net", "--module broken:net", "--module torch.nn:Conv2d",
    ],
    "fit": ["--shape one:two"],
    "explore": ["missing.toml", "damaged.toml", "--data missing.npz", "--data damaged.npz"],
    "search": [
        "missing.toml", "damaged.toml", "--data missing.npz", "--data damaged.npz", "--seed-spec damaged.json",
        "--data shapes --name damaged", "--data shapes --storage sqlite:///damaged.db",
        "--data shapes --family broken:Net",
        "--data shapes --images all --set data.validation_images=1M",
    ],
    "worker": [
        "missing --storage sqlite:///missing.db", "missing.toml --storage sqlite:///missing.db",
        "damaged.toml --storage sqlite:///missing.db", "missing --storage sqlite:///damaged.db",
        "missing --storage nonsense://x", "missing --storage-file missing.txt", "missing --storage-file damaged.db",
    ],
    "init": ["missing"],
    "ls": ["damaged.json"],
    "show": ["missing", "damaged", "run"],
    "report": ["missing", "missing --watch --no-open", "damaged", "run", "missing.csv"],
    "dashboard": ["missing", "damaged", "--storage sqlite:///missing.db", "--storage sqlite:///damaged.db"],
    "doctor": ["missing", "empty"],
    "train": [
        "missing.json", "damaged.json", "damaged.toml", "--study missing", "--study damaged",
        "--channels 8 --data missing.npz", "--channels 8 --data damaged.npz",
    ],
    "evaluate": ["missing", "damaged.safetensors", "run", "trained.safetensors --data damaged.npz"],
    "predict": [
        "missing a.png", "damaged.safetensors a.png", "trained.safetensors missing.png",
        "trained.safetensors damaged.png", "trained.safetensors damaged.npz --csv a.csv",
    ],
    "export": ["missing", "damaged.safetensors", "run"],
    "data": ["missing.npz", "damaged.npz", "empty"],
}  # fmt: skip
"""Of each command, inputs that are missing, damaged or make no sense."""


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with damaged inputs of every kind."""
    monkeypatch.chdir(tmp_path)
    for suffix in "json", "toml", "npz", "safetensors", "png", "db":
        Path(f"damaged.{suffix}").write_text("]{ damaged")
    for name, files in {"damaged": ["trials.csv", "best.json", "study.journal"], "run": ["result.json"]}.items():
        Path(name).mkdir()
        for file in files:
            (Path(name) / file).write_text("]{ damaged\n]{ damaged\n")
    Path("runs").mkdir()
    shutil.copytree("damaged", "runs/damaged")
    Path("empty").mkdir()
    Path("broken.py").write_text("raise RuntimeError('no')\n")
    spec = ResNetSpec((4,), blocks=1, image_size=8, classes=2, pool="global")
    save_model(Path("trained.safetensors"), Model(spec, build(spec).eval(), ("a", "b"), (125.0,) * 3, (60.0,) * 3))
    return tmp_path


def test_the_table_has_the_code_of_every_error_and_stands_in_the_docs() -> None:
    def below(kind: type[NasBudgetError]) -> list[type[NasBudgetError]]:
        return [kind, *(lower for each in kind.__subclasses__() for lower in below(each))]

    rows = dict(re.findall(r"^\| ([\d+N ]+) \| (.*) \|$", "\n".join(TABLE), re.MULTILINE))
    assert list(rows) == ["0", "1", "2", "3", "4", "128 + N", "141"]
    codes = {str(kind.exit_code) for kind in below(NasBudgetError)}
    assert codes - {"130"} == {"1", "2", "3", "4", "141"}  # and 130 is 128 + SIGINT
    for kind in below(NasBudgetError):  # and the tree beside it names each
        assert kind is NasBudgetError or kind.__name__ in (errors.__doc__ or "") or kind.__base__ is not NasBudgetError
    for page in "reliability.md", "reference/commands.md":
        assert "\n".join(TABLE) in (ROOT / "docs" / page).read_text(), page


def test_every_command_is_in_the_test_of_inputs() -> None:
    assert set(UNUSABLE) == {command.callback.__name__ for command in app.registered_commands if command.callback}


@pytest.mark.parametrize(
    ("command", "given"), [(name, given) for name, several in UNUSABLE.items() for given in several]
)
def test_an_input_that_cannot_be_used_is_2_in_every_command(run: Run, inputs: Path, command: str, given: str) -> None:
    ran = run(command, *given.split())
    assert ran.code == InputError.exit_code, ran.err
    assert ran.out == ""
    assert [line for line in ran.err.splitlines() if not line.startswith(("error: ", "counting "))] == []
    assert "unexpected" not in ran.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("given", ["init quickstart -o", "explore --budget 20k --set space.stages=[1,1] -q -o"])
def test_an_output_that_cannot_be_written_is_1(run: Run, inputs: Path, given: str) -> None:
    Path("file").write_text("")
    assert run(*given.split(), "file/below").refused(1, "file/below: cannot be written")


def test_a_search_that_leaves_something_out_without_a_stop_rule_is_4(
    run: Run, quick: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Search.events

    def events(self: Search) -> Any:
        yield from real(self)
        yield FinalistFinished(0, 7, None, "no memory")

    monkeypatch.setattr(Search, "events", events)
    ran = run(*quick, "--trials", 1, "--name", "a", "--quiet")
    assert ran.code == UnfinishedError.exit_code
    assert ran.err.startswith("error: the search has ended, and a run of finalist 7 failed")
    assert "best: " in ran.out


def test_a_stop_rule_that_was_asked_for_is_0(run: Run, quick: list[object]) -> None:
    assert run(*quick, "--trials", 3, "--name", "a", "--target", "0.01").code == 0


def test_output_that_nobody_reads_ends_a_command_as_shells_expect() -> None:
    with start("count", "--channels", "8", "--json") as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_to_a_full_disk_is_one_line() -> None:
    command = [sys.executable, "-m", "nas_budget", "count", "--channels", "8"]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    said = "error: the output cannot be written (No space left on device)\n"
    assert (ran.returncode, ran.stderr) == (StorageError.exit_code, said)


def test_a_reader_of_messages_that_has_ended_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        for line in "lost", "lost too":
            print(line, file=output.Messages(closed), flush=True)


def test_what_a_file_says_gives_a_terminal_no_commands(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "red\x1b[31m\u202e.json"
    ran = run("count", file)
    assert ran.refused(2, "red?[31m?.json: cannot be read")
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    classes = np.array(["a\x1b]0;title\x07", "b\x9b31m"])
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels,
             classes=classes)  # fmt: skip
    shown = run("data", tmp_path / "a.npz").out
    assert "a?]0;title?" in shown and "b?31m" in shown
    assert not set("\x1b\x07\x9b") & set(shown)
