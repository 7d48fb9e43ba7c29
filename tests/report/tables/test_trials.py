"""The trials table: what is written comes back, and what is no table is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StorageError, TableError
from nas_budget.records.trials import COLUMNS, KINDS, best_of, pareto_front_of, proposed_of, read_trials, write_table
from nas_budget.report.tables.trials import best, complete, ladder, network, pareto_trials, read_table, trained_as
from tests.report.trials import EVIL, by_proxies, mixed, record, table_of

in_a_folder = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
outcomes = st.lists(
    st.tuples(
        st.sampled_from(["complete", "complete", "pruned", "failed"]),
        st.sampled_from([None, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0]),
        st.sampled_from([1, 10, 20, 30, 1_000]),
    ),
    min_size=1,
    max_size=12,
)

TEXTS = {"params": "many", "accuracy": EVIL, "budget_params": "5M"}
IMPOSSIBLE = [
    ("state", "running"), ("accuracy", 1.5), ("accuracy", float("nan")), ("params", 0), ("seconds", float("inf")),
    ("repeated_seconds", float("nan")), ("curve", "0.1 much"), ("rungs", "2,4"),
]  # fmt: skip


def refusal(path: Path) -> str:
    with pytest.raises(TableError) as caught:
        read_table(path)
    said = str(caught.value)
    assert said.startswith(f"{path}")
    assert "\n" not in said
    return said


def test_every_value_comes_back_as_it_was_written_by_number(tmp_path: Path) -> None:
    records = mixed()
    table = table_of(tmp_path, records[::-1])
    assert tuple(table) == COLUMNS
    assert table.index.tolist() == [*range(len(records))]
    for row, written in zip(table.to_dict("records"), records, strict=True):
        for name, value in asdict(written).items():
            assert pd.isna(row[name]) if value is None else row[name] == value, name
    assert read_trials(tmp_path) == records
    assert read_table(tmp_path).equals(table)  # a run folder is read by its table
    assert complete(table)["number"].tolist() == [1, 2, 3, 4, 5]
    assert all(pd.api.types.is_string_dtype(table[name]) == (kind == "str") for name, kind in KINDS.items())
    assert all(pd.api.types.is_integer_dtype(table[name]) for name in ("number", "params", "macs", "epochs", "pool"))
    assert pd.api.types.is_float_dtype(table["accuracy"])


@in_a_folder
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20))
def test_any_text_comes_back(tmp_path: Path, text: str) -> None:
    row = table_of(tmp_path, [record(study=text, reason=text, channels=text)]).iloc[0]
    assert (row["study"], row["reason"], row["channels"]) == (text, text, text)


def test_text_that_looks_like_nothing_or_a_number_stays_text(tmp_path: Path) -> None:
    for text in "NA", "nan", "", "0012", "True", "1e5", " padded ":
        assert table_of(tmp_path, [record(study=text)])["study"].iloc[0] == text


def test_a_table_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "trials.csv"
    write_table(path, mixed())
    write_table(path, [record(9)])
    assert read_table(path)["number"].tolist() == [9]
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_said_and_nothing_left_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "trials.csv").mkdir()
    for path in tmp_path / "file" / "trials.csv", tmp_path / "trials.csv":
        with pytest.raises(StorageError, match=r"trials.csv: cannot be written [^\n]*$"):
            write_table(path, [record()])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "trials.csv"]


@given(outcomes)
def test_the_front_is_what_no_other_trial_beats_and_the_best_is_its_last(
    results: list[tuple[str, float | None, int]],
) -> None:
    records = [record(i, state=state, accuracy=a, params=params) for i, (state, a, params) in enumerate(results)]
    table = pd.DataFrame([asdict(r) for r in records]).astype({"accuracy": float})
    ended = [(a, params, i) for i, (state, a, params) in enumerate(results) if state == "complete" and a is not None]

    def beats(one: tuple[float, int, int], other: tuple[float, int, int]) -> bool:
        no_worse = one[0] >= other[0] and one[1] <= other[1]
        return no_worse and (one[:2] != other[:2] or one[2] < other[2])

    expected = [trial for trial in ended if not any(beats(other, trial) for other in ended)]
    assert pareto_trials(table)["number"].tolist() == [number for _, _, number in sorted(expected, key=lambda t: t[1])]

    most, found = best_of(records), best(table)
    assert (most and (most.accuracy, most.params)) == (None if found is None else (found["accuracy"], found["params"]))


def test_fields_without_a_column_are_told_from_the_spec() -> None:
    spec = ResNetSpec((8, 16), block="inverted", expansions=(1, 6), activation="silu", stem_stride=2, head_width=9)
    trials = [record(spec=spec.to_json(), block="inverted"), *(record(n, spec=text) for n, text in enumerate("{1", 1))]
    first, *others = map(asdict, trials)
    assert network(first).endswith("inverted blocks, activation silu, expansion 1-6, stem stride 2, head width 9")
    assert all(network(other).endswith("shortcut 1") for other in others)


def test_a_network_in_words(tmp_path: Path) -> None:
    words = network(table_of(tmp_path, [record()]).iloc[0])
    assert words == "channels 8-16, blocks 1-2, kernels 3-3, strides 1-2, pool 16, shortcut 1"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", b"\x00" * 500, b'"a,b\n1,2'])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trials.csv").write_bytes(content)
    refusal(tmp_path / "trials.csv")


def test_a_table_that_is_missing_or_empty_is_answered_with_what_to_do(tmp_path: Path) -> None:
    assert "give a run folder" in refusal(tmp_path / "trials.csv")
    assert "trials.csv: no such file" in refusal(tmp_path)
    write_table(tmp_path / "trials.csv", [])
    assert "run nas-budget search first" in refusal(tmp_path / "trials.csv")


def test_a_table_of_another_version_is_answered_with_its_columns(tmp_path: Path) -> None:
    table_of(tmp_path, mixed()).drop(columns=["micro_batches", "rungs"]).to_csv(tmp_path / "old.csv", index=False)
    assert "was written by an older nas-budget (no column rungs, micro_batches)" in refusal(tmp_path / "old.csv")
    (tmp_path / "other.csv").write_text("number,state\n1,complete\n")
    assert "is no trials table (no column study, accuracy, epochs, max_epochs, ...)" in refusal(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *((name, value, f"holds {value!r}, where ") for name, value in TEXTS.items()),
        *((name, "", "has an empty cell") for name in ("number", "params", "macs", "epochs", "seconds")),
        *((name, value, f"holds {value!r}; the table is damaged") for name, value in IMPOSSIBLE),
    ],
)
def test_a_cell_that_no_trial_has_is_refused(tmp_path: Path, name: str, value: Any, said: str) -> None:
    write_table(tmp_path / "trials.csv", [record(0), replace(record(1), **{name: value})])
    assert f"column {name} {said}" in refusal(tmp_path / "trials.csv")


def test_a_row_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    write_table(path, [record(0), record(1)])
    path.write_bytes(path.read_bytes()[:-50])
    refusal(path)


def test_the_best_is_of_the_widest_and_the_front_of_one_width(tmp_path: Path) -> None:
    records = by_proxies()
    table = table_of(tmp_path, records)
    assert read_trials(tmp_path) == records
    found, leading = best(table), best_of(records)
    assert found is not None
    assert leading is not None
    assert found["number"] == leading.number == 5
    assert [*complete(table)["number"]] == [row.number for row in proposed_of(records)] == [0, 1, 2]
    assert [*ladder(table)["number"]] == [3, 4, 5]
    assert [*pareto_trials(table)["number"]] == [row.number for row in pareto_front_of(records)] == [1, 2]
    assert trained_as(found) == "as a proxy at 1/2 of the width"
    assert trained_as(table_of(tmp_path, mixed()).iloc[0]) == ""
