"""`nas-budget report`: the page of studies, from their trials tables alone, or of a full training."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_budget.cli.options.completion import RUNS, complete_folder
from nas_budget.cli.options.declare import Database
from nas_budget.cli.options.runs import database_of
from nas_budget.errors import UsageError
from nas_budget.records.paths import RESULT
from nas_budget.records.run_folder import RUN, is_file, kind_of

if TYPE_CHECKING:
    from nas_budget.search.storage.stored_study import StoredStudy


def report(
    ctx: typer.Context,
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Run folder of a search or of train, a trials.csv, or the name of a study in a database; "
            "several studies are compared.",
            autocompletion=complete_folder, metavar="SOURCE",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write the page.", show_default="report.html beside the table"),
    ] = None,
    storage: Database = None,
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
    if watch and (as_json or image or output):
        raise UsageError("--watch serves the page and writes nothing; give it without --json, --image and --output")
    if image and (as_json or output):
        raise UsageError("--image writes an image and nothing else; give it without --json and --output")
    if figure and not image:
        raise UsageError("--figure goes with --image, such as --image front.svg")
    names = [str(source) for source in sources if database_of(ctx, source, storage)]
    with ExitStack() as stack:
        stored: Sequence[StoredStudy] = ()
        if names:
            from nas_budget.cli.jobs.stored import stored_studies

            stored = stack.enter_context(stored_studies(names, storage or "", is_empty_allowed=watch))
        tables = {Path(name): study.table for name, study in zip(names, stored, strict=True)}
        found = [tables.get(source) or _found(source) for source in sources]
        runs = [source for source in found if is_file(source / RESULT)]
        if runs and len(found) > 1:
            raise UsageError(f"{runs[0]}: a run of train has a page of its own; compare studies of search only")
        if watch and runs:
            raise UsageError(f"{runs[0]}: --watch follows studies of search; this is a finished run of train")
        from nas_budget.cli.jobs.report import report_image, report_run, report_studies
        from nas_budget.cli.serve.watch import watch as serve

        if watch:
            serve(found, port, browser=not no_open, looks=[study.look for study in stored])
        elif image:
            report_image(found, image, figure)
        elif runs:
            report_run(runs[0], output, as_json, quiet)
        else:
            page = Path(f"{names[0]}.html") if names and len(found) == 1 else None
            report_studies(found, output or page, as_json, quiet)


def _found(source: Path) -> Path:
    """A source as it is, or the run folder of this name in `runs`; a run that has not ended is an error."""
    if not is_file(source) and not kind_of(source) and kind_of(RUNS / source):
        source = RUNS / source
    if kind_of(source) == RUN and not is_file(source / RESULT):
        raise UsageError(f"{source}: this run of train has not ended; see how far it is with nas-budget show {source}")
    return source
