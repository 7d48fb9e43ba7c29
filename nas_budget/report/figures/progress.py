"""How a study got on: the best accuracy so far, over trials or device time."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nas_budget.report.figures.style import accuracy_axis, colour_of, lay_out, plain, table_format
from nas_budget.report.figures.timeline import unit_of
from nas_budget.report.tables.trials import complete, proposed

OVER = ("trials", "time")


def progress_figure(table: pd.DataFrame, over: str = "trials") -> go.Figure:
    """Draw the best accuracy so far of each study as a step line that begins with its first complete trial.

    The complete trials are dots. Pruned trials count as trials, and every trial in the device time.

    Args:
        table: Trials.
        over: "trials" that are complete or pruned, or "time": device time since the study began.
    """
    figure, studies = go.Figure(), list(table["study"].unique())
    ordered = proposed(table).sort_values(["study", "finished", "number"], kind="stable")
    steps = ordered["seconds"] + ordered["repeated_seconds"] if over == "time" else (ordered["state"] != "failed") * 1.0
    done = steps.groupby(ordered["study"]).cumsum()
    unit, words = unit_of(float(done.max())) if over == "time" else (1.0, "")
    for place, study in enumerate(studies):
        at, trials = done[ordered["study"] == study] / unit, complete(ordered[ordered["study"] == study])
        name, colour = (plain(study) if len(studies) > 1 else ""), colour_of(place)
        figure.add_scatter(
            x=[*at[trials.index]], y=[*trials["accuracy"]], mode="markers", name=name or "trained to the end",
            marker={"size": 7, "color": colour, "opacity": 0.65}, legendgroup=name, showlegend=not name,
            customdata=[*map(int, trials.index)], text=[*trials["number"]],
            hovertemplate=f"trial %{{text}}: %{{y:{table_format(trials)}}}<extra></extra>",
        )  # fmt: skip
        best = trials["accuracy"].cummax()
        figure.add_scatter(
            x=[*at[trials.index], at.max()], y=[*best, *best.tail(1)], mode="lines", name=name or "best so far",
            line={"shape": "hv", "color": colour, "width": 2.5}, hoverinfo="skip", legendgroup=name,
        )  # fmt: skip
    lay_out(figure, height=340, hovermode="closest", margin={"l": 60, "r": 16, "t": 40, "b": 48})
    title = f"device {words} of training" if over == "time" else "trials, complete or pruned"
    figure.update_xaxes(title_text=title, rangemode="tozero")
    return figure.update_yaxes(
        title_text="accuracy on validation images", **accuracy_axis([*complete(table)["accuracy"]])
    )
