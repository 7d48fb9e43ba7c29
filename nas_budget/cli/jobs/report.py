"""What `nas-budget report` does, and the page that a search or a training leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas_budget.cli.console.output import log, out, out_json, show, table
from nas_budget.records.formatting import factor_in_words, percent
from nas_budget.records.paths import COMPARISON_PAGE, PAGE, RESULT
from nas_budget.records.run_folder import RUN, is_file, kind_of
from nas_budget.records.training_run import read_result
from nas_budget.records.trials import pareto_front_of, proposed_of
from nas_budget.report.figures.write_image import write_image
from nas_budget.report.pages import study, training_run
from nas_budget.report.pages.page_data import figures_of_studies
from nas_budget.report.tables.studies import read_studies
from nas_budget.report.tables.trials import network


def report_image(sources: Sequence[Path], path: Path, name: str) -> None:
    """Write a figure of studies or of one full training, the first unless it is named, as an image."""
    is_run = is_file(sources[0] / RESULT)
    figures = training_run.figures_of_run(sources[0]) if is_run else figures_of_studies(read_studies(sources))
    write_image(figures, name or next(iter(figures)), path)
    out(f"image: {path}")


def report_studies(sources: Sequence[Path], output: Path | None, as_json: bool, quiet: bool) -> None:
    """Write the page of studies and print their Pareto fronts."""
    studies = read_studies(sources)
    folder = sources[0] if sources[0].is_dir() else sources[0].parent
    path = output or (folder / PAGE if len(studies) == 1 else Path(COMPARISON_PAGE))
    study.write_page(studies, path)
    for one in studies:
        if one.problem:
            log(one.problem)
    leading = [asdict(r) | {"study": one.name} for one in studies for r in reversed(pareto_front_of(one.records))]
    if as_json:
        keys = ("study", "number", "accuracy", "proxy", "params", "macs", "seconds", "spec")
        front = [{key: row[key] for key in keys} for row in leading]
        out_json(
            {"page": str(path), "trials": sum(len(proposed_of(study.records)) for study in studies), "front": front}
        )
        return
    name = "{study} {number}" if len(studies) > 1 else "{number}"
    rows = [(_accuracy(r), f"{r['params']:,}", f"{r['macs']:,}", name.format(**r), network(r)) for r in leading]
    if not quiet:
        show(table(("accuracy", "params", "MACs", "trial", "network"), rows, left=(4,)))
        if not rows:
            log("no trial has been trained to the end yet")
    out(f"page: {path}" if quiet else f"\npage: {path}")


def _accuracy(row: Mapping[str, Any]) -> str:
    """The accuracy, and at which share of the width where it is a proxy's."""
    return percent(row["accuracy"], row["validation_images"]) + (
        f" at {factor_in_words(row['proxy'])}" if row["proxy"] < 1 else ""
    )


def report_run(folder: Path, output: Path | None, as_json: bool, quiet: bool) -> None:
    """Write the page of a full training and print its accuracy."""
    result = read_result(folder)
    path = training_run.write_run_page(folder, output)
    if as_json:
        out_json({"page": str(path), "accuracy": result.mean(), "deviation": result.deviation(), "spec": result.spec})
        return
    if not quiet:
        out(f"{result.in_words()} (95 %) on {result.test_images:,} test images with {result.params:,} parameters\n")
    out(f"page: {path}")


def try_to_write_page(folder: Path) -> bool:
    """Whether the page of a run folder was written; one that fails does not undo the work, and is a message."""
    try:
        if kind_of(folder) == RUN:
            training_run.write_run_page(folder)
        else:
            study.write_page(read_studies([folder]), folder / PAGE)
    except (Exception, KeyboardInterrupt) as error:
        reason = f"{type(error).__name__}: {error}"
        log(f"the page was not written ({reason}); make it with nas-budget report {folder}")
        return False
    return True
