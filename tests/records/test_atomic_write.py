from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.records.atomic_write import from_spreadsheet, spreadsheet_safe
from nas_budget.records.trials import write_table
from tests.report.trials import record


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_becomes_a_text(cell: str) -> None:
    assert spreadsheet_safe(cell) == f"'{cell}"


@given(st.text(st.sampled_from("'=+-@\t\rax1")))
def test_every_text_comes_back_from_a_table(text: str) -> None:
    safe = spreadsheet_safe(text)
    assert from_spreadsheet(safe) == text
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("cell", ["cat", "", None, -1, -0.5, "1-2-3", json.dumps({"a": 1})])
def test_other_cells_stay(cell: object) -> None:
    assert spreadsheet_safe(cell) == cell


def test_the_tables_hold_no_formulas(tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", [replace(record(0), data="=cmd|' /C calc'!A0", device="@x")])
    with (tmp_path / "trials.csv").open(newline="") as file:
        cells = next(csv.DictReader(file))
    assert cells["data"].startswith("'=")
    assert cells["device"] == "'@x"
