"""The page of a study or a run: its name, and writing it when the work itself is already done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nas_budget.cli.console.output import log


def try_to_write(write: Callable[[Path], None], folder: Path) -> bool:
    """Whether `write` wrote the page of a folder; a page that fails does not undo the work, and is a message."""
    try:
        write(folder)
    except (Exception, KeyboardInterrupt) as error:
        reason = f"{type(error).__name__}: {error}"
        log(f"the page was not written ({reason}); make it with nas-budget report {folder}")
        return False
    return True
