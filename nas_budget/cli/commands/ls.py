"""`nas-budget ls`: the studies and full trainings there are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.console.listing import entry_json, print_entries
from nas_budget.cli.console.output import log, out_json, terminal_width
from nas_budget.cli.options.declare import AsJson
from nas_budget.records.run_folder import entries


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
