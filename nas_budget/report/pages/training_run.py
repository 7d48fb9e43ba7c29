"""One self-contained page of a training run, from its folder alone; and its confusions as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import plotly.graph_objects as go

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import AnySpec, ResNetSpec, spec_from_dict
from nas_budget.errors import ModelError, NasBudgetError, StorageError
from nas_budget.records.atomic_write import write_csv, write_whole
from nas_budget.records.formatting import duration
from nas_budget.records.paths import CONFUSION_TABLE, MISTAKES, PAGE
from nas_budget.records.training_run import EpochRow, RunResult, read_metrics, read_result
from nas_budget.report.figures.training_run import (
    accuracy_figure,
    architecture_figure,
    confusion_figure,
    loss_figure,
    rate_figure,
)
from nas_budget.report.pages.next_steps import export_command
from nas_budget.report.pages.templates import json_in_html, plotly_script, render
from nas_budget.report.pages.thumbnails import MOST_PIXELS, read_thumbnails
from nas_budget.report.tables.known import reference
from nas_budget.report.tables.paper import differences, differences_in_words, is_papers_network, paper_curves
from nas_budget.report.tables.per_class import (
    class_accuracies,
    classes_in_words,
    confusions_in_words,
    drawn_range,
    share_of_all,
)

SECOND_FIGURES = {
    "flipped": "With mirror images",
    "ema": "With EMA weights",
    "ema_flipped": "With both",
    "validation_accuracy": "On validation images",
}


def write_run_page(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run, by default into its folder, and its confusions beside its result; the page's path.

    Raises:
        ModelError: The folder holds no finished run.
        StorageError: A file cannot be written.
    """
    result, path = read_result(folder), path or folder / PAGE
    try:
        write_confusion(folder, result)
        write_whole(path, run_page(result, read_metrics(folder), folder))
    except OSError as error:
        raise StorageError(f"{error.filename or path}: cannot be written ({error.strerror or error})") from None
    return path


def write_confusion(folder: Path, result: RunResult) -> None:
    """Write `confusion.csv`: a row for each true class, a column for each predicted class, counts of images.

    Raises:
        OSError: It cannot be written.
    """
    rows = ([name, *row] for name, row in zip(result.classes, result.confusion, strict=True))
    write_csv(folder / CONFUSION_TABLE, ["true class", *result.classes], rows)


def run_page(result: RunResult, metrics: Sequence[EpochRow], folder: Path | None = None) -> str:
    """The page of a run as HTML; every text of it is escaped.

    Args:
        result: How it ended.
        metrics: Its epochs; those of seeds that have not ended are left out.
        folder: Where it lies, for its images and the commands that take it; None for a page without.

    Raises:
        ModelError: Its network cannot be read.
    """
    spec, figures, classes = _spec(result), _figures(result, metrics), class_accuracies(result)
    as_paper = is_papers_network(result, spec)
    return render(
        "run.html", scripts=["common.js", "figures.js"], result=result, spec=spec, used=cost(spec), figures=figures,
        second=_second_figures(result), margins=list(_margins(result)), facts=list(_facts(result)),
        recipe=list(_recipe(result.recipe)),
        paper=reference() if as_paper else None, unlike=differences_in_words(differences(result) if as_paper else []),
        confusions=confusions_in_words(result), classes=classes, in_words=classes_in_words(classes),
        drawn=drawn_range(classes), of_all=share_of_all(classes), seconds=sum(seed.seconds for seed in result.seeds),
        mistakes=[_named(mistake, result) for mistake in result.mistakes], side=min(spec.image_size, MOST_PIXELS),
        thumbnails=read_thumbnails(folder / MISTAKES, len(result.mistakes), spec.image_size) if folder else [],
        commands=commands(folder, spec) if folder else [],
        data=json_in_html({"name": result.name, "figures": figures}), plotly=plotly_script(),
    )  # fmt: skip


def figures_of_run(folder: Path) -> dict[str, go.Figure]:
    """The figures of a run by name, in the order of its page.

    Raises:
        ModelError: The folder holds no finished run.
    """
    return _figures(read_result(folder), read_metrics(folder))


def commands(folder: Path, spec: AnySpec) -> list[str]:
    """What can be done with a run, as lines of a shell."""
    return [f"nas-budget evaluate {quote(str(folder))}", export_command(folder, spec)]


def _spec(result: RunResult) -> AnySpec:
    try:
        return spec_from_dict(result.spec)
    except (NasBudgetError, TypeError) as error:
        raise ModelError(f"the network of {result.name} cannot be read ({error})") from None


def _figures(result: RunResult, metrics: Sequence[EpochRow]) -> dict[str, go.Figure]:
    spec = _spec(result)
    ended = {seed.seed for seed in result.seeds}
    metrics = [row for row in metrics if row.seed in ended]
    paper = paper_curves() if is_papers_network(result, spec) and not differences(result) else []
    figures = {}
    if metrics:
        figures["loss"] = loss_figure(metrics, paper)
    if any(row.accuracy is not None for row in metrics):
        figures["accuracy"] = accuracy_figure(metrics, paper, result.validation_images)
    if metrics:
        figures["rate"] = rate_figure(metrics, paper)
    if isinstance(spec, ResNetSpec):  # of other networks no layers are known
        figures["architecture"] = architecture_figure(spec)
    return {**figures, "confusion": confusion_figure(result)}


def _second_figures(result: RunResult) -> list[tuple[str, str]]:
    return [(name, words) for name, words in SECOND_FIGURES.items() if result.mean(name) is not None]


def _margins(result: RunResult) -> Iterable[str]:
    """By how much the network keeps, or passes, each limit that it was trained under."""
    for m in result.verdict.margins if result.verdict else ():
        limit = m.number(m.limit)
        left = f"{m.number(m.margin)} of {limit}" if m.margin >= 0 else f"{m.number(-m.margin)} over {limit}"
        yield f"{left} {m.words}{' to spare' if m.margin >= 0 else ''}"


def _facts(result: RunResult) -> Iterable[tuple[str, str]]:
    if result.limits is not None:
        yield "Limits", str(result.limits)
    yield "Device", result.device
    yield "Precision", result.precision
    yield "Deterministic algorithms only", "yes" if result.deterministic else "no"
    yield "Versions", result.versions
    validated = f"{result.validation_images:,}" if result.validation_images else "none"
    images = f"{result.images:,} images trained on, {validated} for validation, {result.test_images:,} to test"
    yield "Data", f"{result.data}: {images}"
    yield "Digest of the data", result.data_digest
    if result.micro_batches > 1:
        yield "Micro-batches", f"{result.micro_batches} for each batch, as memory did not suffice"
    if repeated := sum(seed.repeated_seconds for seed in result.seeds):
        yield "Repeated after interruptions", duration(repeated)
    yield "Finished", result.finished


def _recipe(recipe: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in recipe.items():
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        yield name.replace("_", " ").capitalize(), f"{shown:g}" if isinstance(shown, float) else str(shown)


def _named(mistake: dict[str, Any], result: RunResult) -> dict[str, Any]:
    return mistake | {name: result.classes[mistake[name]] for name in ("truth", "predicted")}
