"""`nas-budget report`: the page of a study, from its trials table alone, or of a long run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.output import out, out_json, say, show, table
from nas_budget.run_record import RESULT, read_result


def report(
    source: Annotated[Path, typer.Argument(help="Run folder of a search or of train, or a trials.csv.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write the page.", show_default="report.html beside the table"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the front as JSON.")] = False,
) -> None:
    """Make the page of a study (accuracy against parameters, its front, every trial) or of a run of train."""
    from nas_budget.finalist_table import FINALISTS, read_finalists
    from nas_budget.report.page import write_page
    from nas_budget.report.table import front, network, read_table

    if (source / RESULT).exists():
        _report_run(source, output or source / "report.html", as_json)
        return
    trials = read_table(source)
    folder = source if source.is_dir() else source.parent
    path = output or folder / "report.html"
    write_page(trials, path, read_finalists(folder / FINALISTS))
    leading = front(trials).iloc[::-1].to_dict("records")
    if as_json:
        keys = ("number", "accuracy", "params", "macs", "seconds", "spec")
        out_json({"page": str(path), "trials": len(trials), "front": [{k: row[k] for k in keys} for row in leading]})
        return
    rows = [
        (f"{r['accuracy']:.2%}", f"{r['params']:,}", f"{r['macs']:,}", str(r["number"]), network(r)) for r in leading
    ]
    show(table(("accuracy", "params", "MACs", "trial", "network"), rows, left=(4,)))
    if not rows:
        say("no trial has been trained to the end yet")
    out(f"\npage: {path}")


def _report_run(folder: Path, path: Path, as_json: bool) -> None:
    from nas_budget.report.run_page import write_run_page

    result = read_result(folder)
    write_run_page(folder, path)
    if as_json:
        out_json({"page": str(path), "accuracy": result.mean(), "deviation": result.deviation(), "spec": result.spec})
        return
    out(f"{result.mean():.2%} on {result.test_images:,} test images with {result.params:,} parameters")
    out(f"\npage: {path}")
