"""Draw the pictures of results.md from what lies under studies/results/; needs kaleido and a browser.

python docs/result_pictures.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from results import GRIDS, RESULTS, SHAPES, grid, shape_words, studies

from nas_budget.records.statistics import interval

IMAGES = Path(__file__).with_name("images")
FIRST, SECOND, INK = "#94a3b8", "#2563eb", "#334155"
LAYOUT: dict[str, Any] = {
    "template": "plotly_white", "width": 900, "font": {"size": 14, "color": INK},
    "margin": {"l": 10, "r": 10, "t": 60, "b": 50}, "xaxis": {"title": {"font": {"size": 14}}},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False},
}  # fmt: skip


def shapes(name: str) -> go.Figure:
    """One budget spent in different ways: a dot for each network, by accuracy."""
    words = shape_words(RESULTS / name / "study.toml")
    trials = sorted((t for t in studies()[name] if t.channels in words), key=lambda t: -(t.accuracy or 0.0))
    labels = [f"{words[t.channels].partition(': ')[0]}  <b>{t.channels}</b>" for t in trials]
    accuracies = [100 * (t.accuracy or 0.0) for t in trials]
    figure = go.Figure(layout=LAYOUT | {"height": 70 + 32 * len(trials)})
    macs = [f" {accuracy:.1f} %,  {t.macs / 1e6:,.0f} M MACs" for accuracy, t in zip(accuracies, trials, strict=True)]
    figure.add_scatter(
        x=accuracies, y=labels, mode="markers+text", marker={"size": 12, "color": SECOND}, text=macs,
        textposition="middle right", showlegend=False,
    )  # fmt: skip
    figure.update_layout(margin_t=10)
    low, high = min(accuracies), max(accuracies)
    title = f"accuracy on validation images, %, of networks of {trials[0].budget_params:,} parameters"
    return figure.update_xaxes(title_text=title, range=[low - 1, high + 0.45 * (high - low)])


def recipes(size: str) -> go.Figure:
    """Networks under two recipes: two dots for each, on test images, with their 95 % intervals."""
    rows = grid(size)
    figure = go.Figure(layout=LAYOUT | {"height": 130 + 60 * len(rows)})
    labels = [f"{words}<br>{results[0].params:,} parameters" for words, results in rows.items()]
    for place, color in enumerate((FIRST, SECOND)):
        results = [row[place] for row in rows.values()]
        accuracies = [100 * (result.mean() or 0.0) for result in results]
        ends = [interval(result.mean() or 0.0, result.test_images) for result in results]
        figure.add_scatter(
            x=accuracies, y=labels, mode="markers+text", marker={"size": 14, "color": color},
            name=f"recipe {GRIDS[size][0][place]}", text=[f"{accuracy:.1f}" for accuracy in accuracies],
            textposition="top center",
            error_x={
                "array": [100 * high - accuracy for accuracy, (_, high) in zip(accuracies, ends, strict=True)],
                "arrayminus": [accuracy - 100 * low for accuracy, (low, _) in zip(accuracies, ends, strict=True)],
                "thickness": 1.5,
            },
        )  # fmt: skip
    epochs = next(iter(rows.values()))[0].recipe["epochs"]
    figure.update_xaxes(title_text=f"accuracy on CIFAR-10 test images, %, after {epochs} epochs", nticks=12)
    return figure.update_yaxes(range=[len(labels) - 0.5, -0.7], autorange=False)


def main() -> None:
    """Draw what there is."""
    for name in studies():
        if name.startswith(SHAPES):
            shapes(name).write_image(IMAGES / f"{name}.png", scale=2)
    for size in GRIDS:
        if len(grid(size)) > 1:
            recipes(size).write_image(IMAGES / f"recipes-{size}.png", scale=2)


if __name__ == "__main__":
    main()
