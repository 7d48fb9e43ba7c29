"""The figure: what is drawn is what the table says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.records.finalists import FinalistRun
from nas_budget.records.predictions import ExpectedNetwork
from nas_budget.records.statistics import interval
from nas_budget.report.figures.axes import round_numbers
from nas_budget.report.figures.style import CARD, FAINT
from nas_budget.report.figures.tradeoff import tradeoff
from tests.report.trials import by_proxies, many, mixed, record, table_of

STARS = "published networks (on test images)"


def drawn(figure: go.Figure) -> dict[str, list[tuple[float, float]]]:
    """The points of each named trace."""
    return {trace.name: list(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.name}


def test_trials_are_drawn_by_what_became_of_them(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, mixed()))
    points = drawn(figure)
    assert points["pruned"] == [(30_000, 0)]
    assert next(trace for trace in figure.data if trace.name == "pruned").yaxis == "y2"
    assert points["trained to the end"] == [(9_000, 0.39), (20_000, 0.6)]  # and those on the front
    assert not any((100, 0.9) in trace for trace in points.values())  # it failed
    line, top = (trace for trace in figure.data if "Pareto front" in trace.name)
    assert line.line.shape == "hv"
    assert points["on the Pareto front"] == [(5_000, 0.40), (12_345, 0.62), (43_210, 0.7531)]
    assert points["Pareto front"][:3] == points["on the Pareto front"]
    assert line.x[-1] >= 43_210
    assert list(top.customdata) == [1, 3, 5]
    for part in "<b>75.3%</b>", "trial 5", "43,210 parameters", "2,000,000 MACs", "channels 8-16", "epochs 6 of 6":
        assert part in top.text[-1]
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(50_000, 50_000)]
    (mark,) = (a for a in figure.layout.annotations if a.text == "budget 50,000")
    assert mark.x == pytest.approx(math.log10(50_000))


def test_proxies_are_called_proxies_and_wider_ones_stand_apart(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, by_proxies()))
    points = drawn(figure)
    assert figure.layout.yaxis.title.text == "accuracy of proxies at 1/8 of the width, validation images"
    assert points["on the Pareto front"] == [(3_000_000, 0.40), (4_000_000, 0.45)]  # of one width alone
    assert points["again at 1/4 of the width"] == [(4_000_000, 0.55), (3_000_000, 0.57)]
    assert points["again at 1/2 of the width"] == [(3_000_000, 0.66)]
    (top,) = (trace for trace in figure.data if trace.name == "again at 1/2 of the width")
    assert "as a proxy at 1/2 of the width, 750,000 parameters" in top.text[0]


def test_networks_themselves_are_not_called_proxies(tmp_path: Path) -> None:
    assert tradeoff(table_of(tmp_path, mixed())).layout.yaxis.title.text == "accuracy on validation images"


def test_without_a_limit_the_knee_alone_is_marked(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, mixed(budget_params=None)))
    assert not figure.layout.shapes
    (mark,) = figure.layout.annotations
    assert (mark.text, mark.x, mark.y) == ("knee", pytest.approx(math.log10(12_345)), 0.62)


def test_costs_that_are_nearly_one_stand_within_the_axis(tmp_path: Path) -> None:
    records = [record(n, params=149_700 + 30 * n, accuracy=0.5 + n / 100, budget_params=150_000) for n in range(10)]
    low, high = (10**end for end in tradeoff(table_of(tmp_path, records)).layout.xaxis.range)
    assert low < 140_000
    assert 160_000 < high < 200_000
    assert tradeoff(table_of(tmp_path, mixed())).layout.xaxis.range is None  # what the legend shows decides


@pytest.mark.parametrize(
    ("axis", "column", "factor", "title"),
    [
        ("macs", "macs", 1, "MACs of one image"),
        ("bytes", "weight_bytes", 0.25, "bytes of weights (int8)"),
        ("latency", "latency_s", 1e3, "latency of one image (ms)"),
        ("predicted-latency", "predicted_latency_s", 1e3, "predicted latency of one image (ms)"),
        ("seconds", "seconds", 1, "training of the trial (device seconds)"),
    ],
)
def test_accuracy_is_drawn_against_any_cost(tmp_path: Path, axis: str, column: str, factor: float, title: str) -> None:
    limits = {"budget_macs": 9_000_000, "budget_weight_bytes": 70_000, "budget_latency_ns": 5_500_000}
    records = many(60, weight_format="int8", **limits)
    records = [replace(record, predicted_latency_s=2 * (record.latency_s or 0.0)) for record in records]
    figure = tradeoff(table_of(tmp_path, records), axis)
    complete = {r.number: getattr(r, column) * factor for r in records if r.state == "complete"}
    kinds = ("trained to the end", "on the Pareto front")
    places = {i: x for t in figure.data if t.name in kinds for i, x in zip(t.customdata, t.x, strict=True)}
    assert places == pytest.approx(complete)
    assert figure.layout.xaxis.title.text == title
    drawn = [shape.x0 for shape in figure.layout.shapes]
    assert drawn == {"macs": [9_000_000], "bytes": [70_000], "predicted-latency": [5.5]}.get(axis, [])


def test_the_front_belongs_to_its_axis(tmp_path: Path) -> None:
    quick = [record(0, params=10, macs=100, accuracy=0.5), record(1, params=20, macs=50, accuracy=0.5)]
    table = table_of(tmp_path, quick)
    for axis, first in ("params", 10), ("macs", 50):
        (line,) = (trace for trace in tradeoff(table, axis).data if trace.name == "Pareto front")
        assert line.x[0] == first


def test_bars_of_finalists_mean_what_those_of_trials_mean(tmp_path: Path) -> None:
    runs = [
        FinalistRun(trial, seed, accuracy, 6, 1, 1.0, 0.0, "", "", "")
        for trial, accuracies in ((3, (0.60, 0.62)), (5, (0.70, 0.74)))
        for seed, accuracy in enumerate(accuracies)
    ]
    (means,) = (t for t in tradeoff(table_of(tmp_path, mixed()), "params", runs).data if "finalists" in (t.name or ""))
    assert list(means.customdata) == [5, 3]
    assert list(means.y) == pytest.approx([0.72, 0.61])
    low, high = interval(0.72, mixed()[0].validation_images)
    assert (means.error_y.arrayminus[0], means.error_y.array[0]) == pytest.approx((0.72 - low, high - 0.72))
    pooled = ((0.02**2 / 2 + 0.04**2 / 2) / 2) ** 0.5
    half = 4.302653 * pooled / 2**0.5
    assert f"the seeds leave {0.72 - half:.1%} to {0.72 + half:.1%} (95 %)" in means.text[0]


def test_the_axis_shows_the_front_and_counts_what_is_below(tmp_path: Path) -> None:
    good = [record(n, accuracy=0.6 + n / 100, params=1_000 * (n + 1), validation_images=100_000) for n in range(5)]
    bad = [record(5, accuracy=0.1, params=9_000), record(6, accuracy=0.2, params=9_500)]
    figure = tradeoff(table_of(tmp_path, [*good, *bad, record(7, state="pruned", accuracy=0.05)]))
    low, high = figure.layout.yaxis.range
    assert 0.5 < low < 0.6 < 0.64 < high < 0.7
    assert figure.layout.meta["all"][0] < 0.1
    (below,) = (note.text for note in figure.layout.annotations if note.name == "below")
    assert below == "↓ 2 of 7 complete trials are below"
    assert not [note for note in tradeoff(table_of(tmp_path, good)).layout.annotations if note.name == "below"]


def test_dots_can_be_seen_and_the_legend_has_the_colour_of_what_it_names(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, mixed()))
    dots, line, front = (
        next(trace for trace in figure.data if trace.name == name)
        for name in ("trained to the end", "Pareto front", "on the Pareto front")
    )
    assert 8 <= dots.marker.size < front.marker.size
    assert dots.marker.opacity > 0.6
    assert dots.marker.line.color == front.marker.line.color == CARD  # so that dots over dots are told apart
    assert line.showlegend is not False
    assert dots.marker.color == line.line.color == front.marker.color != FAINT


def bars(figure: go.Figure, name: str) -> Any:
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace.error_y.array


def test_dots_have_the_interval_of_their_validation_images(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, [record(0, accuracy=0.5, validation_images=1_000)]))
    (up,) = bars(figure, "on the Pareto front")
    assert up == pytest.approx(1.96 * (0.5 * 0.5 / 1_000) ** 0.5, rel=0.01)
    assert len(bars(tradeoff(table_of(tmp_path, mixed())), "trained to the end")) == 2
    crowded = tradeoff(table_of(tmp_path, many(400)))
    assert bars(crowded, "trained to the end") is None
    assert len(bars(crowded, "on the Pareto front")) > 2


def test_what_the_model_expects_is_a_band_against_parameters(tmp_path: Path) -> None:
    expected = [ExpectedNetwork(5_000, 0.4, 0.02, "{}"), ExpectedNetwork(40_000, 0.99, 0.02, "{}")]
    table = table_of(tmp_path, mixed())
    low, high, middle = tradeoff(table, "params", (), expected).data[:3]
    assert list(low.x) == list(high.x) == list(middle.x) == [5_000, 40_000]
    assert list(low.y) == pytest.approx([0.4 - 1.96 * 0.02, 0.99 - 1.96 * 0.02], abs=1e-4)
    assert list(high.y) == pytest.approx([0.4 + 1.96 * 0.02, 1.0], abs=1e-4)
    assert middle.text[0] == "40.0% ± 3.9%"
    names = {trace.name for trace in tradeoff(table, "macs", (), expected).data}
    assert middle.name not in names | {trace.name for trace in tradeoff(table).data}


def test_studies_that_are_compared_have_a_colour_each(tmp_path: Path) -> None:
    table = table_of(tmp_path, [record(i, study=study, params=10 + i) for i, study in enumerate("aabb")])
    figure = tradeoff(table)
    colours = {trace.legendgroup: trace.marker.color for trace in figure.data if trace.mode == "markers"}
    assert set(colours) == {"a", "b"}
    assert len({*colours.values()}) == 2


def test_published_networks_are_drawn_on_their_own_images_only(tmp_path: Path) -> None:
    for records in mixed(), [record(0, data="cifar10"), record(1, data="mine")]:
        assert STARS not in drawn(tradeoff(table_of(tmp_path, records)))
    assert (4_907_445, 0.9308) in drawn(tradeoff(table_of(tmp_path, mixed(data="cifar10"))))[STARS]
    far, near = record(data="cifar10"), record(data="cifar10", accuracy=0.9, params=200_000)
    for trial, visible in (far, "legendonly"), (near, True):  # far from every trial they wait in the legend
        (stars,) = (t for t in tradeoff(table_of(tmp_path, [trial])).data if t.name == STARS)
        assert stars.visible == visible


def test_the_word_of_the_budget_stands_where_no_trial_can(tmp_path: Path) -> None:
    figure = tradeoff(table_of(tmp_path, mixed()))
    (note,) = [a for a in figure.layout.annotations if a.name == "budget"]
    assert (note.xanchor, note.xshift > 0) == ("left", True)


@pytest.mark.parametrize("data", ["mine", "cifar10"])
def test_ticks_reach_around_all_that_is_drawn(tmp_path: Path, data: str) -> None:
    figure = tradeoff(table_of(tmp_path, mixed(data=data)))
    shown = [x for trace in figure.data if trace.visible != "legendonly" for x in trace.x] + [50_000]
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


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_round_numbers_enclose_both_and_rise(a: int, b: int) -> None:
    low, high = sorted((a, b))
    ticks = round_numbers(low, high)
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert len(ticks) <= 15
