"""Learning curves of all trials, with the rungs and where trials were pruned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas_budget.report.figures.style import ACCENT, FAINT, GRID, accuracy_axis, colour_of, lay_out, plain, table_format
from nas_budget.report.tables.trials import proposed

MOST_CURVES = 600
FAINTEST, STRONGEST, STRONG_CURVES = 0.15, 0.5, 20
"""Curves that are drawn; of more trials the best ones, and others evenly by their place."""
HOVER_WIDTH = 44
"""Characters of a line that is shown beside a point: a phone has room for as many."""


@dataclass(frozen=True)
class Metric:
    """What curves are drawn of: its column in the trials table, the axis's title, and a point in words."""

    column: str
    title: str
    point: str


METRICS = {
    "loss": Metric("train_losses", "training loss", "training loss %{y:.3f} in epoch %{x}"),
    "accuracy": Metric("curve", "accuracy on validation images", "%{y:PERCENT} after epoch %{x}"),
}


def curves_figure(table: pd.DataFrame, metric: str = "accuracy") -> go.Figure:
    """Draw a curve of every trial; of those compared by it also a cross where one was pruned, and lines at the rungs.

    Args:
        table: Trials.
        metric: "accuracy" of all trials, or "loss" of those that the pruner compares by their training loss.
    """
    figure, studies, drawn = go.Figure(), list(table["study"].unique()), METRICS[metric]
    drawn = replace(drawn, point=drawn.point.replace("PERCENT", table_format(table)))
    shown = drawn_curves(table, metric)
    compared = shown[by_loss(shown) == (metric == "loss")]
    for place, study in enumerate(studies):
        trials = shown[shown["study"] == study]
        name, colour = (study if len(studies) > 1 else ""), colour_of(place)
        pruned, complete = trials[trials["state"] == "pruned"], trials[trials["state"] == "complete"]
        if not name:
            _add_curves(figure, pruned, drawn, "pruned", {"color": FAINT, "width": 1}, 0.55)
        _add_curves(
            figure, trials if name else complete, drawn, plain(name) or "trained to the end",
            {"color": colour, "width": 1.4}, _opacity(len(trials)),
        )  # fmt: skip
        _add_ends(figure, pruned.loc[pruned.index.intersection(compared.index)], drawn, "" if name else "pruned here")
    if len(studies) == 1:
        best = shown[shown["state"] == "complete"].nlargest(1, "accuracy")
        _add_curves(figure, best, drawn, "best", {"color": ACCENT, "width": 3.5}, 1.0)
    for rung in rungs_of(compared):
        figure.add_vline(x=rung, line={"color": FAINT, "width": 1, "dash": "dot"})
    lay_out(figure, height=400, hovermode="closest", margin={"l": 60, "r": 16, "t": 40, "b": 44})
    # Any trial can be pinned, wider ones too. The loss of one that diverged would press all others flat.
    kept = _with_curves(table, metric)
    kept = kept[~kept["reason"].str.startswith("diverged")] if metric == "loss" else kept
    values = [value for curve in kept[drawn.column] for value in _points(curve)]
    axis = accuracy_axis(values) if metric == "accuracy" else _loss_axis(values)
    figure.update_yaxes(title_text=drawn.title, **axis)
    figure.update_xaxes(title_text="epoch", tickformat="d", nticks=10, gridcolor=GRID)
    longest = int(table["epochs"].max())
    if longest <= 10:
        figure.update_xaxes(tickvals=[*range(1, longest + 1)])
    return figure


def drawn_curves(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """The trials whose curves are drawn: all, or of very many the best half and others at equal steps."""
    known = proposed(_with_curves(table, metric))
    if len(known) <= MOST_CURVES:
        return known
    ranked = known.sort_values("accuracy", ascending=False, kind="stable")
    others = ranked.iloc[MOST_CURVES // 2 :]
    step = -(-len(others) // (MOST_CURVES - MOST_CURVES // 2))
    return pd.concat([ranked.iloc[: MOST_CURVES // 2], others.iloc[::step]]).sort_index()


def _with_curves(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The trials that have a curve of this metric."""
    known = table[(table["curve"].str.strip() != "") & table["state"].isin(["complete", "pruned"])]
    return known[by_loss(known)] if metric == "loss" else known


def by_loss(table: pd.DataFrame) -> pd.Series[bool]:
    """Which trials the pruner compares by training loss, and have it; tables of earlier versions lack it."""
    return (table["pruner_metric"] == "loss") & (table["train_losses"].str.strip() != "")


def rungs_of(table: pd.DataFrame) -> list[int]:
    """The epochs at which trials are compared, of all studies of the table."""
    texts = " ".join(map(str, table["rungs"].unique())).split()
    return sorted({int(text) for text in texts if text.isdigit()})


def _loss_axis(losses: list[float]) -> dict[str, Any]:
    """An axis that shows these losses and nothing beyond them."""
    finite = [loss for loss in losses if loss < float("inf")]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    room = max(0.06 * (high - low), 0.01)
    return {"range": [max(0.0, low - room), high + room]}


def _opacity(n: int) -> float:
    """Many lines are each faint, so that each can be seen."""
    return float(max(FAINTEST, min(STRONGEST, STRONGEST * (STRONG_CURVES / max(1, n)) ** 0.5)))


def _points(curve: str) -> list[float]:
    return [float(text) for text in curve.split()]


def _add_curves(
    figure: go.Figure, trials: pd.DataFrame, metric: Metric, name: str, line: dict[str, Any], opacity: float
) -> None:
    """All curves as one line with gaps: hundreds of lines of their own would be slow."""
    curves = [_points(curve) for curve in trials[metric.column]]
    sizes = [len(points) + 1 for points in curves]
    figure.add_scatter(
        x=[epoch for points in curves for epoch in (*range(1, len(points) + 1), None)],
        y=[value for points in curves for value in (*points, None)],
        customdata=[*map(int, trials.index.repeat(sizes))], text=[*map(int, trials["number"].repeat(sizes))],
        mode="markers" if {*sizes} <= {2} else "lines", name=name, line=line, opacity=opacity,
        showlegend=not trials.empty, hovertemplate=f"trial %{{text}}: {metric.point}<extra></extra>",
    )  # fmt: skip


def _add_ends(figure: go.Figure, pruned: pd.DataFrame, metric: Metric, name: str) -> None:
    if pruned.empty:
        return
    curves = [_points(curve) for curve in pruned[metric.column]]
    reasons = [
        "<br>".join(wrap(plain(f"trial {number}: {reason}"), HOVER_WIDTH))
        for number, reason in zip(pruned["number"], pruned["reason"], strict=True)
    ]
    figure.add_scatter(
        x=[*map(len, curves)], y=[points[-1] for points in curves], mode="markers", name=name,
        marker={"symbol": "x-thin", "size": 7, "line": {"width": 1.5, "color": FAINT}},
        showlegend=bool(name), customdata=[*map(int, pruned.index)], text=reasons,
        hovertemplate=f"{metric.point}<br>%{{text}}<extra></extra>",
    )  # fmt: skip
