"""Figures of how much of a search space fits a budget, as plotly objects that can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from nas_budget.arch.cost_table import Counts
from nas_budget.records.formatting import in_short
from nas_budget.report.figures.axes import round_numbers
from nas_budget.report.figures.style import ACCENT, FAINT, LIMIT, colours_of_parts, lay_out
from nas_budget.space.explore import Choice, Exploration

WORDS = {"channels": "width", "kernels": "kernel", "strides": "stride"}
MOST_BARS = 16
N_BINS = 60
N_BARS = 30
MARGIN = {"l": 60, "r": 16, "t": 34, "b": 48}


def mean_shares_figure(found: Exploration) -> go.Figure:
    """Draw the mean shares of parameters and of MACs that stem, stages and head have, two bars per number of stages."""
    figure = go.Figure()
    n_stages = np.count_nonzero(found.rows["channels"], axis=1)
    counts = np.unique(n_stages)[::-1]
    words = {"macs": "MACs", "params": "parameters"}
    rows = [(int(n), column) for n in counts for column in words]
    labels = [words[column] if len(counts) == 1 else f"{n} stages:<br>{words[column]}" for n, column in rows]
    shares = np.array([found.part_shares(column)[n_stages == n].mean(axis=0) for n, column in rows])
    n_drawn = int(counts.max())
    names = ("stem", *[f"stage {i}" for i in range(1, n_drawn + 1)], "head")
    for place, (name, colour) in enumerate(zip(names, colours_of_parts(n_drawn), strict=True)):
        values = shares[:, -1 if name == "head" else place].tolist()
        figure.add_bar(
            y=labels, x=values, name=name, orientation="h",
            marker={"color": colour},
            text=[f"{value:.0%}" if value >= 0.01 else "" for value in values], textposition="inside",
            insidetextanchor="middle", textangle=0,
            hovertemplate="%{y}<br>" + name + ": %{x:.1%}<extra></extra>",
        )  # fmt: skip
    lay_out(
        figure, margin=MARGIN, height=140 + 52 * len(rows), barmode="stack", legend_itemclick=False,
        uniformtext={"mode": "hide", "minsize": 11},
    )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(automargin=True)
    return figure


def density_figure(found: Exploration) -> go.Figure:
    """Draw a heatmap of how many networks that fit have so many parameters and MACs, on log axes, and the limits."""
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
    lay_out(figure, margin=MARGIN, height=440)
    for axis, line, name, title in (
        (figure.update_xaxes, figure.add_vline, "params", "parameters"),
        (figure.update_yaxes, figure.add_hline, "macs", "MACs for one image"),
    ):
        limit = getattr(found.budget, name)
        low, high = float(found.costs[name].min()), float(max(found.costs[name].max(), limit or 0))
        ticks = round_numbers(low, high)
        axis(
            type="log", title={"text": title, "standoff": 12}, automargin=True, tickvals=ticks,
            ticktext=[*map(in_short, ticks)], range=[np.log10(low) - 0.03, np.log10(high) + 0.03],
        )  # fmt: skip
        if limit:
            line(limit, line={"color": LIMIT, "width": 1.5, "dash": "dash"})
    return figure


def sizes_figure(found: Exploration) -> go.Figure:
    """Draw three histograms of the networks that fit: parameters, MACs, and bytes of activations."""
    words = {"params": "parameters", "macs": "MACs", "activation_bytes": "bytes of activations"}
    figure = make_subplots(rows=1, cols=3, subplot_titles=[*words.values()], horizontal_spacing=0.08)
    for place, name in enumerate(words, start=1):
        counts, edges = np.histogram(found.costs[name], bins=_edges(found.costs[name]))
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=counts / counts.sum(), width=np.diff(edges), row=1, col=place,
            marker={"color": ACCENT}, hovertemplate="about %{x:,.0f}: %{y:.1%}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, margin=MARGIN, height=240, showlegend=False, bargap=0)
    figure.update_xaxes(tickformat="~s", nticks=4)
    figure.update_yaxes(tickformat=".0%", nticks=4)
    return figure


def _edges(costs: Counts) -> NDArray[np.float64]:
    """Edges of at most `N_BARS` bars, each as many steps wide as any other: costs that come in steps leave no gaps."""
    low, high = int(costs.min()), int(costs.max())
    step = int(np.gcd.reduce(np.diff(np.unique(costs)))) or 1
    wide = -(-((high - low) // step + 1) // N_BARS) * step
    edges: NDArray[np.float64] = np.arange(low - step / 2, high + wide, wide)
    return edges


def choices_figure(found: Exploration) -> go.Figure:
    """Draw for each choice how often each of its values occurs in the whole space and among what fits."""
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
    lay_out(figure, margin=MARGIN, height=60 + 165 * n_rows, barmode="group", showlegend=False)
    figure.update_xaxes(type="category", nticks=6, tickfont={"size": 11})
    figure.update_yaxes(tickformat=".0%", nticks=3, tickfont={"size": 11})
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
