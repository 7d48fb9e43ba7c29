"""What a model expects, after a way through its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.errors import TableError
from nas_budget.records.predictions import ExpectedNetwork, read_predictions, write_predictions

SMALL, LARGE = ExpectedNetwork(10, 0.25, 0.125, '{"a": 1}'), ExpectedNetwork(1_000, 0.5, 0.25, "{}")


def test_predictions_are_read_as_they_were_written_from_the_smallest(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    assert read_predictions(path) == []
    write_predictions(path, [LARGE, SMALL])
    assert read_predictions(path) == [SMALL, LARGE]


@pytest.mark.parametrize("row", ["1", "x,0.5,0.1,{}", "1,1.5,0.1,{}", "1,nan,0.1,{}"])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(f"params,accuracy,deviation,spec\n{row}\n")
    with pytest.raises(TableError, match="cannot be read as a table of predictions"):
        read_predictions(path)
