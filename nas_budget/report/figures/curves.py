"""Learning curves of all trials, with the rungs and where trials were pruned."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas_budget.report.figures.style import ACCENT, FAINT, GRID, LIMIT, accuracy_axis, colour_of, lay_out, plain

MOST_CURVES = 600
FAINTEST, STRONGEST, STRONG_CURVES = 0.15, 0.5, 20
"""Curves that are drawn; of more trials the best ones, and others evenly by their place."""


def curves_figure(table: pd.DataFrame) -> go.Figure:
    """Draw accuracy after each epoch of every trial, a cross where one was pruned, and dotted lines at the rungs."""
    figure, studies = go.Figure(), list(table["study"].unique())
    shown = drawn_curves(table)
    for place, study in enumerate(studies):
        trials = shown[shown["study"] == study]
        name, colour = (study if len(studies) > 1 else ""), colour_of(place)
        pruned, complete = trials[trials["state"] == "pruned"], trials[trials["state"] == "complete"]
        if not name:
            _add_curves(figure, pruned, "pruned", {"color": FAINT, "width": 1}, 0.55)
        _add_curves(
            figure, trials if name else complete, plain(name) or "trained to the end", {"color": colour, "width": 1.4},
            _opacity(len(trials)),
        )  # fmt: skip
        _add_ends(figure, pruned, "" if name else "pruned here")
    if len(studies) == 1:
        best = shown[shown["state"] == "complete"].nlargest(1, "accuracy")
        _add_curves(figure, best, "best", {"color": ACCENT, "width": 3.5}, 1.0)
    for rung in rungs_of(table):
        figure.add_vline(x=rung, line={"color": FAINT, "width": 1, "dash": "dot"})
    lay_out(figure, height=400, hovermode="closest", margin={"l": 60, "r": 16, "t": 40, "b": 44})
    points = [value for curve in shown["curve"] for value in _points(curve)]
    figure.update_yaxes(title="accuracy on validation images", **accuracy_axis(points))
    figure.update_xaxes(title="epoch", tickformat="d", nticks=10, gridcolor=GRID)
    longest = int(table["epochs"].max())
    if longest <= 10:
        figure.update_xaxes(tickvals=[*range(1, longest + 1)])
    return figure


def drawn_curves(table: pd.DataFrame) -> pd.DataFrame:
    """The trials whose curves are drawn: all, or of very many the best half and others at equal steps."""
    known = table[(table["curve"].str.strip() != "") & table["state"].isin(["complete", "pruned"])]
    if len(known) <= MOST_CURVES:
        return known
    ranked = known.sort_values("accuracy", ascending=False, kind="stable")
    others = ranked.iloc[MOST_CURVES // 2 :]
    step = -(-len(others) // (MOST_CURVES - MOST_CURVES // 2))
    return pd.concat([ranked.iloc[: MOST_CURVES // 2], others.iloc[::step]]).sort_index()


def rungs_of(table: pd.DataFrame) -> list[int]:
    """The epochs at which trials are compared, of all studies of the table."""
    texts = " ".join(map(str, table["rungs"].unique())).split()
    return sorted({int(text) for text in texts if text.isdigit()})


def _opacity(n: int) -> float:
    """Many lines are each faint, so that each can be seen."""
    return float(max(FAINTEST, min(STRONGEST, STRONGEST * (STRONG_CURVES / max(1, n)) ** 0.5)))


def _points(curve: str) -> list[float]:
    return [float(text) for text in curve.split()]


def _add_curves(figure: go.Figure, trials: pd.DataFrame, name: str, line: dict[str, Any], opacity: float) -> None:
    """All curves as one line with gaps: hundreds of lines of their own would be slow."""
    curves = [_points(curve) for curve in trials["curve"]]
    sizes = [len(points) + 1 for points in curves]
    figure.add_scatter(
        x=[epoch for points in curves for epoch in (*range(1, len(points) + 1), None)],
        y=[accuracy for points in curves for accuracy in (*points, None)],
        customdata=[*map(int, trials.index.repeat(sizes))], text=[*map(int, trials["number"].repeat(sizes))],
        mode="markers" if {*sizes} <= {2} else "lines", name=name, line=line, opacity=opacity,
        showlegend=not trials.empty, hovertemplate="trial %{text}: %{y:.2%} after epoch %{x}<extra></extra>",
    )  # fmt: skip


def _add_ends(figure: go.Figure, pruned: pd.DataFrame, name: str) -> None:
    if pruned.empty:
        return
    figure.add_scatter(
        x=[*pruned["epochs"]], y=[_points(curve)[-1] for curve in pruned["curve"]], mode="markers", name=name,
        marker={"symbol": "x-thin", "size": 7, "line": {"width": 1.5, "color": LIMIT}}, opacity=0.7,
        showlegend=bool(name), customdata=[*map(int, pruned.index)], text=[*pruned["number"]],
        hovertemplate="trial %{text}: pruned after epoch %{x} with %{y:.2%}<extra></extra>",
    )  # fmt: skip
