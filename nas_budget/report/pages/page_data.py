"""Page data: what the scripts of a page work on (the table by columns, texts for each trial, and the figures)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nas_budget.records.formatting import decimals
from nas_budget.records.trials import COLUMNS
from nas_budget.report.figures.axes import known_axes
from nas_budget.report.figures.cost_shares import image_of, part_costs, shares_figure
from nas_budget.report.figures.curves import METRICS, curves_figure, drawn_curves
from nas_budget.report.figures.importance import importance_figure, parallel_figure, slice_figures
from nas_budget.report.figures.predictions import predicted_trials, predictions_figure
from nas_budget.report.figures.progress import OVER, progress_figure
from nas_budget.report.figures.style import SCALE, STUDIES
from nas_budget.report.figures.timeline import ledger_figure, timeline_figure
from nas_budget.report.figures.tradeoff import describe, tradeoff
from nas_budget.report.pages.next_steps import count_command, train_command
from nas_budget.report.pages.templates import json_in_html
from nas_budget.report.tables.importance import importance
from nas_budget.report.tables.studies import StudyTable, together
from nas_budget.report.tables.trials import complete, family_values, later_fields, network, pareto_trials

RECIPE = {"optimizer": "", "learning_rate": "learning rate ", "weight_decay": "weight decay ", "batch_size": "batch "}
N_BEST = 10
N_SLICES = 6


def page_data(studies: Sequence[StudyTable], table: pd.DataFrame, figures: dict[str, go.Figure]) -> str:
    """All that the scripts need, as JSON that is safe inside a script element.

    Args:
        studies: Of the page.
        table: Their trials together; the index of a row is its trial's id on the page.
        figures: By the ids of their places.
    """
    hover = [describe(row) if row["accuracy"] == row["accuracy"] else "" for row in table.to_dict("records")]
    values = {
        "name": " and ".join(study.name for study in studies),
        "palette": [light for light, _ in STUDIES],
        "scale": SCALE,
        "columns": {name: _column(table[name]) for name in COLUMNS} | _dimensions(table),
        "dimensions": [*_dimensions(table)],
        "decimals": [decimals(int(images)) for images in table["validation_images"]],
        "hover": hover,
        "network": [network(row) for row in table.to_dict("records")],
        "later": [later_fields(row) for row in table.to_dict("records")],
        "recipe": _recipes(table),
        "pareto_front": [*map(int, _pareto_fronts(table).index)],
        "commands": _commands(studies),
        "cost_shares": [*_cost_shares(table).values()],
        "image": [_image(spec) for spec in table.groupby("study", sort=False)["spec"].first()],
        "studies": [study.name for study in studies],
        "best": _best(studies),
        "figures": {name: slim(figure, hover) for name, figure in figures.items()},
    }
    return json_in_html(values)


def _dimensions(table: pd.DataFrame) -> dict[str, Any]:
    """The dimensions of families of the user's own as columns; a residual network has none of these values.

    One of the name of a column that such a family leaves empty, such as "depth", takes its place.
    """
    found = pd.DataFrame([*map(family_values, table.to_dict("records"))], index=table.index)
    return {str(name): _column(found[name]) for name in found}


def _column(values: pd.Series[Any]) -> Any:
    """The values of a column; one value for all where they are the same."""
    kept = values.astype(object).where(values.notna(), None).tolist()
    return {"all": kept[0]} if all(value == kept[0] for value in kept) else kept


def _recipes(table: pd.DataFrame) -> list[str]:
    """What of the recipe differs between trials, in words, for each of them."""
    varied = [name for name in RECIPE if table[name].nunique() > 1]
    return [", ".join(f"{RECIPE[name]}{row[name]}" for name in varied) for row in table.to_dict("records")]


def _pareto_fronts(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([pareto_trials(rows) for _, rows in table.groupby("study", sort=False)])


def _commands(studies: Sequence[StudyTable]) -> list[list[str]]:
    """The commands that train and count the network of each trial."""
    return [
        [train_command(row["spec"], row["data"], study.folder, row["number"]), count_command(row["spec"])]
        for study in studies
        for row in study.table.to_dict("records")
    ]


def _cost_shares(table: pd.DataFrame) -> dict[int, list[list[int]]]:
    """Params and MACs of stem, stages and head of each trial by its id; empty lists where they are not known."""
    found: dict[int, list[list[int]]] = {int(i): [] for i in table.index}
    for _, rows in table.groupby("study", sort=False):
        counted = part_costs(rows)
        if counted is not None:
            for row, (i, n) in enumerate(zip(rows.index, rows["channels"].str.count("-"), strict=True)):
                places = [*range(n + 2), -1]
                found[i] = [counted[name][row, places].tolist() for name in ("params", "macs")]
    return found


def _image(spec: str) -> dict[str, int] | None:
    try:
        return image_of(spec)
    except (ValueError, TypeError, AttributeError):
        return None


def _best(studies: Sequence[StudyTable]) -> int | None:
    """The id of the trial that is shown first: the best of the study that trained widest and is best."""
    found, before = [], 0
    for study in studies:
        if best := study.best_network:
            found.append((float(best.trial["proxy"]), best.accuracy, before + int(str(best.trial.name))))
        before += len(study.table)
    if not found:
        known = together(studies)["accuracy"].dropna()
        return int(str(known.idxmax())) if len(known) else None
    return max(found)[-1]


def figures_of_studies(studies: Sequence[StudyTable]) -> dict[str, go.Figure]:
    """Every figure of the page of studies by the name of its place, as plotly objects one can change."""
    table = together(studies)
    only = (studies[0].finalists, studies[0].expected) if len(studies) == 1 else ()
    figures = {f"tradeoff-{name}": tradeoff(table, name, *only) for name in known_axes(table)}
    if len(complete(table)):
        figures |= {f"progress-{over}": progress_figure(table, over) for over in OVER}
    if len(predicted_trials(table)):
        figures["predictions"] = predictions_figure(table)
    drawn = [metric for metric in METRICS if len(drawn_curves(table, metric))]
    figures |= {f"curves-{metric}": curves_figure(table, metric) for metric in drawn}
    if any(len(importance(rows)) for _, rows in table.groupby("study")):
        figures |= {"importance": importance_figure(table), "parallel": parallel_figure(table)}
        slices = slice_figures(table, N_SLICES)
        figures |= {f"slice-{words.replace(' ', '-')}": figure for words, figure in slices.items()}
    best = complete(table).nlargest(N_BEST, "accuracy")
    shares = _cost_shares(best)
    if len(best) and all(shares.values()):
        most = max(len(params) for params, _ in shares.values())
        for place, (name, words) in enumerate((("params", "parameters"), ("macs", "MACs"))):
            counts = np.array([_stretched(shares[i][place], most) for i in best.index])
            figures[f"shares-{name}"] = shares_figure(best, counts, words)
    figures["ledger"] = ledger_figure({study.name: study.ledger for study in studies})
    if timeline := timeline_figure(table, {study.name: study.workers for study in studies}):
        figures["timeline"] = timeline
    return figures


def _stretched(counts: list[int], most: int) -> list[int]:
    return [*counts[:-1], *[0] * (most - len(counts)), counts[-1]]


def slim(figure: go.Figure, hover: Sequence[str]) -> dict[str, Any]:
    """A figure as plain values; texts of trials that `hover` holds are left out, and marked to be put in again."""
    plain: dict[str, Any] = figure.to_plotly_json()
    for trace in plain["data"]:
        ids, texts = trace.get("customdata"), trace.get("text")
        if ids is not None and texts is not None and [*texts] == [hover[i] for i in ids]:
            del trace["text"]
            trace["meta"] = "hover"
    return plain
