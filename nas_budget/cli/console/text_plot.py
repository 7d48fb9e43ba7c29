"""Plots of characters: points with a logarithmic axis, and curves of one line."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from nas_budget.cli.console.output import writes
from nas_budget.records.formatting import in_short

HEIGHT = 12
MOST_STEPS = 5
LABEL = 6
LEAST_COLUMNS = 10
"""Columns left of the axis."""
MOST_BARS = 60
BARS = "▁▂▃▄▅▆▇█"
FINE = {"lead": "●", "other": "·", "limit": "┊", "side": "│", "tick": "┤", "corner": "└", "floor": "─", "mark": "┬"}
PLAIN = {"lead": "o", "other": ".", "limit": ":", "side": "|", "tick": "+", "corner": "+", "floor": "-", "mark": "+"}


class Point(NamedTuple):
    """A network: its parameters, its accuracy from 0 to 1, and whether it is on the Pareto front."""

    params: int
    accuracy: float
    leads: bool


def characters() -> dict[str, str]:
    """The characters of a plot: plain characters where stdout can write no others."""
    return FINE if writes("".join(FINE.values())) else PLAIN


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, or each n-th up to the last; nothing where stdout cannot write them."""
    if not values or not writes(BARS):
        return ""
    values = values[:: -max(1, -(-len(values) // MOST_BARS))][::-1]
    low, high = min(values), max(values)
    steps = len(BARS) - 1
    return "".join(BARS[round((value - low) / ((high - low) or 1) * steps)] for value in values)


def plot(points: Sequence[Point], limit: int | None, width: int) -> list[str]:
    """Accuracy against parameters of one point or more, as lines of at most `width` characters, but for ten columns.

    The limit on parameters is drawn where it is near enough.
    """
    draw, n_columns = characters(), max(LEAST_COLUMNS, width - LABEL - 2)
    sizes = [point.params for point in points]
    near = [limit] if limit and limit <= 4 * max(sizes) else []
    left, right = log10(min(sizes + near)) - 0.02, log10(max(sizes + near)) + 0.02
    ticks = _accuracy_ticks([point.accuracy for point in points])
    bottom, top = ticks[0], ticks[-1]

    def column(params: float) -> int:
        return round((log10(params) - left) / (right - left) * (n_columns - 1))

    def row(accuracy: float) -> int:
        return round((accuracy - bottom) / (top - bottom) * (HEIGHT - 1))

    field = [[" "] * n_columns for _ in range(HEIGHT)]
    for line in field if near else []:
        line[column(near[0])] = draw["limit"]
    for point in sorted(points, key=lambda point: point.leads):
        field[row(point.accuracy)][column(point.params)] = draw["lead" if point.leads else "other"]
    labels = {row(tick): f"{tick:.0%}" if ticks[1] - bottom >= 0.0099 else f"{tick:.1%}" for tick in ticks}
    lines = [
        f"{labels.get(i, ''):>{LABEL}} {draw['tick' if i in labels else 'side']}{''.join(field[i])}".rstrip()
        for i in reversed(range(HEIGHT))
    ]
    return lines + _axis({column(tick): in_short(tick) for tick in _size_ticks(left, right)}, n_columns, draw)


def _axis(ticks: dict[int, str], n_columns: int, draw: dict[str, str]) -> list[str]:
    """The axis below and the sizes on it."""
    line = "".join(draw["mark"] if place in ticks else draw["floor"] for place in range(n_columns))
    labels = ""
    for place, text in sorted(ticks.items()):
        start = min(place - len(text) // 2, n_columns - len(text))
        if start > len(labels) or not labels:
            labels = labels.ljust(start) + text
    return [" " * (LABEL + 1) + draw["corner"] + line, " " * (LABEL + 2) + labels]


def _accuracy_ticks(values: Sequence[float]) -> list[float]:
    """Round accuracies from below the lowest value to above the highest."""
    low, high = min(values), max(values)
    steps = (size * factor for size in (1e-4, 1e-3, 1e-2, 1e-1) for factor in (1, 2, 5))
    step = next((s for s in steps if ceil(high / s) - floor(low / s) <= MOST_STEPS), 0.5)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [step * i for i in range(first, max(last, first + 1) + 1)]


def _size_ticks(left: float, right: float) -> list[float]:
    """Sizes of one digit, 1, 2 or 5, between two powers of ten; all digits where those are too few."""
    whole = [digit * 10.0**power for power in range(floor(left), ceil(right) + 1) for digit in range(1, 10)]
    inside = [size for size in whole if left <= log10(size) <= right]
    few = [size for size in inside if f"{size:e}"[0] in "125"]
    return few if len(few) > 1 else inside
