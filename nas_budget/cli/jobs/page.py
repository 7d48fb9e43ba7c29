"""The page of a study or a run, written when the work itself is already done."""

from __future__ import annotations

from pathlib import Path

from nas_budget.cli.console.output import log
from nas_budget.records.paths import PAGE
from nas_budget.records.run_folder import RUN, kind_of


def write_page(folder: Path) -> bool:
    """Whether the page of a run folder was written; one that fails does not undo the work, and is a message."""
    try:
        if kind_of(folder) == RUN:
            from nas_budget.report.pages.training_run import write_run_page

            write_run_page(folder)
        else:
            from nas_budget.report.pages.study import write_page as write_study_page
            from nas_budget.report.tables.studies import read_study

            write_study_page([read_study(folder)], folder / PAGE)
    except (Exception, KeyboardInterrupt) as error:
        reason = f"{type(error).__name__}: {error}"
        log(f"the page was not written ({reason}); make it with nas-budget report {folder}")
        return False
    return True
