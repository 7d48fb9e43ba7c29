"""The figures of a report, as plotly objects one can change."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas_budget.report.table import front

REFERENCE = {"data": "cifar10", "params": 4_907_445, "accuracy": 0.9308, "name": "the reference paper (test accuracy)"}
ACCENT, INK, FAINT, LIMIT, PAPER = "#2563eb", "#334155", "#94a3b8", "#dc2626", "#d97706"
GRID = "rgba(148, 163, 184, 0.25)"
MARKERS = {
    "complete": {"size": 9, "color": ACCENT, "opacity": 0.75, "line": {"width": 1, "color": "white"}},
    "pruned": {"size": 6, "color": FAINT, "opacity": 0.7},
}
OURS = "ours"
"""Mark of the traces that the page tints with its accent."""


def tradeoff(table: pd.DataFrame) -> go.Figure:
    """Accuracy against parameters (log axis): trials, their front, the budget, the reference on CIFAR-10."""
    figure = go.Figure()
    drawn = table[table["accuracy"].notna() & table["state"].isin(["pruned", "complete"])]
    for state, title in ("pruned", "stopped early"), ("complete", "trained to the end"):
        _add_trials(figure, drawn[drawn["state"] == state], state, title)
    sizes, accuracies = list(drawn["params"]), list(drawn["accuracy"])
    budget = table["budget_params"].iloc[0]
    if pd.notna(budget) and budget > 0:
        _add_budget(figure, budget)
        sizes.append(budget)
    _add_front(figure, front(table), max(sizes, default=1))
    if (table["data"] == REFERENCE["data"]).all():
        _add_reference(figure)
        sizes.append(REFERENCE["params"])
        accuracies.append(REFERENCE["accuracy"])
    _lay_out(figure, sizes, accuracies)
    return figure


def _lay_out(figure: go.Figure, sizes: list[float], accuracies: list[float]) -> None:
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 14, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 64, "r": 24, "t": 32, "b": 110},
        showlegend=True,
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
        hoverlabel={"align": "left", "bgcolor": "white", "bordercolor": FAINT, "font": {"size": 13, "color": INK}},
        height=540,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": FAINT, "activecolor": ACCENT},
    )
    ticks = round_numbers(min(sizes, default=1), max(sizes, default=1))
    figure.update_xaxes(
        title="parameters", type="log", gridcolor=GRID, zeroline=False, tickvals=ticks, ticktext=[*map(short, ticks)]
    )
    low, high = accuracy_range(accuracies)
    figure.update_yaxes(
        title="accuracy on held-out images", tickformat=".0%" if high - low > 0.1 else ".1%", range=[low, high],
        gridcolor=GRID, zeroline=False,
    )  # fmt: skip


def accuracy_range(accuracies: list[float]) -> tuple[float, float]:
    """The part of 0 to 1 that shows these accuracies with some room around them; never narrower than 0.04."""
    low, high = min(accuracies, default=0.0), max(accuracies, default=1.0)
    room = max(0.06 * (high - low), 0.02 - (high - low) / 2, 0.005)
    return max(0.0, low - room), min(1.0, high + room)


def _add_trials(figure: go.Figure, trials: pd.DataFrame, state: str, title: str) -> None:
    figure.add_scatter(
        x=trials["params"], y=trials["accuracy"], mode="markers", name=title, marker=MARKERS[state],
        meta=OURS if state == "complete" else None, showlegend=not trials.empty,
        text=[describe(trial) for _, trial in trials.iterrows()], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _add_front(figure: go.Figure, leading: pd.DataFrame, right: float) -> None:
    """A step line: with so many parameters, this accuracy was reached."""
    if leading.empty:
        return
    figure.add_scatter(
        x=[*leading["params"], right], y=[*leading["accuracy"], leading["accuracy"].iloc[-1]], mode="lines",
        line={"shape": "hv", "color": ACCENT, "width": 2}, name="front", hoverinfo="skip", meta=OURS,
    )  # fmt: skip
    figure.add_scatter(
        x=leading["params"], y=leading["accuracy"], mode="markers", showlegend=False, meta=OURS,
        marker={"size": 13, "color": ACCENT, "line": {"width": 2, "color": "white"}},
        text=[describe(trial) for _, trial in leading.iterrows()], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _add_budget(figure: go.Figure, budget: float) -> None:
    figure.add_vline(x=budget, line={"color": LIMIT, "width": 1.5, "dash": "dash"})
    figure.add_annotation(
        x=math.log10(budget), y=0.02, yref="paper", text=f"budget {budget:,.0f}", showarrow=False, textangle=-90,
        xshift=-4, xanchor="right", yanchor="bottom", font={"color": LIMIT},
    )  # fmt: skip


def _add_reference(figure: go.Figure) -> None:
    figure.add_scatter(
        x=[REFERENCE["params"]], y=[REFERENCE["accuracy"]], mode="markers", name=REFERENCE["name"],
        marker={"size": 14, "symbol": "star", "color": PAPER},
        hovertemplate="the reference paper<br>4,907,445 parameters<br>93.08 % on test images<extra></extra>",
    )  # fmt: skip


def describe(trial: pd.Series[Any]) -> str:
    """A trial in a few lines of plotly's markup: accuracy, cost, network."""
    ended = "" if trial["state"] == "complete" else " · stopped early"
    lines = [
        f"<b>{trial['accuracy']:.2%}</b> · trial {trial['number']}{ended}",
        f"{trial['params']:,} parameters, {trial['macs']:,} MACs",
        f"channels {escape(trial['channels'])}",
        f"blocks {escape(trial['blocks'])} · kernels {escape(trial['kernels'])}",
        f"strides {escape(trial['strides'])} · pool {trial['pool']} · shortcut {trial['shortcut_kernel']}",
        f"{escape(trial['block'])} blocks · squeeze {trial['squeeze'] or 'none'} · stem {trial['stem_width']}",
        f"epochs {trial['epochs']} of {trial['max_epochs']} · {trial['seconds']:.0f} s",
    ]
    return "<br>".join(lines)


def round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from just below `low` to just above `high`; fewer over many powers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(powers) <= 5 else (1,)
    return [digit * 10.0**power for power in powers for digit in digits]


def short(number: float) -> str:
    """A round number of parameters in few signs: 500, 20k, 5M."""
    for factor, suffix in (1e9, "G"), (1e6, "M"), (1e3, "k"):
        if number >= factor:
            return f"{number / factor:g}{suffix}"
    return f"{number:g}"
