"""Figures of a space against a budget, as plotly objects one can change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from nas_budget.arch.cost_table import Counts
from nas_budget.report.figures.axes import round_numbers, short
from nas_budget.report.figures.style import ACCENT, FAINT, GRID, INK, LIMIT
from nas_budget.space.explore import Choice, Exploration

WORDS = {"channels": "width", "kernels": "kernel", "strides": "stride"}
PARTS = ("#475569", "#1d4ed8", "#3b82f6", "#60a5fa", "#0d9488", "#14b8a6", "#f59e0b", "#f97316", "#ef4444", "#a855f7")
MOST_BARS = 16
N_BINS = 60
N_BARS = 30


def mean_shares_figure(found: Exploration) -> go.Figure:
    """Mean share of parameters and of MACs that each part has: two bars for each count of stages."""
    figure = go.Figure()
    n_stages = np.count_nonzero(found.rows["channels"], axis=1)
    counts = np.unique(n_stages)[::-1]
    most = int(counts.max())
    rows = [(int(n), column) for n in counts for column in ("macs", "params")]
    words = {"params": "parameters", "macs": "MACs"}
    labels = [words[column] if len(counts) == 1 else f"{n} stages:<br>{words[column]}" for n, column in rows]
    shares = [_mean_shares(found, n_stages == n, n, column) for n, column in rows]
    for place, name in enumerate(("stem", *[f"stage {i}" for i in range(1, most + 1)], "head")):
        values = [share.get(name, 0.0) for share in shares]
        figure.add_bar(
            y=labels, x=values, name=name, orientation="h", marker={"color": _colour(place, name)},
            text=[f"{value:.0%}" if value >= 0.01 else "" for value in values], textposition="inside",
            insidetextanchor="middle", textangle=0, textfont={"color": "white"},
            hovertemplate="%{y}<br>" + name + ": %{x:.1%}<extra></extra>",
        )  # fmt: skip
    _style(
        figure, height=140 + 52 * len(rows), barmode="stack", uniformtext={"mode": "hide", "minsize": 11},
        legend={"orientation": "h", "traceorder": "normal", "x": 0, "y": 1, "yanchor": "bottom", "itemclick": False},
    )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", range=[0, 1], gridcolor=GRID)
    figure.update_yaxes(automargin=True)
    return figure


def _colour(place: int, name: str) -> str:
    return FAINT if name == "head" else PARTS[place % len(PARTS)]


def _mean_shares(found: Exploration, chosen: np.ndarray, n: int, column: str) -> dict[str, float]:
    means = found.part_shares(column)[chosen].mean(axis=0)
    names = ["stem", *[f"stage {i}" for i in range(1, n + 1)]]
    return {**dict(zip(names, means.tolist(), strict=False)), "head": float(means[-1])}


def density_figure(found: Exploration) -> go.Figure:
    """How many of the networks that fit have so many parameters and MACs, on log axes, with the limits."""
    params, macs = (np.log10(found.costs[name]) for name in ("params", "macs"))
    counts, along, up = np.histogram2d(params, macs, bins=N_BINS)
    centres = [10 ** ((edges[:-1] + edges[1:]) / 2) for edges in (along, up)]
    figure = go.Figure(
        go.Heatmap(
            x=centres[0], y=centres[1], z=np.where(counts.T > 0, counts.T, np.nan),
            colorscale=[[0, "rgba(96, 165, 250, 0.25)"], [0.3, "#3b82f6"], [1, "#1e3a8a"]], showscale=False,
            hovertemplate="about %{x:,.0f} parameters, %{y:,.0f} MACs:<br>%{z} of the networks drawn<extra></extra>",
        )
    )  # fmt: skip
    _style(figure, height=440)
    for axis, name, title in (("x", "params", "parameters"), ("y", "macs", "MACs for one image")):
        limit = getattr(found.budget, name)
        low, high = float(found.costs[name].min()), float(max(found.costs[name].max(), limit or 0))
        ticks = round_numbers(low, high)
        span = [np.log10(low) - 0.03, np.log10(high) + 0.03]
        update = figure.update_xaxes if axis == "x" else figure.update_yaxes
        update(
            type="log",
            title={"text": title, "standoff": 12},
            automargin=True,
            tickvals=ticks,
            ticktext=[*map(short, ticks)],
            range=span,
            gridcolor=GRID,
        )
        if limit:
            line = {"color": LIMIT, "width": 1.5, "dash": "dash"}
            figure.add_vline(x=limit, line=line) if axis == "x" else figure.add_hline(y=limit, line=line)
    return figure


def sizes_figure(found: Exploration) -> go.Figure:
    """How parameters, MACs and activation bytes are spread among the networks that fit."""
    words = {"params": "parameters", "macs": "MACs", "activation_bytes": "bytes of activations"}
    figure = make_subplots(rows=1, cols=3, subplot_titles=[*words.values()], horizontal_spacing=0.08)
    for place, name in enumerate(words, start=1):
        counts, edges = np.histogram(found.costs[name], bins=_edges(found.costs[name]))
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=counts / counts.sum(), width=np.diff(edges), row=1, col=place,
            marker={"color": ACCENT}, hovertemplate="about %{x:,.0f}: %{y:.1%}<extra></extra>",
        )  # fmt: skip
    _style(figure, height=240, showlegend=False, bargap=0)
    figure.update_xaxes(tickformat="~s", nticks=4, gridcolor=GRID)
    figure.update_yaxes(tickformat=".0%", nticks=4, gridcolor=GRID)
    return figure


def _edges(costs: Counts) -> NDArray[np.float64]:
    """Edges of at most `N_BARS` bars, each as many steps wide as any other: costs that come in steps leave no gaps."""
    low, high = int(costs.min()), int(costs.max())
    step = int(np.gcd.reduce(np.diff(np.unique(costs)))) or 1
    wide = -(-((high - low) // step + 1) // N_BARS) * step
    edges: NDArray[np.float64] = np.arange(low - step / 2, high + wide, wide)
    return edges


def choices_figure(found: Exploration) -> go.Figure:
    """For each choice: the share of each value in the whole space, and among what fits."""
    groups = choice_groups(found.choices)
    n_columns = min(3, len(groups)) or 1
    n_rows = -(-len(groups) // n_columns) or 1
    figure = make_subplots(
        rows=n_rows, cols=n_columns, subplot_titles=[*groups], horizontal_spacing=0.07, vertical_spacing=0.42 / n_rows
    )
    for place, (_, members) in enumerate(groups.items()):
        labels, before, after = _bars(members)
        at = {"row": place // n_columns + 1, "col": place % n_columns + 1}
        for name, values, colour in (("whole space", before, FAINT), ("what fits", after, ACCENT)):
            figure.add_bar(
                x=labels, y=values, name=name, marker={"color": colour},
                hovertemplate="%{x}: %{y:.1%} of " + name + "<extra></extra>", **at,
            )  # fmt: skip
    _style(figure, height=60 + 165 * n_rows, barmode="group", showlegend=False)
    figure.update_xaxes(type="category", nticks=6, tickfont={"size": 11})
    figure.update_yaxes(tickformat=".0%", nticks=3, gridcolor=GRID, tickfont={"size": 11})
    figure.update_annotations(font={"size": 13})
    return figure


def choice_groups(choices: Sequence[Choice]) -> dict[str, list[Choice]]:
    """The values of each choice, by its name in words such as "stage 2 width"."""
    groups: dict[str, list[Choice]] = {}
    for choice in choices:
        stage = f"stage {choice.stage} " if choice.stage else ""
        groups.setdefault(stage + WORDS.get(choice.name, choice.name.replace("_", " ")), []).append(choice)
    return groups


def never(choices: Sequence[Choice]) -> list[str]:
    """What no network that fits has, such as "stage 1 width 432 to 640"."""
    found = []
    for name, members in choice_groups(choices).items():
        runs = [
            [choice.value for choice in run] for fits, run in groupby(members, lambda choice: choice.fits) if not fits
        ]
        if runs:
            found.append(f"{name} {', '.join(map(_range, runs))}")
    return found


def _range(values: Sequence[object]) -> str:
    return f"{values[0]} to {values[-1]}" if len(values) > 2 else ", ".join(map(str, values))


def _bars(members: Sequence[Choice]) -> tuple[list[str], list[float], list[float]]:
    """Labels and the two shares; many values are taken together."""
    size = -(-len(members) // MOST_BARS)
    runs = [members[start : start + size] for start in range(0, len(members), size)]
    labels = [str(r[0].value) if len(r) == 1 else f"{r[0].value}-{r[-1].value}" for r in runs]
    return labels, [sum(c.of_space for c in r) for r in runs], [sum(c.of_fitting for c in r) for r in runs]


def _style(figure: go.Figure, **layout: object) -> None:
    figure.update_layout(
        template="none", font={"family": "system-ui, sans-serif", "size": 13, "color": INK}, dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", margin={"l": 60, "r": 16, "t": 34, "b": 48},
    )  # fmt: skip
    figure.update_layout(**layout)
