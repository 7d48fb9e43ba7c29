"""One self-contained page of a training run, from its folder alone; and its confusions as a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import ModelError, NasBudgetError
from nas_budget.files import write_whole
from nas_budget.report.figures import REFERENCE
from nas_budget.report.page import PLOTLY_CONFIG
from nas_budget.report.run_figures import (
    accuracy_figure,
    architecture_figure,
    confusion_figure,
    loss_figure,
    rate_figure,
)
from nas_budget.run_record import EpochRow, RunResult, read_metrics, read_result

PAGE = "report.html"
CONFUSION = "confusion.csv"
REFERENCE_SPEC = ResNetSpec((32, 64, 96, 128, 185))
SECOND_FIGURES = {
    "flipped": "With mirror images",
    "averaged": "With averaged weights",
    "averaged_flipped": "With both",
    "held_out": "On held-out images",
}
N_CONFUSIONS = 3


def write_run_page(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run, by default into its folder, and its confusions beside its result; the page's path.

    Raises:
        ModelError: The folder holds no finished run, or a file cannot be written.
    """
    result, path = read_result(folder), path or folder / PAGE
    try:
        write_confusion(folder, result)
        write_whole(path, run_page(result, read_metrics(folder)))
    except OSError as error:
        raise ModelError(f"{error.filename or path}: cannot be written ({error.strerror or error})") from None
    return path


def write_confusion(folder: Path, result: RunResult) -> None:
    """Write `confusion.csv`: a row for each true class, a column for each class told, counts of images.

    Raises:
        OSError: It cannot be written.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true class", *result.classes])
    writer.writerows([name, *row] for name, row in zip(result.classes, result.confusion, strict=True))
    write_whole(folder / CONFUSION, text.getvalue())


def run_page(result: RunResult, metrics: Sequence[EpochRow]) -> str:
    """The page of a run as HTML; every text of it is escaped.

    Raises:
        ModelError: The result is not of a network of this family.
    """
    spec = _spec(result)
    metrics = [row for row in metrics if row.seed in {seed.seed for seed in result.seeds}]
    paper = paper_curves() if is_reference(result) else []
    drawn = _figures(result, spec, metrics, paper)
    figures = {name: _html(figure, name, first=not i) for i, (name, figure) in enumerate(drawn)}
    template = files("nas_budget.report").joinpath("run.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count="{:,.0f}".format, percent="{:.2%}".format, time=_time)
    style = files("nas_budget.report").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        result=result, spec=spec, parts=cost(spec).parts, figures=figures,
        second=list(_second_figures(result)), facts=list(_facts(result)), recipe=list(_recipe(result.recipe)),
        paper=REFERENCE if paper else None, confusions=_confusions_in_words(result),
        seconds=sum(seed.seconds for seed in result.seeds), mistakes=[_named(m, result) for m in result.mistakes],
        style=style[style.index("<style>") + len("<style>") : style.index("</style>")],
    )  # fmt: skip


def is_reference(result: RunResult) -> bool:
    """Whether it is the reference paper's network, up to dropout, on its data and by its recipe."""
    same = replace(_spec(result), dropout=REFERENCE_SPEC.dropout) == REFERENCE_SPEC
    return same and result.data == REFERENCE["data"] and result.recipe.get("name") == "paper"


def paper_curves() -> list[EpochRow]:
    """The 150 epochs of the reference paper; the learning rate is the mean of each epoch."""
    lines = files("nas_budget.report").joinpath("paper_curves.csv").read_text(encoding="utf-8").splitlines()
    return [
        EpochRow(
            seed=0,
            epoch=int(row["epoch"]),
            train_loss=float(row["train_loss"]),
            accuracy=float(row["valid_accuracy_percent"]) / 100,
            held_out_loss=None,
            averaged_accuracy=None,
            learning_rate=float(row["mean_learning_rate"]),
            seconds=0.0,
        )
        for row in csv.DictReader(lines)
    ]


def confusions(result: RunResult) -> list[tuple[int, str, str, int]]:
    """Mistakes by kind, the most frequent first, as (count, true class, class told, images of the true class)."""
    names = result.classes
    kinds = [
        (n, names[i], names[j], sum(row))
        for i, row in enumerate(result.confusion)
        for j, n in enumerate(row)
        if n and i != j
    ]
    return sorted(kinds, key=lambda kind: -kind[0])


def _confusions_in_words(result: RunResult) -> str:
    most = [f"{a} told as {b} ({n:,} of {total:,})" for n, a, b, total in confusions(result)[:N_CONFUSIONS]]
    return f"Most frequent: {'; '.join(most)}." if most else "No test image was told wrong."


def _spec(result: RunResult) -> ResNetSpec:
    try:
        return ResNetSpec.from_dict(result.spec)
    except (NasBudgetError, TypeError) as error:
        raise ModelError(f"the network of {result.name} cannot be read ({error})") from None


def _figures(
    result: RunResult, spec: ResNetSpec, metrics: Sequence[EpochRow], paper: Sequence[EpochRow]
) -> Iterable[tuple[str, go.Figure]]:
    """The figures by name, in the order of the page."""
    if metrics:
        yield "loss", loss_figure(metrics, paper)
    if any(row.accuracy is not None for row in metrics):
        yield "accuracy", accuracy_figure(metrics, paper)
    if metrics:
        yield "rate", rate_figure(metrics, paper)
    yield "architecture", architecture_figure(spec)
    yield "confusion", confusion_figure(result)


def _html(figure: go.Figure, name: str, first: bool) -> str:
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=first, div_id=name, config=PLOTLY_CONFIG | {"displayModeBar": False},
        default_height=f"{figure.layout.height}px",
    )  # fmt: skip
    return html


def _second_figures(result: RunResult) -> Iterable[tuple[str, str, float, float | None]]:
    for name, words in SECOND_FIGURES.items():
        if (mean := result.mean(name)) is not None:
            yield name, words, mean, result.deviation(name)


def _facts(result: RunResult) -> Iterable[tuple[str, str]]:
    yield "Device", result.device
    yield "Precision", result.precision
    yield "Deterministic algorithms only", "yes" if result.deterministic else "no"
    yield "Versions", result.versions
    held_out = f"{result.held_out:,} held out" if result.held_out else "none held out"
    yield "Data", f"{result.data}: {result.images:,} images trained on, {held_out}, {result.test_images:,} to test"
    yield "Digest of the data", result.data_digest
    if result.batches > 1:
        yield "Each batch computed in", f"{result.batches} parts, as memory did not suffice"
    if repeated := sum(seed.repeated_seconds for seed in result.seeds):
        yield "Repeated after interruptions", _time(repeated)
    yield "Finished", result.finished


def _recipe(recipe: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in recipe.items():
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        yield name.replace("_", " ").capitalize(), f"{shown:g}" if isinstance(shown, float) else str(shown)


def _named(mistake: dict[str, Any], result: RunResult) -> dict[str, Any]:
    return mistake | {name: result.classes[mistake[name]] for name in ("truth", "told")}


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
