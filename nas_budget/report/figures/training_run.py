"""The figures of one training run, as plotly objects that can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from statistics import fmean

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from nas_budget.arch.cost import PartCost, cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.formatting import in_short, percent_format
from nas_budget.records.training_run import EpochRow, RunResult
from nas_budget.report.figures.style import ACCENT, EMA, MACS, PUBLISHED, accuracy_range, lay_out, percent_ticks, plain

RIGHT = [[0, "#eff6ff"], [1, "#1d4ed8"]]
WRONG = [[0, "#fff7ed"], [1, "#c2410c"]]
MOST_CARDS = 6
MOST_TEXTS = 20
LONGEST_NAME = 16
EARLY_SHARE = 0.1
MANY_IMAGES = 10_000


def loss_figure(metrics: Sequence[EpochRow], paper: Sequence[EpochRow] = ()) -> go.Figure:
    """Draw training loss against epochs, a line for each seed; on a log axis where it falls more than tenfold."""
    figure = _over_epochs(metrics, paper, {"training loss": "train_loss"}, ".4f")
    losses = [row.train_loss for row in [*metrics, *paper] if isfinite(row.train_loss) and row.train_loss > 0]
    figure.update_yaxes(title_text="mean cross-entropy")
    if losses and max(losses) > 10 * min(losses):
        figure.update_yaxes(type="log", dtick="D2", tickformat="~g", title_text="mean cross-entropy, log scale")
    return figure


def accuracy_figure(
    metrics: Sequence[EpochRow], paper: Sequence[EpochRow] = (), images: int = MANY_IMAGES
) -> go.Figure:
    """Draw accuracy on so many validation images against epochs, and that of EMA weights where there are any."""
    values = {"last weights": "accuracy"}
    if any(row.ema_accuracy is not None for row in metrics):
        values["EMA weights"] = "ema_accuracy"
    figure = _over_epochs(metrics, paper, values, percent_format(images))
    # Of a full training the first epochs would take most of the height: their lines come in from below.
    rows = [*metrics, *paper]
    late = [row for row in rows if row.epoch > EARLY_SHARE * max(row.epoch for row in rows)]
    shown = [_number(row, field) for row in late for field in ("accuracy", "ema_accuracy")]
    low, high = accuracy_range([value for value in shown if isfinite(value)])
    tickformat = percent_ticks(low, high)
    return figure.update_yaxes(title_text="accuracy", tickformat=tickformat, range=[low, high])


def rate_figure(metrics: Sequence[EpochRow], paper: Sequence[EpochRow] = ()) -> go.Figure:
    """Draw the learning rate at the last step of each epoch."""
    figure = _over_epochs(metrics, paper, {"learning rate": "learning_rate"}, ".3g", height=260)
    return figure.update_yaxes(title_text="learning rate", rangemode="tozero", tickformat="~g")


def _over_epochs(
    metrics: Sequence[EpochRow], paper: Sequence[EpochRow], values: dict[str, str], number: str, **layout: object
) -> go.Figure:
    """A figure of values against epochs, each with its name and a colour of its own; the paper's is the first value."""
    figure = go.Figure()
    if paper:
        field = next(iter(values.values()))
        figure.add_scatter(
            x=[row.epoch for row in paper], y=[_number(row, field) for row in paper], mode="lines", name="the paper",
            line={"color": PUBLISHED, "width": 1.5}, hovertemplate=f"%{{y:{number}}}",
        )  # fmt: skip
    for (name, field), colour in zip(values.items(), (ACCENT, EMA), strict=False):
        _add_seeds(figure, metrics, field, name, colour, number)
    epochs = sorted({epoch for trace in figure.data for epoch in trace.x})
    few = {"tickvals": epochs} if len(epochs) < 9 else {}
    figure.update_xaxes(title={"text": "epoch", "standoff": 8}, tickformat="d", nticks=9, **few)
    _style(figure, hovermode="x unified", **layout)
    return figure


