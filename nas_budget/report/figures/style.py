"""What the figures of all pages have in common."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from nas_budget.records.formatting import percent_format

ACCENT, INK, FAINT, LIMIT, PAPER = "#2563eb", "#334155", "#94a3b8", "#dc2626", "#d97706"
SECOND, GOOD = "#0d9488", "#16a34a"
GRID = "rgba(148, 163, 184, 0.25)"
PALETTE = (ACCENT, "#db2777", SECOND, "#9333ea", "#ca8a04", "#475569", "#ea580c", "#65a30d")
"""Colours of studies that are compared; the first is that of a single one."""
BLUES = [[0, "#dbeafe"], [0.5, "#60a5fa"], [1, "#1e3a8a"]]


def colour_of(place: int) -> str:
    """The colour of the study at this place, from 0."""
    return PALETTE[place % len(PALETTE)]


def lay_out(figure: go.Figure, **layout: object) -> go.Figure:
    """Give a figure the common look, with some of its layout changed; the same figure."""
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 16, "t": 8, "b": 44},
        hoverlabel={"align": "left", "bgcolor": "#ffffff", "bordercolor": FAINT, "font": {"size": 13, "color": INK}},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "traceorder": "normal"},
        dragmode=False,
    )
    figure.update_layout(**layout)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, title_font_size=13)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, title_font_size=13, ticklabelstandoff=5)
    return figure


def accuracy_range(accuracies: list[float]) -> tuple[float, float]:
    """The part of 0 to 1 that shows these accuracies with some room around them; never narrower than 0.04."""
    low, high = min(accuracies, default=0.0), max(accuracies, default=1.0)
    room = max(0.06 * (high - low), 0.02 - (high - low) / 2, 0.005)
    return max(0.0, low - room), min(1.0, high + room)


def accuracy_axis(accuracies: list[float]) -> dict[str, object]:
    """An axis that shows these accuracies, and more where more is drawn."""
    low, high = accuracy_range(accuracies)
    return {"tickformat": ".0%" if high - low > 0.1 else ".1%", "autorangeoptions": {"include": [low, high]}}


def table_format(trials: pd.DataFrame) -> str:
    """How the accuracies of a table's trials are written, as plotly takes it: by the fewest images of one."""
    return percent_format(int(trials["validation_images"].min()) if len(trials) else 0)


def plain(text: str) -> str:
    """A text that plotly shows as it is; it reads a few tags as markup, and &quot; not at all."""
    return escape(text, quote=False)
