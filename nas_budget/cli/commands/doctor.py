"""`nas-budget doctor`: what is wrong with a run folder, and its repair."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_budget.cli.console.output import out, out_json
from nas_budget.cli.options.completion import complete_named
from nas_budget.cli.options.declare import AsJson, option
from nas_budget.cli.options.runs import find_run
from nas_budget.errors import NasBudgetError

if TYPE_CHECKING:
    from nas_budget.search.storage.doctor import Finding


def doctor(
    folder: Annotated[
        Path,
        typer.Argument(help="Run folder of a search or of train, or its name in runs.", autocompletion=complete_named),
    ],
    fix: Annotated[bool, option("Repair what is certain; damaged files are kept beside.", None, flag="--fix")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is wrong with a run folder; with --fix, repair what is certain.

    Exit code 1 when something is wrong and was not repaired.
    """
    from nas_budget.search.storage.doctor import examine, repair
    from nas_budget.search.storage.optuna_adapter import quiet_optuna

    quiet_optuna()
    found = find_run(folder)
    done, left = repair(found) if fix else ([], examine(found))
    if as_json:
        out_json({"folder": str(found), "repaired": [*map(_plain, done)], "left": [*map(_plain, left)]})
    else:
        for finding in done:
            out(f"{finding.path}: {finding.problem}: {finding.remedy}")
        for finding in left:
            out(f"{finding.path}: {finding.problem}; {'--fix: ' if finding.repair else ''}{finding.remedy}")
        if not left:
            out(f"{found}: {'repaired' if done else 'nothing is wrong'}")
    if left:
        raise typer.Exit(NasBudgetError.exit_code)


def _plain(finding: Finding) -> dict[str, str | bool]:
    about = {name: str(getattr(finding, name)) for name in ("path", "problem", "remedy")}
    return {**about, "certain": finding.repair is not None}
