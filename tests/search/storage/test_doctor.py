"""Run folders that were damaged, shown and repaired."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from optuna.trial import TrialState

from nas_budget.errors import StudyError
from nas_budget.records.trials import read_trials
from nas_budget.search.storage.doctor import examine, repair
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.train.data.dataset import Dataset
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
