"""`nas-budget dashboard`: a study in the browser, also while it runs, by optuna-dashboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.options.completion import complete_journal
from nas_budget.cli.options.declare import STORAGE
from nas_budget.cli.options.runs import find_run
from nas_budget.errors import UsageError
from nas_budget.records.run_folder import STUDY


def dashboard(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A run folder such as runs/quickstart.", autocompletion=complete_journal),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Instead of a folder, the database of a study, such as sqlite:///trials.db; or NAS_BUDGET_STORAGE."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.", min=0, max=65_535)] = 8080,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
) -> None:
    """Show a study in the browser, also while it runs.

    Ctrl-C ends it. Needs optuna-dashboard, which is the extra called dashboard.
    """
    from nas_budget.cli.serve.dashboard import open_database, show_dashboard
    from nas_budget.search.storage.journal import open_journal

    storage = storage or (None if folder else os.environ.get(STORAGE))
    if folder and not storage:
        opened = open_journal(find_run(folder, STUDY))
    elif storage and not folder:
        opened = open_database(storage)
    else:
        raise UsageError("give the folder of a run, such as runs/quickstart, or --storage and a database's address")
    show_dashboard(opened, host, port, browser=not no_open)
