"""Cost shares: parameters and MACs of stem, stages and head of each trial, and a figure of the best trials."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas_budget.arch.cost_table import DEFAULTS, IMAGE, parts_table
from nas_budget.errors import SpecError
from nas_budget.records.formatting import percent
from nas_budget.report.figures.style import colours_of_parts, lay_out, plain
from nas_budget.report.tables.trials import later_fields

Counts = NDArray[np.int64]
PADDING = {"channels": 0, "blocks": 1, "kernels": 1, "strides": 1}
"""What stands for a stage that a network does not have."""
WHOLE = ("pool", "stem_kernel", "shortcut_kernel", "se_reduction", "stem_width")
OF_SPEC = ("groups", "stem_stride", "head_width")
"""What has no column of its own."""


def part_costs(table: pd.DataFrame) -> dict[str, Counts] | None:
    """Params and MACs of stem, stages and head of each trial of one study, arrays of shape (N, S + 2).

    A stage that a network does not have is 0. None where a row holds no network.
    """
    n_stages = int(table["channels"].str.count("-").max()) + 1
    try:
        stages: dict[str, NDArray[Any]] = {name: _padded(table[name], n_stages, fill) for name, fill in PADDING.items()}
        whole = {name: table[name].to_numpy() for name in WHOLE}
        later = [later_fields(trial) for trial in table[["spec"]].to_dict("records")]
        whole |= {name: np.array([known.get(name, DEFAULTS[name]) for known in later]) for name in OF_SPEC}
        expansions = [known.get("expansions", []) for known in later]
        stages["expansions"] = np.array([[*row, *[0.0] * (n_stages - len(row))] for row in expansions], float)
        return parts_table(**stages, **whole, block=[*table["block"]], **image_of(table["spec"].iloc[0]))
    except (SpecError, ValueError, TypeError, AttributeError):
        return None


def image_of(spec: str) -> dict[str, int]:
    """Size and channels of the images, and the number of classes, of a spec as JSON.

    Raises:
        ValueError: It is not JSON.
    """
    known = json.loads(spec)
    return {name: int(known.get(name, DEFAULTS[name])) for name in IMAGE}


def _padded(texts: pd.Series[str], n_stages: int, fill: int) -> NDArray[np.int64]:
    rows = [[int(part) for part in text.split("-")] for text in texts]
    return np.array([[*row, *[fill] * (n_stages - len(row))] for row in rows])


def shares_figure(best: pd.DataFrame, counts: Counts, words: str) -> go.Figure:
    """Draw a bar for each of the best trials, divided into the shares of parameters or MACs of stem, stages and head.

    Args:
        best: Trials, the best first.
        counts: Of their parts, shape (N, S + 2).
        words: What is counted.
    """
    figure, totals = go.Figure(), counts.sum(axis=1)
    several = best["study"].nunique() > 1
    labels = [
        f"{plain(trial['study']) if several else 'trial'} {trial['number']} · "
        + percent(trial["accuracy"], trial["validation_images"])
        for trial in best.to_dict("records")
    ]
    n_stages = counts.shape[1] - 2
    names = ["stem", *(f"stage {i + 1}" for i in range(n_stages)), "head"]
    for place, (name, colour) in enumerate(zip(names, colours_of_parts(n_stages), strict=True)):
        figure.add_bar(
            x=[*(counts[:, place] / totals)], y=labels, orientation="h", name=name, marker={"color": colour},
            customdata=[*map(int, best.index)], text=[f"{n:,}" for n in counts[:, place]], textposition="none",
            hovertemplate=f"{name}: %{{text}} {words}, %{{x:.1%}}<extra></extra>",
        )  # fmt: skip
    lay_out(
        figure, height=150 + 26 * len(best), barmode="stack", margin={"l": 8, "r": 12, "t": 64, "b": 48}, bargap=0.3
    )
    figure.update_xaxes(title_text=f"share of {words}", tickformat=".0%", range=[0, 1], showgrid=False)
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    return figure
