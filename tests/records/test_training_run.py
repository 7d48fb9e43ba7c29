"""What a run leaves is read back, and what a hand has damaged is said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas_budget.arch.budget import Budget
from nas_budget.errors import ModelError
from nas_budget.records.paths import METRICS, RESULT
from nas_budget.records.training_run import read_metrics, read_result, write_result
from tests.report.runs import MISTAKE, SEEDS, epochs, result, write

DEEP = "[" * 100_000


def damaged(folder: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """What is said of a result with a change."""
    write_result(folder, result())
    values = json.loads((folder / RESULT).read_text())
    change(values)
    (folder / RESULT).write_text(json.dumps(values))
    with pytest.raises(ModelError) as caught:
        read_result(folder)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_result_and_its_epochs_are_read_back(tmp_path: Path) -> None:
    run = result(seeds=SEEDS)
    write(tmp_path, run, epochs(seeds=(4, 5)))
    assert read_result(tmp_path) == run
    assert read_metrics(tmp_path) == epochs(seeds=(4, 5))


def test_limits_are_read_back_and_those_that_are_none_refused(tmp_path: Path) -> None:
    run = result(budget=Budget(params=100, macs=10**9).to_dict())
    write_result(tmp_path, run)
    assert read_result(tmp_path).limits == Budget(params=100, macs=10**9)
    assert run.verdict and [m.margin >= 0 for m in run.verdict.margins] == [False, True]
    assert (result().limits, result().verdict) == (None, None)
    assert "budget" in damaged(tmp_path, lambda values: values.update(budget={"params": "many"}))
    assert "budget" in damaged(tmp_path, lambda values: values.update(budget=[]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"confusion": [[1, 2], [3, 4]]}, "confusion: 3 rows of 3 counts expected, as there are 3 classes"),
        ({"confusion": [[1, 2, 3], [3, 4], [5]]}, "confusion: 3 rows of 3 counts"),
        ({"confusion": [[1, 2, -3]] * 3}, "confusion: 3 rows of 3 counts"),
        ({"confusion": [[1, 2, 0.5]] * 3}, "confusion: 3 rows of 3 counts"),
        ({"confusion": 7}, "not iterable"),
        ({"mistakes": [{**MISTAKE, "predicted": 3}]}, "mistakes: index, truth, predicted (0 to 2) and probability"),
        ({"mistakes": [{**MISTAKE, "index": -1}]}, "mistakes: index"),
        ({"mistakes": [{**MISTAKE, "probability": "high"}]}, "mistakes: index"),
        ({"mistakes": ["x"]}, "mistakes: index"),
        ({"classes": []}, "classes: names expected"),
        ({"classes": ["a", 2, "c"]}, "classes: names expected"),
        ({"classes": ["a", "b", "\ud800"]}, "surrogates not allowed"),
        ({"params": "many"}, "params: 'many' is no int"),
        ({"images": -3}, "images: -3 is no int"),
        ({"macs": 10**30}, "has too many digits"),
        ({"recipe": {}}, "recipe: a name and a number of epochs expected"),
        ({"recipe": []}, "recipe: [] is no dict"),
        ({"seeds": []}, "seeds: at least one"),
        ({"seeds": [{"seed": 1}]}, "missing 9 required positional arguments"),
    ],
)
def test_a_damaged_result_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    line = damaged(tmp_path, lambda values: values.update(changes))
    assert said in line
    assert line.startswith(f"{tmp_path / RESULT}: cannot be read as the result of a run (")


@pytest.mark.parametrize(
    ("field", "value"),
    [("accuracy", 1.5), ("accuracy", None), ("flipped", float("nan")), ("seconds", float("inf")), ("digest", 3)],
)
def test_a_damaged_seed_is_said(tmp_path: Path, field: str, value: Any) -> None:
    line = damaged(tmp_path, lambda values: values["seeds"][0].update({field: value}))
    assert "seeds: at least one" in line or f"{field}: {value!r} is no" in line


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    assert "was written by an older nas-budget (no 'spec')" in damaged(tmp_path, lambda values: values.pop("spec"))


@pytest.mark.parametrize(
    ("name", "read", "what", "text"),
    [
        *((RESULT, read_result, "result", text) for text in ("", "[]", "null", DEEP)),
        *((METRICS, read_metrics, "epochs", text) for text in ("[]", "null", "{}", "7", "\udcff", '{"seed": 1}', DEEP)),
    ],
)
def test_another_file_is_said(tmp_path: Path, name: str, read: Callable[[Path], Any], what: str, text: str) -> None:
    (tmp_path / name).write_bytes(f"{text}\n".encode(errors="surrogateescape"))
    with pytest.raises(ModelError, match=f"{name}: cannot be read as the {what} of a run"):
        read(tmp_path)


def test_an_epoch_of_another_type_is_said(tmp_path: Path) -> None:
    write(tmp_path, result(), epochs())
    row = json.loads((tmp_path / METRICS).read_text().splitlines()[0])
    (tmp_path / METRICS).write_text(json.dumps({**row, "train_loss": "low"}) + "\n")
    with pytest.raises(ModelError, match=r"train_loss: 'low' is no float"):
        read_metrics(tmp_path)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, result(), epochs())
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"seed": 4, "ep')
    assert read_metrics(tmp_path) == epochs()
