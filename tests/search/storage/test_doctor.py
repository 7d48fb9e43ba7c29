"""Run folders that were damaged, shown and repaired."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock
from optuna.trial import TrialState

from nas_budget.errors import StudyError
from nas_budget.records.trials import LATER, read_trials
from nas_budget.search.storage.doctor import examine, repair
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.train.data.dataset import Dataset
from tests.conftest import Run
from tests.search.studies import make

ASKED: dict[str, Any] = {"search__trials": 6, "search__finalists": 1, "search__finalist_seeds": 1}
JOURNAL, TABLE = "study.journal", "trials.csv"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


@pytest.fixture(scope="module")
def done(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that came to its end, with a finalist."""
    folder = tmp_path_factory.mktemp("done") / "s"
    quiet_optuna()
    list(make(dataset, folder, **ASKED).events())
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "s")
    return tmp_path / "s"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(folder: Path) -> list[bytes]:
    return (folder / JOURNAL).read_bytes().splitlines(keepends=True)


def what(folder: Path) -> list[str]:
    return [finding.path.name for finding in examine(folder)]


def test_a_healthy_folder_is_left_byte_for_byte(folder: Path) -> None:
    before = files(folder)
    assert examine(folder) == []
    assert repair(folder) == ([], [])
    assert files(folder) == before


def test_a_folder_that_is_worked_in_is_refused(folder: Path) -> None:
    before = files(folder)
    with FileLock(folder / ".lock"), pytest.raises(StudyError, match="another process works in it"):
        repair(folder)
    assert files(folder) == before


def creates(folder: Path) -> list[int]:
    """Lines that make trials."""
    return [i for i, line in enumerate(lines(folder)) if json.loads(line)["op_code"] == 4]


def garbage(line: bytes) -> bytes:
    return bytes(len(line) - 1) + b"\n"


