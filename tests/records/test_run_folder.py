from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nas_budget.records import run_folder
from nas_budget.records.paths import TRIALS_TABLE
from nas_budget.records.run_folder import STUDY, entry_of

RESULTS = Path(__file__).parents[2] / "studies" / "results"


@pytest.mark.parametrize("state", ["9" * 5_000, "lost"])
def test_what_is_wrong_with_a_folder_is_said_in_a_few_words(tmp_path: Path, state: str) -> None:
    shutil.copytree(RESULTS / "auto-5M", tmp_path / "a")
    table = tmp_path / "a" / TRIALS_TABLE
    table.write_text(table.read_text().replace(",complete,", f",{state},", 1))
    problem = entry_of(tmp_path / "a", STUDY).problem
    assert problem.startswith(f"'{state[:200]}")
    assert problem.endswith("is unknown")
    assert len(problem) < run_folder.LONGEST_PROBLEM + 20
