"""The main figure of a report, accuracy against cost, as a plotly object that can be changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nas_budget.records.finalists import FinalistRun, FinalistSummary, summarize_finalists
from nas_budget.records.formatting import factor_in_words, in_short, percent, percent_with_interval, width_in_words
from nas_budget.records.predictions import ExpectedNetwork
from nas_budget.records.statistics import DEVIATIONS, interval
from nas_budget.report.figures.axes import AXES, round_numbers
from nas_budget.report.figures.style import (
    CARD,
    EXPECTED,
    FAINT,
    INK,
    LIMIT,
    PUBLISHED,
    WIDER,
    accuracy_range,
    colour_of,
    lay_out,
    percent_ticks,
    plain,
)
from nas_budget.report.tables.known import known_networks
from nas_budget.report.tables.trials import (
    family_values,
    knee,
    ladder,
    later_words,
    network,
    pareto_trials,
    proposed,
    trained_as,
)

NEAR = 0.1
"""Published networks are hidden at first when their accuracy is further than this from all trials."""
FAR_SHARE = 30
"""And when they are this many times as large."""
MARGIN = 1.15
"""By how much the axis of costs goes beyond them."""
MOST_BARS = 100
"""Of more complete trials those on the front alone have error bars."""
ENDED = "trained to the end"
BAND, BAR = "rgba(124, 58, 237, 0.12)", "rgba(100, 116, 139, 0.4)"
STRIP_ROW = 0.055
"""Share of the height that the pruned trials of a study take."""
NARROW = 3
"""An axis whose end is less than this many times its beginning has no round numbers to show."""


def tradeoff(
    table: pd.DataFrame, axis: str = "params", finalists: Sequence[FinalistRun] = (),
    expected: Sequence[ExpectedNetwork] = (),
) -> go.Figure:  # fmt: skip
    """Draw accuracy against a cost on a log axis: trials, Pareto fronts, budget, knee, finalists, published networks.

    The axis of accuracy shows the fronts, and counts the complete trials below it; the range of all of them is
    `layout.meta["all"]`. Pruned trials, whose accuracy is of fewer epochs, are ticks in a strip below, by cost alone.
    Complete trials have error bars: the 95 % interval that the number of validation images leaves (Wilson). Of more
    than 100 only those on the front have them.

    Args:
        table: Trials, of several studies perhaps; each study has a colour.
        axis: "params", "macs", "bytes", "latency", "predicted-latency" or "seconds".
        finalists: Runs of the finalists of a single study.
        expected: What the model of a single study expects of the best network of each size; a band against parameters.
    """
    figure, along = go.Figure(), AXES[axis]
    drawn = table.assign(cost=along.costs(table))
    drawn = drawn[drawn["accuracy"].notna() & drawn["state"].isin(["pruned", "complete"]) & (drawn["cost"] > 0)]
    studies = list(table["study"].unique())
    right = max([*drawn["cost"], *filter(None, [along.budget(table)])], default=1.0)
    if expected and axis == "params" and len(studies) == 1:
        _add_expected(figure, expected)
    wider, drawn = ladder(drawn), proposed(drawn)
    n_rows = len(studies) if {*drawn["state"]} == {"pruned", "complete"} else 0
    for place, study in enumerate(studies):
        name = study if len(studies) > 1 else ""
        _add_study(figure, drawn[drawn["study"] == study], place, right, name, strip=n_rows > 0)
    places = [*drawn["cost"]]
    if len(studies) == 1:
        _add_ladder(figure, wider)
        _add_finalists(figure, drawn, summarize_finalists(finalists))
        _add_knee(figure, pareto_trials(drawn, "cost"))
    budgets = sorted({budget for _, rows in table.groupby("study") if (budget := along.budget(rows))})
    for budget in budgets:
        _add_budget(figure, budget)
    places += budgets
    if (table["data"] == table["data"].iloc[0]).all():
        places += _add_known(figure, table["data"].iloc[0], along.column, drawn)
    _lay_out(figure, places, along.title(table), accuracy_title(table), n_rows)
    ended = drawn[drawn["state"] == "complete"] if n_rows else drawn
    _zoom_to_fronts(figure, [*ended["accuracy"]])
    return figure


def _lay_out(figure: go.Figure, places: list[float], along: str, upwards: str, n_rows: int) -> None:
    """Axes, titles and margins; so many rows of pruned trials stand below the axis of accuracy."""
    lay_out(
        figure, font_size=14, height=540, margin={"l": 64, "r": 24, "t": 56, "b": 60}, hovermode="closest",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": FAINT}, dragmode="zoom",
    )  # fmt: skip
    figure.update_xaxes(title={"text": along, "standoff": 10}, type="log", **_cost_axis(places))
    strip = min(0.3, STRIP_ROW * n_rows)
    figure.update_yaxes(title={"text": upwards, "standoff": 8}, domain=[strip + 0.03 * (n_rows > 0), 1])
    if n_rows:
        figure.update_xaxes(anchor="y2")
        figure.update_layout(
            yaxis2={
                "domain": [0, strip], "range": [n_rows - 0.5, -0.5], "tickvals": [(n_rows - 1) / 2],
                "ticktext": ["pruned"], "showgrid": False, "zeroline": False, "fixedrange": True,
                "ticklabelstandoff": 5,
            }
        )  # fmt: skip


def _zoom_to_fronts(figure: go.Figure, ended: list[float]) -> None:
    """Let the axis of accuracy show the fronts and what stands above them, and count the complete trials below."""
    ends = [
        value + sign * (bars[place] or 0)
        for trace in figure.data
        if (trace.mode == "markers" and trace.yaxis != "y2" and trace.visible != "legendonly" and trace.name != ENDED)
        for sign, bars in _bars(trace)
        for place, value in enumerate(trace.y)
    ]
    low, high = accuracy_range([min(1.0, max(0.0, end)) for end in ends or ended])
    below = sum(accuracy < low for accuracy in ended)
    whole = accuracy_range([*ended, low, high])
    axis = {"range": [low, high], "tickformat": percent_ticks(low, high)}
    figure.update_layout(meta={"all": [*whole]}, yaxis=axis)
    if below:
        figure.add_annotation(
            text=f"↓ {below:,} of {len(ended):,} complete trials are below", x=0.005, y=0, xref="paper",
            yref="y domain", xanchor="left", yanchor="bottom", showarrow=False, font={"size": 12}, name="below",
        )  # fmt: skip


def _bars(trace: go.Scatter) -> list[tuple[int, Sequence[float]]]:
    """How far the error bar of each point of a trace goes down and up; nothing where it has none."""
    none, up, down = [0.0] * len(trace.y), trace.error_y.array, trace.error_y.arrayminus
    up = none if up is None else up
    return [(-1, up if down is None else down), (1, up)]


def _cost_axis(places: list[float]) -> dict[str, Any]:
    """Range and ticks of a log axis; all costs may be as good as one, where round numbers are far away."""
    low, high = min(places, default=1) / MARGIN, max(places, default=1) * MARGIN
    if high / low < NARROW:
        return {"range": [math.log10(low), math.log10(high)], "nticks": 6, "tickformat": "~s"}
    ticks = round_numbers(low * MARGIN, high / MARGIN)
    return {"tickvals": ticks, "ticktext": [*map(in_short, ticks)], "autorangeoptions": {"include": [low, high]}}


def _add_study(figure: go.Figure, trials: pd.DataFrame, place: int, right: float, name: str, *, strip: bool) -> None:
    """Its trials, pruned ones as ticks in a strip, and a step line: with so much, this accuracy was reached."""
    colour = colour_of(place)
    pruned, complete = trials[trials["state"] == "pruned"], trials[trials["state"] == "complete"]
    if not pruned.empty:
        tick = {"symbol": "line-ns-open", "size": 12, "line": {"width": 1.5}} if strip else {"size": 7}
        ticks = {"y": [place] * len(pruned), "yaxis": "y2"} if strip else {}
        _add_trials(
            figure, pruned, f"{plain(name)}, pruned" if name else "pruned",
            {**tick, "color": colour if name else FAINT}, showlegend=not strip, legendgroup=name, **ticks,
        )  # fmt: skip
    pareto = pareto_trials(trials, "cost")
    if pareto.empty:
        return
    others = complete.drop(pareto.index)
    visible = {"size": 9, "color": colour, "opacity": 0.75, "line": {"width": 1, "color": CARD}}
    bars = _error_bars(others, BAR) if len(complete) <= MOST_BARS else None
    _add_trials(
        figure, others, ENDED, visible, legendgroup=name, showlegend=not name and not others.empty, error_y=bars
    )
    figure.add_scatter(
        x=[*pareto["cost"], right], y=[*pareto["accuracy"], pareto["accuracy"].iloc[-1]], mode="lines",
        line={"shape": "hv", "color": colour, "width": 2.5}, name=plain(name) or "Pareto front", hoverinfo="skip",
        legendgroup=name,
    )  # fmt: skip
    large = {"size": 13, "color": colour, "line": {"width": 2, "color": CARD}}
    bars = _error_bars(pareto, colour)
    _add_trials(figure, pareto, "on the Pareto front", large, showlegend=False, legendgroup=name, error_y=bars)


def _error_bars(trials: pd.DataFrame, colour: str) -> dict[str, Any]:
    """Bars of the interval that so many validation images leave."""
    pairs = [*zip(trials["accuracy"], trials["validation_images"], strict=True)]
    ends = [(accuracy, *interval(accuracy, images)) for accuracy, images in pairs]
    up, down = [high - middle for middle, _, high in ends], [middle - low for middle, low, _ in ends]
    return {"array": up, "arrayminus": down, "color": colour, "thickness": 1.5, "width": 0}


def _add_expected(figure: go.Figure, expected: Sequence[ExpectedNetwork]) -> None:
    """A faint band for the 95 % interval of what the model expects, below everything else, and a dotted line in it."""
    sizes, margins = [e.params for e in expected], [DEVIATIONS * e.deviation for e in expected]
    for sign, fill in (-1, None), (1, "tonexty"):
        edge = [min(1.0, max(0.0, e.accuracy + sign * m)) for e, m in zip(expected, margins, strict=True)]
        figure.add_scatter(
            x=sizes, y=edge, mode="lines", line={"width": 0}, fill=fill, fillcolor=BAND, hoverinfo="skip",
            legendgroup="expected", showlegend=False,
        )  # fmt: skip
    figure.add_scatter(
        x=sizes, y=[e.accuracy for e in expected], mode="lines", line={"color": EXPECTED, "width": 1.5, "dash": "dot"},
        name="what the model expects of the best", legendgroup="expected", legendrank=1_001,
        text=[f"{e.accuracy:.1%} ± {margin:.1%}" for e, margin in zip(expected, margins, strict=True)],
        hovertemplate="the model expects %{text} (95 %)<br>of the best up to %{x:,} parameters<extra></extra>",
    )  # fmt: skip


def _add_trials(figure: go.Figure, trials: pd.DataFrame, name: str, marker: dict[str, Any], **more: Any) -> None:
    figure.add_scatter(
        x=[*trials["cost"]], mode="markers", name=name, marker=marker, customdata=[*map(int, trials.index)],
        text=[describe(trial) for trial in trials.to_dict("records")], hovertemplate="%{text}<extra></extra>",
        **{"y": [*trials["accuracy"]]} | more,
    )  # fmt: skip


def _add_ladder(figure: go.Figure, wider: pd.DataFrame) -> None:
    """The best networks trained again as wider proxies: triangles."""
    for proxy, trials in wider.groupby("proxy"):
        symbol: dict[str, Any] = {
            "size": 11,
            "symbol": "triangle-up",
            "color": CARD,
            "line": {"width": 2, "color": WIDER},
        }
        _add_trials(figure, trials, f"again at {width_in_words(float(str(proxy)))}", symbol)


def accuracy_title(table: pd.DataFrame) -> str:
    """What the accuracies of a table are of."""
    proxies = proposed(table)["proxy"]
    if (proxies == 1).all():
        return "accuracy on validation images"
    if len(widths := sorted({*proxies})) > 1:  # studies that are compared: the long list of widths stands elsewhere
        return "accuracy on validation images, trained at different widths"
    return f"accuracy of proxies at {factor_in_words(widths[0])} of the width, validation images"


def _add_finalists(figure: go.Figure, drawn: pd.DataFrame, finalists: Sequence[FinalistSummary]) -> None:
    """Means of the finalists' runs, with the bars that trials have; what the seeds leave stands in words."""
    known = drawn.reset_index(names="id").set_index("number")
    shown = [f for f in finalists if f.trial in known.index]
    if not shown:
        return
    images = int(drawn["validation_images"].iloc[0])
    means = pd.DataFrame({"accuracy": [f.mean for f in shown], "validation_images": images})
    figure.add_scatter(
        x=[float(known["cost"][f.trial]) for f in shown], y=[*means["accuracy"]], mode="markers",
        name="finalists, trained again", customdata=[int(known["id"][f.trial]) for f in shown],
        error_y=_error_bars(means, INK),
        marker={"size": 11, "symbol": "diamond", "color": CARD, "line": {"width": 2, "color": INK}},
        text=[_finalist_in_words(f, images) for f in shown],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _finalist_in_words(f: FinalistSummary, images: int) -> str:
    """A finalist in a few lines of plotly's markup: its accuracy, and between what the seeds leave it."""
    lines = [f"<b>{percent_with_interval(f.mean, images)}</b> · finalist {f.trial}", f"runs: {f.n_runs}"]
    if f.interval is not None:
        low, high = (percent(f.mean + sign * f.interval, images) for sign in (-1, 1))
        lines.append(f"the seeds leave {low} to {high} (95 %)")
    return "<br>".join(lines)


def _add_knee(figure: go.Figure, pareto: pd.DataFrame) -> None:
    found = knee(pareto, "cost")
    if found is not None:
        figure.add_annotation(
            x=math.log10(found["cost"]), y=found["accuracy"], text="knee", ax=-28, ay=-34, arrowcolor=FAINT,
            arrowhead=0, standoff=8, font={"size": 13},
        )  # fmt: skip


def _add_budget(figure: go.Figure, budget: float) -> None:
    line = {"color": LIMIT, "width": 1.5, "dash": "dash"}
    figure.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, yref="paper", line=line)
    figure.add_annotation(
        x=math.log10(budget), y=0.02, yref="y domain", text=f"budget {budget:,.10g}", showarrow=False, textangle=-90,
        xshift=4, xanchor="left", yanchor="bottom", font={"color": LIMIT}, name="budget",
    )  # fmt: skip


