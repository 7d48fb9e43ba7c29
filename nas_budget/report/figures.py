"""The figures of a report, as plotly objects one can change."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas_budget.report.table import front

REFERENCE = {"data": "cifar10", "params": 4_907_445, "accuracy": 0.9308, "name": "the reference paper (test accuracy)"}
ACCENT, INK, FAINT, LIMIT, PAPER = "#2563eb", "#334155", "#94a3b8", "#dc2626", "#d97706"
GRID = "rgba(148, 163, 184, 0.25)"
MARKERS = {
    "complete": {"size": 9, "color": ACCENT, "opacity": 0.75, "line": {"width": 1, "color": "white"}},
    "pruned": {"size": 6, "color": FAINT, "opacity": 0.45},
}


def tradeoff(table: pd.DataFrame) -> go.Figure:
    """Accuracy against parameters (log axis): trials, their front, the budget, the reference on CIFAR-10."""
    figure = go.Figure()
    for state, title in ("pruned", "stopped early"), ("complete", "trained to the end"):
        _add_trials(figure, table[(table["state"] == state) & table["accuracy"].notna()], state, title)
    _add_front(figure, front(table), table["params"].max())
    budget = table["budget_params"].iloc[0]
    reference_fits = not pd.notna(budget) or REFERENCE["params"] <= budget
    if (table["data"] == REFERENCE["data"]).all() and reference_fits:
        _add_reference(figure)
    if pd.notna(budget):
        figure.add_vline(x=budget, line={"color": LIMIT, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=math.log10(budget), y=1, yref="paper", text=f"budget {budget:,.0f}", showarrow=False,
            xanchor="right", yanchor="bottom", font={"color": LIMIT},
        )  # fmt: skip
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 14, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 64, "r": 24, "t": 32, "b": 64},
        legend={"orientation": "h", "yanchor": "top", "y": -0.16, "x": 0},
        hoverlabel={"align": "left", "font": {"size": 13}},
        height=520,
    )
    figure.update_xaxes(
        title="parameters", type="log", gridcolor=GRID, zeroline=False, dtick="D2" if _narrow(table, budget) else "D1",
        minor={"showgrid": False}, exponentformat="SI",
    )  # fmt: skip
    figure.update_yaxes(title="accuracy on held-out images", tickformat=".0%", gridcolor=GRID, zeroline=False)
    return figure


def _add_trials(figure: go.Figure, trials: pd.DataFrame, state: str, title: str) -> None:
    figure.add_scatter(
        x=trials["params"], y=trials["accuracy"], mode="markers", name=title, marker=MARKERS[state],
        text=[describe(trial) for _, trial in trials.iterrows()], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _add_front(figure: go.Figure, leading: pd.DataFrame, right: float) -> None:
    """A step line: with so many parameters, this accuracy was reached."""
    if leading.empty:
        return
    figure.add_scatter(
        x=[*leading["params"], right], y=[*leading["accuracy"], leading["accuracy"].iloc[-1]], mode="lines",
        line={"shape": "hv", "color": ACCENT, "width": 2}, name="front", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=leading["params"], y=leading["accuracy"], mode="markers", showlegend=False,
        marker={"size": 13, "color": ACCENT, "line": {"width": 2, "color": "white"}},
        text=[describe(trial) for _, trial in leading.iterrows()], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _add_reference(figure: go.Figure) -> None:
    figure.add_scatter(
        x=[REFERENCE["params"]], y=[REFERENCE["accuracy"]], mode="markers", name=REFERENCE["name"],
        marker={"size": 14, "symbol": "star", "color": PAPER},
        hovertemplate="the reference paper<br>4,907,445 parameters<br>93.08 % on test images<extra></extra>",
    )  # fmt: skip


def describe(trial: pd.Series[Any]) -> str:
    """A trial in a few lines of plotly's markup: accuracy, cost, network."""
    lines = [
        f"<b>{trial['accuracy']:.2%}</b> · trial {trial['number']}",
        f"{trial['params']:,} parameters, {trial['macs']:,} MACs",
        f"channels {trial['channels']}",
        f"blocks {trial['blocks']} · kernels {trial['kernels']}",
        f"strides {trial['strides']} · pool {trial['pool']} · shortcut {trial['shortcut_kernel']}",
        f"epochs {trial['epochs']} of {trial['max_epochs']} · {trial['seconds']:.0f} s",
    ]
    return "<br>".join(lines)


def _narrow(table: pd.DataFrame, budget: float) -> bool:
    """Whether sizes span so little that a log axis needs the ticks between powers of ten."""
    largest = max(table["params"].max(), budget if pd.notna(budget) else 0)
    return bool(largest < 300 * table["params"].min())
