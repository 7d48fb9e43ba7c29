"""`nas-budget report`: the page of studies, from their trials tables alone, or of a full training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.console.output import log, out, out_json, show, table
from nas_budget.cli.options.completion import RUNS, complete_folder
from nas_budget.errors import UsageError
from nas_budget.records.paths import COMPARISON_PAGE, PAGE, RESULT
from nas_budget.records.run_folder import RUN, is_file, kind_of
from nas_budget.records.training_run import read_result


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Run folder of a search or of train, or a trials.csv; several studies are compared.",
            autocompletion=complete_folder, metavar="SOURCE",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write the page.", show_default="report.html beside the table"),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Write a figure as an image instead (svg, png, pdf); needs the extra images and a browser."),
    ] = None,
    figure: Annotated[
        str, typer.Option(help="Which figure, such as tradeoff-macs, curves, or loss of a run.", show_default="first")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Serve the page here, updated while a study runs.")] = False,
    port: Annotated[int, typer.Option(help="With --watch: 0 takes any that is free.", min=0, max=65_535)] = 8081,
    no_open: Annotated[bool, typer.Option("--no-open", help="With --watch: open no browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the Pareto front as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no table, only where the page is.")] = False,
) -> None:  # fmt: skip
    """Make the page of a study or of a run of train, or compare several studies on one page."""
    sources = [*map(_found, sources)]
    runs = [source for source in sources if is_file(source / RESULT)]
    if runs and len(sources) > 1:
        raise UsageError(f"{runs[0]}: a run of train has a page of its own; compare studies of search only")
    if watch and (as_json or image or output):
        raise UsageError("--watch serves the page and writes nothing; give it without --json, --image and --output")
    if image and (as_json or output):
        raise UsageError("--image writes an image and nothing else; give it without --json and --output")
    if figure and not image:
        raise UsageError("--figure goes with --image, such as --image front.svg")
    if watch:
        from nas_budget.cli.serve.watch import watch as serve

        if runs:
            raise UsageError(f"{runs[0]}: --watch follows studies of search; this is a finished run of train")
        serve(sources, port, browser=not no_open)
    elif image:
        _write_image(sources, runs, image, figure)
    elif runs:
        _report_run(runs[0], output or runs[0] / PAGE, as_json, quiet)
    else:
        _report_studies(sources, output, as_json, quiet)


def _found(source: Path) -> Path:
    """A source as it is, or the run folder of this name in `runs`.

    Raises:
        UsageError: It is a run of train that has not ended.
    """
    if not is_file(source) and not kind_of(source) and kind_of(RUNS / source):
        source = RUNS / source
    if kind_of(source) == RUN and not is_file(source / RESULT):
        raise UsageError(f"{source}: this run of train has not ended; see how far it is with nas-budget show {source}")
    return source


def _write_image(sources: Sequence[Path], runs: Sequence[Path], path: Path, name: str) -> None:
    from nas_budget.report.figures.write_image import write_image

    if runs:
        from nas_budget.report.pages.training_run import figures_of_run

        figures = figures_of_run(runs[0])
    else:
        from nas_budget.report.pages.page_data import figures_of_studies
        from nas_budget.report.tables.studies import read_studies

        figures = figures_of_studies(read_studies(sources))
    write_image(figures, name or next(iter(figures)), path)
    out(f"image: {path}")


def _report_studies(sources: Sequence[Path], output: Path | None, as_json: bool, quiet: bool) -> None:
    from nas_budget.report.pages.study import write_page
    from nas_budget.report.tables.studies import read_studies
    from nas_budget.report.tables.trials import network, pareto_trials

    studies = read_studies(sources)
    folder = sources[0] if sources[0].is_dir() else sources[0].parent
    path = output or (folder / PAGE if len(sources) == 1 else Path(COMPARISON_PAGE))
    write_page(studies, path)
    fronts = [pareto_trials(study.table.assign(study=study.name)).iloc[::-1] for study in studies]
    leading = [row for rows in fronts for row in rows.to_dict("records")]
    if as_json:
        keys = ("study", "number", "accuracy", "params", "macs", "seconds", "spec")
        n_trials = sum(len(study.table) for study in studies)
        out_json({"page": str(path), "trials": n_trials, "front": [{k: row[k] for k in keys} for row in leading]})
        return
    rows = [
        (f"{r['accuracy']:.2%}", f"{r['params']:,}", f"{r['macs']:,}", _named(r, len(studies) > 1), network(r))
        for r in leading
    ]
    if not quiet:
        show(table(("accuracy", "params", "MACs", "trial", "network"), rows, left=(4,)))
        if not rows:
            log("no trial has been trained to the end yet")
    out(f"page: {path}" if quiet else f"\npage: {path}")


def _named(trial: dict[Any, Any], several: bool) -> str:
    return f"{trial['study']} {trial['number']}" if several else str(trial["number"])


def _report_run(folder: Path, path: Path, as_json: bool, quiet: bool) -> None:
    from nas_budget.report.pages.training_run import write_run_page

    result = read_result(folder)
    write_run_page(folder, path)
    if as_json:
        out_json({"page": str(path), "accuracy": result.mean(), "deviation": result.deviation(), "spec": result.spec})
        return
    if not quiet:
        out(f"{result.mean():.2%} on {result.test_images:,} test images with {result.params:,} parameters\n")
    out(f"page: {path}")