def _add_known(figure: go.Figure, data: str, column: str, drawn: pd.DataFrame) -> list[float]:
    """Published networks as stars; what is far from every trial waits in the legend. Their costs where shown."""
    known = [(k, cost) for k in known_networks(data) if (cost := getattr(k, column, None))]
    if not known or drawn.empty:
        return []
    near = drawn["accuracy"].max() > min(k.accuracy for k, _ in known) - NEAR
    near = near and drawn["cost"].max() * FAR_SHARE > min(cost for _, cost in known)
    figure.add_scatter(
        x=[cost for _, cost in known], y=[k.accuracy for k, _ in known], mode="markers",
        name="published networks (on test images)", visible=True if near else "legendonly",
        marker={"size": 13, "symbol": "star", "color": PUBLISHED},
        text=[f"<b>{k.accuracy:.2%}</b> · {k.name}<br>{k.params:,} parameters<br>{k.source}" for k, _ in known],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    return [cost for _, cost in known] if near else []


def _described_network(trial: dict[Any, Any]) -> list[str]:
    if family_values(trial):
        return [plain(network(trial))]
    return [
        f"channels {plain(trial['channels'])}",
        f"blocks {plain(trial['blocks'])} · kernels {plain(trial['kernels'])}",
        f"strides {plain(trial['strides'])} · pool {trial['pool']} · shortcut {trial['shortcut_kernel']}",
        f"{plain(trial['block'])} blocks · se_reduction {trial['se_reduction'] or 'none'} · stem {trial['stem_width']}",
        *([plain(" · ".join(words))] if (words := later_words(trial)) else []),
    ]


def describe(trial: dict[Any, Any]) -> str:
    """A trial in a few lines of plotly's markup: accuracy, cost, network."""
    ended = "" if trial["state"] == "complete" else " · pruned"
    latency = f" · {1e3 * trial['latency_s']:.3g} ms an image" if trial["latency_s"] > 0 else ""
    trained = trained_as(trial)
    lines = [
        f"<b>{percent(trial['accuracy'], trial['validation_images'])}</b> · trial {trial['number']}{ended}",
        *([f"{trained}, {trial['proxy_params']:,} parameters"] if trained else []),
        f"{trial['params']:,} parameters, {trial['macs']:,} MACs",
        *_described_network(trial),
        f"epochs {trial['epochs']} of {trial['max_epochs']} · {trial['seconds']:.0f} s{latency}",
    ]
    return "<br>".join(lines)
