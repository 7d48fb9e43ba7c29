"""`nas-budget ls` and `show`: what runs there are, and one of them in the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.console.listing import entry_json, print_entries
from nas_budget.cli.console.output import log, out_json, terminal_width
from nas_budget.cli.options.completion import complete_named
from nas_budget.cli.options.declare import AsJson, Database
from nas_budget.cli.options.runs import database_of, find_run
from nas_budget.errors import UsageError
from nas_budget.records.run_folder import STUDY, entries, kind_of


def ls(
    runs_dir: Annotated[Path, typer.Argument(help="Folder of the runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the studies and full trainings there are, the last changed first."""
    found = entries(runs_dir)
    if as_json:
        out_json([entry_json(entry) for entry in found])
    elif found:
        print_entries(found, time.time(), terminal_width())
        for entry in found:
            if entry.problem:
                log(entry.problem if str(entry.path) in entry.problem else f"{entry.path}: {entry.problem}")
    else:
        log(f"no study or run in {runs_dir} yet; start with: nas-budget search --trials 20")


def show(
    ctx: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Run folder of a search or of train, its name in runs, or the name of a study in a database.",
            autocompletion=complete_named,
        ),
    ],
    trial: Annotated[int | None, typer.Argument(help="Number of a trial of that search.", show_default=False)] = None,
    storage: Database = None,
    as_json: AsJson = False,
) -> None:
    """Show a study, one of its trials, or a full training, in the terminal.

    Of a study: its best network, its Pareto front, its workers and where the time went. Of a trial:
    its network and its learning curve. Of a run of train: each seed.
    """
    if database := database_of(ctx, folder, storage):
        from nas_budget.cli.jobs.stored import show_stored

        show_stored(str(folder), *database, trial, as_json)
        return
    found = find_run(folder)
    kind = kind_of(found)
    if kind == STUDY and trial is None:
        from nas_budget.cli.console.study import show_study

        show_study(found, as_json)
    elif kind == STUDY:
        from nas_budget.cli.console.trial import show_trial

        show_trial(found, int(trial or 0), as_json)
    elif trial is not None:
        raise UsageError(f"{found}: a run of train, which has no trials; leave out {trial}")
    else:
        from nas_budget.cli.console.training_run import show_run

        show_run(found, as_json)
