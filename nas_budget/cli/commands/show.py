"""`nas-budget show`: a study, one of its trials or a full training, in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.options.completion import complete_named
from nas_budget.cli.options.declare import AsJson
from nas_budget.cli.options.runs import find_run
from nas_budget.errors import UsageError
from nas_budget.records.run_folder import STUDY, kind_of


def show(
    folder: Annotated[
        Path,
        typer.Argument(help="Run folder of a search or of train, or its name in runs.", autocompletion=complete_named),
    ],
    trial: Annotated[int | None, typer.Argument(help="Number of a trial of that search.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show a study, one of its trials, or a full training, in the terminal.

    Of a study: its best network, its Pareto front and where the time went. Of a trial: its network
    and its learning curve. Of a run of train: each seed.
    """
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