def _add_seeds(figure: go.Figure, metrics: Sequence[EpochRow], field: str, name: str, colour: str, number: str) -> None:
    """A thin line for each seed and a bold one for their mean; one bold line where there is one seed."""
    lines: dict[int, dict[int, float]] = {}
    for row in metrics:
        lines.setdefault(row.seed, {})[row.epoch] = _number(row, field)
    for seed, line in lines.items():
        if len(lines) > 1:
            figure.add_scatter(
                x=[*line], y=[*line.values()], mode=_mode(line), name=f"seed {seed}, {name}", showlegend=False,
                line={"color": colour, "width": 1}, opacity=0.45, hovertemplate=f"%{{y:{number}}}",
            )  # fmt: skip
    together = sorted(set.intersection(*map(set, lines.values()))) if lines else []
    means = [fmean(line[epoch] for line in lines.values()) for epoch in together]
    figure.add_scatter(
        x=together, y=means, mode=_mode(together), name=f"{name}, mean" if len(lines) > 1 else name,
        line={"color": colour, "width": 2.5}, hovertemplate=f"<b>%{{y:{number}}}</b>",
    )  # fmt: skip


def _number(row: EpochRow, field: str) -> float:
    """A field of an epoch; what is no number leaves a gap."""
    value: float | None = getattr(row, field)
    return value if value is not None and isfinite(value) else nan


def _mode(points: Sequence[int] | dict[int, float]) -> str:
    return "lines" if len(points) > 1 else "markers"  # a line of one point cannot be seen


