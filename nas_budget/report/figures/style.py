"""What the figures of all pages have in common."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from nas_budget.records.formatting import percent_format

COLOURS = {
    "accent": ("#2563eb", "#7aa7ff"),  # what was trained to the end, and parameters
    "macs": ("#0d9488", "#2dd4bf"),  # multiply-adds
    "rest": ("#94a3b8", "#94a3b8"),  # what stands behind that: pruned trials, a whole space, lines of the frame
    "chosen": ("#f59e0b", "#f59e0b"),  # the trial that is looked at, and the one it is compared with
    "limit": ("#dc2626", "#f87171"),  # budgets
    "expected": ("#7c3aed", "#a78bfa"),  # what a model expects
    "published": ("#15803d", "#4ade80"),  # networks and curves of others
    "wider": ("#0e7490", "#22d3ee"),  # the best networks, trained again as wider proxies
    "ema": ("#c026d3", "#e879f9"),  # the average of the weights
    "lost": ("#92400e", "#d6a06b"),  # device time with nothing to show for it
    "head": ("#9d174d", "#fbcfe8"),  # the last part of a network, beside the blues of its stages
    "label": ("#334155", "#cbd5e1"),  # text in figures; finalists
    "ink": ("#0f172a", "#e8edf4"),
    "soft": ("#52606f", "#9fb0c3"),
    "line": ("#e2e8f0", "#2a3646"),
    "card": ("#ffffff", "#151d28"),
    "hover": ("#fdfdfe", "#1e293b"),
    "ground": ("#f6f8fb", "#0d131b"),
    "warning": ("#d97706", "#fbbf24"),
}
"""Every colour that means something, by its meaning, on light and on dark ground; style sheets know them as --name."""
ACCENT, MACS, FAINT, CHOSEN, LIMIT, EXPECTED, PUBLISHED, WIDER, EMA, LOST, INK = (
    COLOURS[name][0]
    for name in (
        "accent", "macs", "rest", "chosen", "limit", "expected", "published", "wider", "ema", "lost", "label",
    )
)  # fmt: skip
CARD, HOVER = COLOURS["card"][0], COLOURS["hover"][0]
GRID = "rgba(148, 163, 184, 0.25)"
STUDIES = (
    COLOURS["accent"], ("#db2777", "#f472b6"), ("#65a30d", "#a3e635"), ("#9333ea", "#c084fc"), ("#0891b2", "#22d3ee"),
    ("#ca8a04", "#facc15"), ("#475569", "#94a3b8"), ("#ea580c", "#fb923c"),
)  # fmt: skip
"""Colours of studies that are compared; the first is that of a single one."""
STAGES = (
    ("#c7dcfd", "#1d3a75"), ("#98c1fb", "#25509f"), ("#649efa", "#2f68c8"), ("#3a7bf0", "#4a86e8"),
    ("#2260d8", "#79a8f5"), ("#1c49ad", "#a9c8fb"), ("#1b3680", "#d6e5fe"),
)  # fmt: skip
"""From the first stage of a network to the last."""
RAMPS = (
    ("#dbeafe", "#1e3a8a"), ("#1e3a8a", "#bfdbfe"), ("#eff6ff", "#1e293b"), ("#1d4ed8", "#93c5fd"),
    ("#fff7ed", "#33231a"), ("#c2410c", "#ea580c"),
)  # fmt: skip
"""Ends of the scales of few and many."""
BLUES = [[0, "#dbeafe"], [0.5, "#60a5fa"], [1, "#1e3a8a"]]
SCALE = [[0, "#4f46e5"], [0.5, "#14b8a6"], [1, "#eab308"]]
"""From low to high where dots are coloured by a number; legible on light and on dark ground."""
DARK = dict([*COLOURS.values(), *STUDIES, *STAGES, *RAMPS])
"""The dark counterpart of each light colour."""


def colours_as_css() -> str:
    """The colours as variables of a style sheet: dark ones where the system is, light ones on paper."""
    light, dark = (
        ":root { " + " ".join(f"--{name}: {pair[place]};" for name, pair in COLOURS.items()) + " }" for place in (0, 1)
    )
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n@media print {{ {light} }}\n"


def colours_of_parts(n_stages: int) -> list[str]:
    """A colour for the stem, each stage and the head of networks of at most so many stages."""
    last = len(STAGES) - 1
    steps = [round(last * stage / (n_stages - 1)) for stage in range(n_stages)] if n_stages > 1 else [last // 2]
    return [FAINT, *(STAGES[step][0] for step in steps), COLOURS["head"][0]]


def colour_of(place: int) -> str:
    """The colour of the study at this place, from 0."""
    return STUDIES[place % len(STUDIES)][0]


def lay_out(figure: go.Figure, **layout: object) -> go.Figure:
    """Give a figure the common look, with some of its layout changed; the same figure."""
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 16, "t": 8, "b": 44},
        hoverlabel={
            "align": "left",
            "bgcolor": HOVER,
            "bordercolor": FAINT,
            "font": {"size": 13, "color": INK},
        },
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "traceorder": "normal"},
        dragmode=False,
    )
    figure.update_layout(**layout)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, title_font_size=13)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, title_font_size=13, title_standoff=8, ticklabelstandoff=5)
    return figure


def accuracy_range(accuracies: list[float]) -> tuple[float, float]:
    """The part of 0 to 1 that shows these accuracies with some room around them; never narrower than 0.04."""
    low, high = min(accuracies, default=0.0), max(accuracies, default=1.0)
    room = max(0.06 * (high - low), 0.02 - (high - low) / 2, 0.005)
    return max(0.0, low - room), min(1.0, high + room)


def accuracy_axis(accuracies: list[float]) -> dict[str, object]:
    """An axis that shows these accuracies, and more where more is drawn."""
    low, high = accuracy_range(accuracies)
    return {"tickformat": percent_ticks(low, high), "autorangeoptions": {"include": [low, high]}}


def percent_ticks(low: float, high: float) -> str:
    """How the ticks between two shares are written: with a decimal only where whole percents are too far apart."""
    return ".0%" if high - low > 0.07 else ".1%"


def table_format(trials: pd.DataFrame) -> str:
    """How the accuracies of a table's trials are written, as plotly takes it: by the fewest images of one."""
    return percent_format(int(trials["validation_images"].min()) if len(trials) else 0)


def plain(text: str) -> str:
    """A text that plotly shows as it is; it reads a few tags as markup, and &quot; not at all."""
    return escape(text, quote=False)
