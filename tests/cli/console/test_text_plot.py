from __future__ import annotations

import io
import sys

import pytest

from nas_budget.cli.console.text_plot import HEIGHT, Point, characters, plot, sparkline

POINTS = [Point(1_000, 0.5, True), Point(10_000, 0.7, True), Point(9_000, 0.6, False)]


def test_points_lie_where_their_numbers_say() -> None:
    lines = plot(POINTS, None, 80)
    assert max(map(len, lines)) <= 80
    assert len(lines) == HEIGHT + 2
    low, high = (next(line for line in lines[place:] if "●" in line) for place in (1, 0))
    assert low.index("●") < 12
    assert high.index("●") > 70
    assert lines.index(high) < lines.index(next(line for line in lines if "·" in line)) < lines.index(low)
    assert "70% ┤" in high
    assert lines[-1].split() == ["1k", "2k", "5k", "10k"]


@pytest.mark.parametrize("limit", [None, 12_000, 5_000_000])
def test_a_limit_is_drawn_where_it_is_near(limit: int | None) -> None:
    drawn = any("┊" in line for line in plot(POINTS, limit, 60))
    assert drawn == (limit == 12_000)


@pytest.mark.parametrize(
    "points",
    [
        [Point(7, 0.0, True)],
        [Point(7, 1.0, True), Point(7, 1.0, False)],
        [Point(100, 0.1, True), Point(101, 0.10001, True)],
        [Point(1, 0.0, True), Point(10**9, 1.0, True)],
    ],
)
@pytest.mark.parametrize("width", [30, 80])
def test_odd_points_are_drawn_too(points: list[Point], width: int) -> None:
    lines = plot(points, 10**9, width)
    assert max(map(len, lines)) <= width
    assert any("●" in line for line in lines)


def test_a_curve_has_a_bar_for_each_value_up_to_sixty() -> None:
    assert sparkline([0.1, 0.2, 0.8]) == "▁▂█"
    assert sparkline([0.5, 0.5]) == "▁▁"
    assert sparkline([]) == ""
    bars = sparkline([i / 1000 for i in range(1000)])
    assert len(bars) <= 60
    assert bars.endswith("█")


def test_plain_characters_where_stdout_can_write_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert sparkline([0.1, 0.2]) == ""
    assert "".join([*characters().values(), *plot(POINTS, 12_000, 80)]).isascii()
