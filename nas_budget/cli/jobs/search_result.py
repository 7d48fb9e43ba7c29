"""The result of `nas-budget search`, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nas_budget.arch.budget import Verdict
from nas_budget.cli.console.output import out, out_json, verdict_line
from nas_budget.cli.console.study import finalist_lines
from nas_budget.cli.jobs.search import PlannedSearch
from nas_budget.records.paths import BEST_SPEC, FINALISTS_TABLE, PAGE, TRIALS_TABLE
from nas_budget.records.trials import STATES
from nas_budget.search.api import SearchResult, result_of
from nas_budget.search.workers.search_runner import Search


def print_result(planned: PlannedSearch, search: Search, as_json: bool) -> None:
    """Print the best network, its cost and margin, the time, the files and the next command."""
    found = result_of(search)
    if as_json:
        out_json(result_json(planned, found))
        return
    words = ", ".join(f"{n} {state}" for state, n in _counts(found).items() if n)
    out(f"\n{planned.settings.name}: {words or 'no trials'} on {planned.opened.dataset.name}")
    out(f"time: {found.ledger.in_words()}")
    _print_best(found)
    for line in finalist_lines(found.finalists):
        out(line)
    files = _files(planned, found)
    out(f"files: {', '.join(files.values())}")
    if found.best:
        out(f"next: nas-budget train --study {planned.folder}")


def result_json(planned: PlannedSearch, found: SearchResult) -> dict[str, Any]:
    """The same, for a program."""
    return {
        "study": planned.settings.name,
        "trials": _counts(found),
        "best": found.best and asdict(found.best),
        "best_spec": found.best_spec and found.best_spec.to_dict(),
        **_verdict(found).to_dict(),
        "seconds": found.ledger.to_dict(),
        "finalists": [asdict(summary) for summary in found.finalists],
        "files": _files(planned, found),
    }


def _print_best(found: SearchResult) -> None:
    best, spec = found.best, found.best_spec
    if best is None or spec is None:
        return
    if found.finalists:
        leading = found.finalists[0]
        what = f"{leading.mean:.2%}, mean of {leading.n_runs} runs, on", leading.trial
    else:
        what = f"{best.accuracy:.2%} on", best.number
    out(f"best: {what[0]} {best.validation_images:,} validation images (trial {what[1]})")
    out(f"      {spec}")
    for m in _verdict(found).margins:
        verdict_line(True, f"      {m.used:,} of {m.limit:,} {m.words} ({m.margin:,} to spare)")


def _counts(found: SearchResult) -> dict[str, int]:
    return {state: sum(r.state == state for r in found.trials) for state in STATES}


def _verdict(found: SearchResult) -> Verdict:
    spec = found.best_spec
    return found.settings.budget.check(spec) if spec else Verdict(())


def _files(planned: PlannedSearch, found: SearchResult) -> dict[str, str]:
    names = [TRIALS_TABLE, BEST_SPEC, PAGE, *([FINALISTS_TABLE] if found.finalists else [])]
    return {name: str(planned.folder / name) for name in names}
