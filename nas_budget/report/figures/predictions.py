"""What the model of a search believes: accuracies it expected of trials, beside those that came out."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas_budget.records.formatting import percent
from nas_budget.records.statistics import DEVIATIONS
from nas_budget.report.figures.style import CARD, FAINT, accuracy_axis, accuracy_range, colour_of, lay_out, plain
from nas_budget.report.tables.trials import complete


def predicted_trials(table: pd.DataFrame) -> pd.DataFrame:
    """The complete trials that a model had an expectation of; `inside` says whether its 95 % interval held."""
    known = complete(table).dropna(subset=["predicted", "predicted_deviation"])
    off = (known["accuracy"] - known["predicted"]).abs()
    return known.assign(margin=DEVIATIONS * known["predicted_deviation"]).assign(inside=lambda t: off <= t["margin"])


def predictions_figure(table: pd.DataFrame) -> go.Figure:
    """Draw the accuracy that came out against the predicted one and its 95 % interval, and a line where both agree."""
    figure, studies, known = go.Figure(), list(table["study"].unique()), predicted_trials(table)
    both = [*known["accuracy"], *known["predicted"]]
    ends = [*accuracy_range(both)]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": FAINT, "width": 1.5, "dash": "dash"}, hoverinfo="skip",
        name="as predicted",
    )  # fmt: skip
    for place, study in enumerate(studies):
        trials, colour = known[known["study"] == study], colour_of(place)
        words = [_in_words(row) for row in trials.to_dict("records")]
        figure.add_scatter(
            x=[*trials["predicted"]], y=[*trials["accuracy"]], mode="markers",
            error_x={"array": [*trials["margin"]], "color": colour, "thickness": 1, "width": 0},
            marker={"size": 8, "color": colour, "opacity": 0.8, "line": {"width": 1, "color": CARD}},
            name=plain(study) if len(studies) > 1 else "trials with the 95 % interval",
            customdata=[*map(int, trials.index)], text=words, hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, height=400, hovermode="closest", margin={"l": 60, "r": 16, "t": 40, "b": 48})
    figure.update_xaxes(title_text="accuracy that the model predicted", **accuracy_axis(both))
    return figure.update_yaxes(title_text="accuracy that came out", **accuracy_axis(both))


def _in_words(row: dict[Any, Any]) -> str:
    came_out, predicted, margin = (
        percent(row[name], row["validation_images"]) for name in ("accuracy", "predicted", "margin")
    )
    return f"trial {row['number']}: {came_out}<br>predicted {predicted} ± {margin}"
