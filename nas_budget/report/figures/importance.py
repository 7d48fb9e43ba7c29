"""Figures of what mattered for accuracy: importance, parallel coordinates, slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas_budget.records.formatting import in_short
from nas_budget.report.figures.axes import round_numbers
from nas_budget.report.figures.style import BLUES, INK, accuracy_axis, colour_of, lay_out, plain, table_format
from nas_budget.report.tables.importance import LOGARITHMIC, WORDS, chance_level, features, importance
from nas_budget.report.tables.trials import complete

MOST_AXES, MOST_TICKS = 7, 4
MOST_LINES = 2_000


def importance_figure(table: pd.DataFrame) -> go.Figure:
    """Draw the share of the variance of accuracy that each feature explains alone, and a line for chance."""
    figure, studies = go.Figure(), list(table["study"].unique())
    found = {study: importance(table[table["study"] == study]) for study in studies}
    names = list(dict.fromkeys(name for shares in found.values() for name in shares.index))[::-1]
    judged = [(place, study) for place, study in enumerate(studies) if len(found[study])]
    for place, study in reversed(judged):  # plotly draws the first bar lowest
        shares = [float(found[study].get(name, np.nan)) for name in names]
        figure.add_bar(
            x=shares, y=[WORDS.get(name, name) for name in names], orientation="h", name=plain(study),
            marker={"color": colour_of(place)}, text=[f"{s:.0%}" if s == s else "" for s in shares],
            textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )  # fmt: skip
    chance = max((chance_level(table[table["study"] == study]) for study in studies), default=0.0)
    if chance:
        figure.add_vline(x=chance, line={"color": INK, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=chance, y=0, yref="paper", text="chance", showarrow=False, xanchor="left", yanchor="bottom", xshift=4,
            font={"color": INK},
        )  # fmt: skip
    lay_out(figure, height=110 + (18 + 10 * len(judged)) * len(names), showlegend=len(studies) > 1, margin={"r": 48})
    figure.update_layout(legend_traceorder="reversed")
    figure.update_xaxes(title_text="share of the variance of accuracy", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(automargin=True, showgrid=False)
    return figure


def parallel_figure(table: pd.DataFrame) -> go.Figure:
    """Draw complete trials as lines over the most important features, coloured by accuracy; axes can be brushed."""
    ended = complete(table).nlargest(MOST_LINES, "accuracy")
    found, ranked = features(ended), importance(ended)
    names = [str(name) for name in ranked.index if name in found][:MOST_AXES] or [*map(str, found)][:MOST_AXES]
    accuracy = {"label": "accuracy", "values": [*ended["accuracy"]], "tickformat": ".1%"}
    axes = [_axis(name, found[name]) for name in names]
    line = {"color": [*ended["accuracy"]], "colorscale": BLUES, "showscale": False}
    figure = go.Figure(go.Parcoords(dimensions=[*axes, accuracy], line=line, labelangle=-20, labelside="top"))
    lay_out(figure, height=400, margin={"l": 56, "r": 56, "t": 84, "b": 24})
    return figure


def _axis(name: str, values: pd.Series[float]) -> dict[str, Any]:
    if not logarithmic(name, values):
        few = sorted(values.unique()) if values.nunique() <= 8 else None
        ticks = {} if few is None else {"tickvals": few, "ticktext": [f"{v:.3g}" for v in few]}
        return {"label": WORDS.get(name, name), "values": [*values], "tickformat": ".3~g", **ticks}
    numbers = _round_ticks(values)
    ticks = {"tickvals": [*np.log10(numbers)], "ticktext": [*map(in_short, numbers)]}
    return {"label": WORDS.get(name, name), "values": [*np.log10(values)], **ticks}


def _round_ticks(values: pd.Series[float]) -> list[float]:
    low, high = float(values.min()), float(values.max())
    return [number for number in round_numbers(low, high) if low <= number <= high]


def logarithmic(name: str, values: pd.Series[float]) -> bool:
    """Whether a feature is shown by its logarithm; a weight decay of 0, for one, has none."""
    return name in LOGARITHMIC and bool(values.min() > 0)


def slice_figures(table: pd.DataFrame, most: int = 6) -> dict[str, go.Figure]:
    """Draw accuracy of complete trials against each of the most important features; a figure for each, by its words."""
    ended, names = complete(table), importance(complete(table)).index[:most]
    found, studies = features(ended), [*table["study"].unique()]
    return {WORDS.get(name, name): _slice(ended, name, found[name], studies) for name in names if name in found}


def _slice(ended: pd.DataFrame, name: str, values: pd.Series[float], studies: list[str]) -> go.Figure:
    figure = go.Figure()
    for place, study in enumerate(studies):
        rows = ended[ended["study"] == study]
        form = table_format(rows)
        figure.add_scatter(
            x=[*values[rows.index]], y=[*rows["accuracy"]], mode="markers", customdata=[*map(int, rows.index)],
            marker={"size": 7, "color": colour_of(place), "opacity": 0.6},
            showlegend=False, text=[*rows["number"]],
            hovertemplate=f"trial %{{text}}: %{{y:{form}}}<br>{WORDS.get(name, name)} %{{x:,.4~g}}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, height=230, margin={"l": 48, "r": 8, "t": 8, "b": 42}, hovermode="closest")
    figure.update_yaxes(**accuracy_axis([*ended["accuracy"]]))
    figure.update_xaxes(title={"text": WORDS.get(name, name), "standoff": 6}, nticks=6)
    if logarithmic(name, values):
        ticks = _round_ticks(values)
        ticks = ticks if len(ticks) <= MOST_TICKS else ticks[:: -(-len(ticks) // MOST_TICKS)]
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[*map(in_short, ticks)], tickangle=0)
    elif values.nunique() <= 4:
        places = sorted(values.unique())
        figure.update_xaxes(tickvals=places, ticktext=[f"{place:.3g}" for place in places], tickangle=0)
    return figure
