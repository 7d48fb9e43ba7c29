"""The figure: what is drawn is what the table says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.report.figures import REFERENCE, describe, round_numbers, short, tradeoff
from tests.report.trials import mixed, record, table_of


def drawn(figure: go.Figure) -> dict[str, list[tuple[float, float]]]:
    """The points of each named trace."""
    return {trace.name: list(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.name}


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def test_trials_are_drawn_by_what_became_of_them(tmp_path: Path) -> None:
    points = drawn(tradeoff(table_of(tmp_path, mixed())))
    assert points["stopped early"] == [(30_000, 0.2)]
    assert (20_000, 0.6) in points["trained to the end"]
    assert len(points["trained to the end"]) == 5
    assert not any((100, 0.9) in trace for trace in points.values())  # it failed


def test_the_front_is_a_step_line_with_its_points_over_it(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, mixed()))
    (line,) = (trace for trace in figure.data if trace.name == "front")
    assert line.line.shape == "hv"
    assert list(zip(line.x, line.y, strict=True))[:3] == [(5_000, 0.40), (12_345, 0.62), (43_210, 0.7531)]
    assert line.x[-1] >= 43_210
    top = figure.data[-1]
    assert list(top.x) == [5_000, 12_345, 43_210]
    assert all("parameters" in text for text in top.text)


def test_the_budget_is_a_line_with_its_number(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, mixed()))
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(50_000, 50_000)]
    assert texts(figure) == ["budget 50,000"]
    assert figure.layout.annotations[0].x == pytest.approx(math.log10(50_000))


def test_without_a_limit_on_parameters_there_is_no_line(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, mixed(budget_params=None)))
    assert not figure.layout.shapes
    assert texts(figure) == []


def test_the_reference_is_drawn_on_its_own_images_only(tmp_path: Path) -> None:
    assert REFERENCE["name"] not in drawn(tradeoff(table_of(tmp_path, mixed())))
    mine = [record(0, data="cifar10"), record(1, data="mine")]
    assert REFERENCE["name"] not in drawn(tradeoff(table_of(tmp_path, mine)))
    points = drawn(tradeoff(table_of(tmp_path, mixed(data="cifar10"))))
    assert points[REFERENCE["name"]] == [(4_907_445, 0.9308)]


@pytest.mark.parametrize("data", ["mine", "cifar10"])
def test_ticks_reach_around_all_that_is_drawn(tmp_path: Path, data: str) -> None:
    figure = tradeoff(table_of(tmp_path, mixed(data=data)))
    shown = [x for trace in figure.data for x in trace.x] + [50_000]
    ticks = figure.layout.xaxis.tickvals
    assert ticks[0] <= min(shown)
    assert max(shown) <= ticks[-1] * 2
    assert len(ticks) == len(figure.layout.xaxis.ticktext)


@pytest.mark.parametrize(
    "records",
    [
        [record()],
        [record(state="pruned")],
        [record(state="failed", accuracy=None)],
        [record(state="failed", accuracy=None), record(1, state="pruned", accuracy=None)],
        [record(accuracy=0.0)],
        [record(params=1, budget_params=1)],
        [record(budget_params=2_000_000_000)],
    ],
)
def test_any_table_can_be_drawn(tmp_path: Path, records: list[Any]) -> None:
    tradeoff(table_of(tmp_path, records)).to_json()


def test_a_trial_is_described_by_accuracy_cost_and_network(tmp_path: Path) -> None:
    text = describe(table_of(tmp_path, mixed()).iloc[5])
    for part in "<b>75.31%</b>", "trial 5", "43,210 parameters", "2,000,000 MACs", "channels 8-16", "epochs 6 of 6":
        assert part in text


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_round_numbers_enclose_both_and_rise(a: int, b: int) -> None:
    low, high = sorted((a, b))
    ticks = round_numbers(low, high)
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert len(ticks) <= 15


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1"), (500, "500"), (1e3, "1k"), (20e3, "20k"), (5e6, "5M"), (2e9, "2G")]
)
def test_numbers_of_ticks_are_short(number: float, text: str) -> None:
    assert short(number) == text