def architecture_figure(spec: ResNetSpec) -> go.Figure:
    """Draw the network from left to right: its maps to scale, and below them the share of parameters and of MACs."""
    parts = cost(spec).parts
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.5, 0.25, 0.25], vertical_spacing=0.12)
    _add_maps(figure, spec, parts)
    for row, (name, words, colour) in enumerate((("params", "parameters", ACCENT), ("macs", "MACs", MACS)), start=2):
        values = [getattr(part, name) for part in parts]
        figure.add_bar(
            x=[*range(len(parts))], y=[value / sum(values) for value in values], row=row, col=1, width=0.62,
            marker={"color": colour}, text=[in_short(value) for value in values], textposition="outside",
            textangle=0, cliponaxis=False, constraintext="none",
            customdata=[[part.name, value] for part, value in zip(parts, values, strict=True)],
            hovertemplate=f"%{{customdata[0]}}: %{{customdata[1]:,}} {words}, %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
        figure.update_yaxes(range=[0, 1.25 * max(values) / sum(values)], visible=False, row=row, col=1)
    _style(figure, height=470, showlegend=False, barmode="overlay", margin={"l": 8, "r": 8, "t": 26, "b": 34})
    for place, words in enumerate(("maps, to scale", "parameters", "MACs of one image"), start=1):
        axis = "" if place == 1 else place
        figure.add_annotation(
            text=f"<b>{words}</b>", x=0, y=1, xref="paper", yref=f"y{axis} domain", xanchor="left",
            yanchor="bottom", showarrow=False, yshift=4,
        )  # fmt: skip
    names = [part.name.replace(" ", "<br>") for part in parts]
    figure.update_xaxes(range=[-0.5, len(parts) - 0.5], showgrid=False, zeroline=False, showticklabels=False, ticks="")
    figure.update_xaxes(tickvals=[*range(len(parts))], ticktext=names, showticklabels=True, tickangle=0, row=3)
    return figure


def _add_maps(figure: go.Figure, spec: ResNetSpec, parts: Sequence[PartCost]) -> None:
    """A box as high as the map and as wide as it has channels, and one behind it for each further block."""
    high, wide = max(part.out_shape[1] for part in parts), max(part.out_shape[0] for part in parts)
    blocks = [1, *spec.blocks, 1]
    for card in reversed(range(min(MOST_CARDS, max(blocks)))):
        drawn = [place for place, n in enumerate(blocks) if n > card]
        figure.add_bar(
            x=[place + 0.045 * card for place in drawn], base=[-parts[p].out_shape[1] / 2 + 0.6 * card for p in drawn],
            y=[parts[place].out_shape[1] for place in drawn],
            width=[0.62 * parts[place].out_shape[0] / wide for place in drawn], row=1, col=1,
            marker={"color": ACCENT, "opacity": 0.45 if card else 1, "line": {"color": ACCENT, "width": 1}},
            hovertext=[_part_in_words(parts[place], blocks[place]) for place in drawn],
            hovertemplate="%{hovertext}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[*range(len(parts))], y=[-high * 0.56] * len(parts), mode="text", textposition="bottom center", row=1, col=1,
        text=[f"{part.out_shape[0]}<br>{part.out_shape[1]}×{part.out_shape[2]}" for part in parts], hoverinfo="skip",
    )  # fmt: skip
    figure.update_yaxes(range=[-0.95 * high, 0.65 * high], visible=False, row=1, col=1)


def _part_in_words(part: PartCost, blocks: int) -> str:
    channels, height, width = part.out_shape
    times = f", {blocks} blocks" if part.name.startswith("stage") else ""
    return f"<b>{part.name}</b>{times}<br>{channels} channels of {height}×{width}"


def confusion_figure(result: RunResult) -> go.Figure:
    """Draw the confusion matrix: in per cent of each true class (row), the images predicted as each class (column)."""
    n, figure = len(result.classes), go.Figure()
    counts, diagonal = np.array(result.confusion, dtype=float), np.eye(n, dtype=bool)
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    # The right ones and the mistakes have a scale each: on one scale the mistakes would all be pale.
    for name, scale in ("wrong", WRONG), ("right", RIGHT):
        cells = np.where((diagonal == (name == "right")) & (diagonal | (counts > 0)), shares, nan)
        most = 100.0 if name == "right" else float(np.nan_to_num(cells).max()) or 1.0
        figure.add_heatmap(
            z=cells.tolist(), zmin=0, zmax=most, colorscale=scale, showscale=False, xgap=1, ygap=1,
            customdata=_cells_in_words(result, np.isfinite(cells)), hoverongaps=False, name=name, textfont={"size": 12},
            hovertemplate="%{customdata}<br>%{z:.2f} %<extra></extra>",
            texttemplate="%{z:.1f}" if n <= MOST_TEXTS else None,
        )  # fmt: skip
    step = -(-n // MOST_TEXTS)
    ticks = {"tickvals": [*range(0, n, step)], "ticktext": [_short_name(name) for name in result.classes[::step]]}
    common = {"automargin": True, "showgrid": False, "zeroline": False, **ticks}
    figure.update_xaxes(title={"text": "predicted", "standoff": 8}, range=[-0.5, n - 0.5], **common)
    figure.update_yaxes(title={"text": "true class", "standoff": 8}, range=[n - 0.5, -0.5], **common)
    _style(figure, height=max(300, min(700, 160 + 44 * n)), margin={"l": 8, "r": 8, "t": 8, "b": 8}, showlegend=False)
    return figure


def _cells_in_words(result: RunResult, shown: NDArray[np.bool_]) -> list[list[str]]:
    names, words = [*map(plain, result.classes)], [[""] * len(shown) for _ in shown]
    for i, j in np.argwhere(shown):
        count, total = result.confusion[i][j], sum(result.confusion[i])
        words[i][j] = f"<b>{names[i]}</b> predicted as <b>{names[j]}</b>:<br>{count:,} of {total:,}"
    return words


def _short_name(name: str) -> str:
    return plain(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")


def _style(figure: go.Figure, **layout: object) -> None:
    n_named = sum(trace.showlegend is not False for trace in figure.data)
    usual = {"margin": {"l": 60, "r": 16, "t": 4, "b": 40}, "height": 360, "showlegend": n_named > 1}
    lay_out(figure, legend_itemclick=False, **usual | layout)
    # Ticks that are not seen keep the figures off the lines, and off each other in the corner.
    room = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}
    figure.update_xaxes(**room)
    figure.update_yaxes(title_standoff=8, automargin=True, **room)
