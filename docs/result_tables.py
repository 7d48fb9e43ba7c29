"""What lies under studies/results/, and tables of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nas_budget.records.finalists import read_finalists
from nas_budget.records.paths import FINALISTS_TABLE
from nas_budget.records.run_folder import RUN, STUDY, kind_of
from nas_budget.records.time_ledger import ledger
from nas_budget.records.training_run import RunResult, read_result
from nas_budget.records.trials import TrialRecord, read_trials

STUDIES = Path(__file__).parents[1] / "studies"
RESULTS = STUDIES / "results"
PLAN = STUDIES / "evidence" / "gpu.toml"

Rows = Iterable[Sequence[str]]


def table(head: Sequence[str], rows: Rows, numbers: int, texts: int = 0) -> str:
    """A table whose last columns are numbers, but for some texts at the end; a line instead where it is empty."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return "Nothing yet."
    rule = ["---"] * (len(head) - numbers - texts) + ["---:"] * numbers + ["---"] * texts
    return "\n".join([f"| {' | '.join(head)} |", f"| {' | '.join(rule)} |", *lines])


def percent(mean: float | None, deviation: float | None = None) -> str:
    """An accuracy, with the deviation between seeds where there is one."""
    if mean is None:
        return "-"
    return f"{100 * mean:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "") + " %"


def runs() -> list[RunResult]:
    """Every training, the most accurate first."""
    found = [read_result(folder) for folder in sorted(RESULTS.iterdir()) if kind_of(folder) == RUN]
    return sorted(found, key=lambda result: -(result.mean() or 0.0))


def studies() -> dict[str, list[TrialRecord]]:
    """The trials of every search."""
    folders = [folder for folder in sorted(RESULTS.iterdir()) if kind_of(folder) == STUDY]
    return {folder.name: read_trials(folder) for folder in folders}


def benchmark(name: str) -> dict[str, Any]:
    """What a benchmark gave; empty where it has not been run."""
    path = RESULTS / name / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def spent(name: str, trials: list[TrialRecord]) -> float:
    """Device seconds of a search, with its finalists."""
    finals = read_finalists(RESULTS / name / FINALISTS_TABLE)
    return ledger(trials, sum(run.seconds for run in finals), sum(run.repeated_seconds for run in finals)).spent