DAMAGES: dict[str, Callable[[Path], tuple[int, int]]] = {
    "one epoch": lambda folder: (creates(folder)[2] + 1, creates(folder)[2] + 2),
    "what made a trial": lambda folder: (creates(folder)[2], creates(folder)[2] + 1),
    "what made the first": lambda folder: (creates(folder)[0], creates(folder)[0] + 1),
    "a whole trial": lambda folder: (creates(folder)[2], creates(folder)[3]),
    "three trials": lambda folder: (creates(folder)[1], creates(folder)[4]),
    "the last trial and the finalist": lambda folder: (creates(folder)[5], len(lines(folder))),
    "the first half": lambda folder: (0, len(lines(folder)) // 2),
    "all of it": lambda folder: (0, len(lines(folder))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("how", ["garbage", "one line"])
def test_a_damaged_journal_is_rebuilt(folder: Path, dataset: Dataset, name: str, how: str) -> None:
    first, last = DAMAGES[name](folder)
    before = lines(folder)
    middle = {"garbage": [*map(garbage, before[first:last])], "one line": [b"\x00\xff\n"]}[how]
    damaged = b"".join([*before[:first], *middle, *before[last:]])
    (folder / JOURNAL).write_bytes(damaged)
    table = (folder / TABLE).read_bytes()
    assert JOURNAL in what(folder)
    shown = files(folder)
    examine(folder)
    assert files(folder) == shown
    _repaired, left = repair(folder)
    assert left == []
    assert (folder / f"{JOURNAL}.damaged").exists()
    assert (folder / TABLE).read_bytes().splitlines()[0] == table.splitlines()[0]
    rows = read_trials(folder)
    assert [(row.number, row.state, row.spec) for row in rows] == [
        (row.number, row.state, row.spec) for row in read_trials(_written(folder, table))
    ]
    again = files(folder)
    assert repair(folder) == ([], [])
    assert files(folder) == again
    search = make(dataset, folder, **ASKED)
    list(search.events())
    assert [trial.number for trial in search.study.trials] == [*range(6)]
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in search.study.trials)
    assert len({row.spec for row in search.tables.rows()}) == 6
    assert len(search.tables.finalist_runs()) == 1


def _written(folder: Path, table: bytes) -> Path:
    path = folder.parent / "before.csv"
    path.write_bytes(table)
    return path


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a table half written": (TABLE, half),
    "a table of nothing": (TABLE, lambda path: path.write_bytes(b"")),
    "a table of noise": (TABLE, lambda path: path.write_bytes(b"\x00\xff" * 500)),
    "an absurd best.json": ("best.json", lambda path: path.write_text('{"channels": [1e999, -3], "blocks": "many"}')),
    "a nested best.json": ("best.json", lambda path: path.write_text("[" * 100_000)),
    "half of settings.json": ("settings.json", half),
    "finalists of noise": ("finalists.csv", lambda path: path.write_bytes(b"\xff\xfe\x00,,,\n")),
}


@pytest.mark.parametrize("name", FILES)
def test_a_derived_file_is_written_anew_and_the_damaged_one_kept(folder: Path, name: str) -> None:
    file, damage = FILES[name]
    before = files(folder)
    damage(folder / file)
    damaged = (folder / file).read_bytes()
    assert what(folder) == [file]
    assert (folder / file).read_bytes() == damaged  # to look changes nothing
    done, left = repair(folder)
    assert ([finding.path.name for finding in done], left) == ([file], [])
    after = files(folder)
    kept = {f"{file}.damaged": damaged} if damaged else {}
    assert after == before | kept
    damage(folder / file)
    assert repair(folder)[1] == []
    assert files(folder) == before | kept | ({f"{file}.damaged-2": damaged} if damaged else {})


def test_a_folder_of_an_earlier_version_is_not_called_damaged(folder: Path) -> None:
    before, table, settings = files(folder), folder / TABLE, folder / "settings.json"
    pd.read_csv(table, dtype=str, keep_default_na=False).drop(columns=[*LATER]).to_csv(table, index=False)
    recorded = json.loads(settings.read_text())
    del recorded["budget"]["activation_format"], recorded["space"]["activation"]
    settings.write_text(json.dumps(recorded))
    found = {finding.path.name: finding.problem for finding in examine(folder)}
    assert found == dict.fromkeys([TABLE, "settings.json"], "says what the study holds, as an earlier version wrote it")
    assert repair(folder)[1] == []
    assert before.items() <= files(folder).items()


@pytest.mark.parametrize("file", [TABLE, "best.json", "settings.json", "finalists.csv"])
def test_a_derived_file_that_is_gone_is_written(folder: Path, file: str) -> None:
    before = files(folder)
    (folder / file).unlink()
    assert what(folder) == [file]
    assert repair(folder)[1] == []
    assert files(folder) == before


def test_without_the_folders_of_trials_nothing_is_wrong_that_counts(folder: Path) -> None:
    shutil.rmtree(folder / "trials")
    before = files(folder)
    assert repair(folder) == ([], [])
    assert files(folder) == before


def test_what_a_kill_left_half_written_and_a_checkpoint_of_a_trial_that_has_ended_go(folder: Path) -> None:
    before = files(folder)
    (folder / ".trials.csv-a1b2c3d4").write_text("half")
    (folder / "trials" / "1" / ".checkpoint.safetensors-a1b2c3d4").write_bytes(b"half")
    (folder / "trials" / "2" / "checkpoint.safetensors").write_bytes(b"cut")
    assert len(what(folder)) == 3
    assert repair(folder)[1] == []
    assert files(folder) == before


def test_a_checkpoint_that_was_cut_is_set_aside(dataset: Dataset, tmp_path: Path) -> None:
    search = make(dataset, tmp_path / "s", search__trials=2)
    next(search.events())  # and the process is gone
    path = tmp_path / "s" / "trials" / "0" / "checkpoint.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x08\x00\x00")
    (finding,) = [finding for finding in examine(tmp_path / "s") if finding.path == path]
    assert (finding.problem, finding.remedy) == ("no whole file", "set aside; the trial starts anew")
    assert repair(tmp_path / "s")[1] == []
    assert not path.exists()
    assert path.with_name("checkpoint.safetensors.damaged").read_bytes() == b"\x08\x00\x00"
    again = make(dataset, tmp_path / "s", search__trials=2)
    list(again.events())
    assert [row.state for row in again.tables.rows()] == ["complete", "complete"]


def test_the_command_shows_repairs_and_says_by_its_exit_code_what_is_left(folder: Path, run: Run) -> None:
    assert run("doctor", folder).out == f"{folder}: nothing is wrong\n"
    half(folder / TABLE)
    shown = run("doctor", folder)
    assert (shown.code, shown.out.count("--fix: written from the study")) == (1, 1)
    (found,) = run("doctor", folder, "--json").json["left"]
    assert (found["path"], found["certain"]) == (str(folder / TABLE), True)
    repaired = run("doctor", folder, "--fix")
    assert (repaired.code, repaired.out.splitlines()[-1]) == (0, f"{folder}: repaired")
    assert run("doctor", folder, "--fix").out == f"{folder}: nothing is wrong\n"
