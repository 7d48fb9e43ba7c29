"""What `nas-budget search` says at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from nas_budget.arch.budget import Verdict
from nas_budget.cli.output import out, out_json, verdict_line
from nas_budget.cli.search_run import PAGE, Run
from nas_budget.finalist_table import FINALISTS, Standing
from nas_budget.ledger import Ledger
from nas_budget.search.api import SearchResult, result_of
from nas_budget.search.books import BEST, TABLE
from nas_budget.search.plan import seconds_in_words
from nas_budget.search.runner import Search

STATES = ("complete", "pruned", "failed")


def tell_result(run: Run, search: Search, as_json: bool) -> None:
    """The best network, its cost and margin, what it took, where the files are, and the next command."""
    found = result_of(search)
    if as_json:
        out_json(result_json(run, found))
        return
    words = ", ".join(f"{n} {state}" for state, n in _counts(found).items() if n)
    out(f"\n{run.settings.name}: {words or 'no trials'} on {run.opened.dataset.name}")
    out(f"time: {time_in_words(found.ledger)}")
    _tell_best(found)
    for line in finalist_lines(found.finalists):
        out(line)
    files = _files(run, found)
    out(f"files: {', '.join(files.values())}")
    if found.best:
        out(f"next: nas-budget train --study {run.folder}")


def result_json(run: Run, found: SearchResult) -> dict[str, Any]:
    """The same for a program."""
    return {
        "study": run.settings.name,
        "trials": _counts(found),
        "best": found.best and asdict(found.best),
        "best_spec": found.best_spec and found.best_spec.to_dict(),
        **_verdict(found).to_dict(),
        "seconds": found.ledger.to_dict(),
        "finalists": [asdict(standing) for standing in found.finalists],
        "files": _files(run, found),
    }


def _tell_best(found: SearchResult) -> None:
    best, spec = found.best, found.best_spec
    if best is None or spec is None:
        return
    if found.finalists:
        leading = found.finalists[0]
        what = f"{leading.mean:.2%}, mean of {leading.n_runs} runs, on", leading.trial
    else:
        what = f"{best.accuracy:.2%} on", best.number
    out(f"best: {what[0]} {best.held_out:,} held-out images (trial {what[1]})")
    out(f"      {spec}")
    for m in _verdict(found).margins:
        verdict_line(True, f"      {m.used:,} of {m.limit:,} {m.name} ({m.margin:,} to spare)")


def time_in_words(spent: Ledger) -> str:
    """The ledger in one line, such as "10 min of training: 8 min on complete trials, 2 min on pruned"."""
    names = {
        "complete": "on complete trials", "pruned": "on those stopped early", "failed": "on failed ones",
        "duplicate": "on networks trained before", "repeated": "repeated after interruptions",
        "finalists": "on finalists",
    }  # fmt: skip
    parts = [
        f"{seconds_in_words(getattr(spent, name))} {words}" for name, words in names.items() if getattr(spent, name)
    ]
    saved = f"; {seconds_in_words(spent.saved)} saved by stopping early" if spent.saved else ""
    return f"{seconds_in_words(spent.spent)} of training" + (f": {', '.join(parts)}" if len(parts) > 1 else "") + saved


def finalist_lines(finalists: tuple[Standing, ...]) -> Iterator[str]:
    """The finalists as a table, and which of them are ties."""
    if not finalists:
        return
    yield f"finalists, each trained {finalists[0].n_runs} more times:"
    for f in finalists:
        spread = "" if f.deviation is None else f" ± {f.deviation:.2%}"
        yield f"      {f.mean:.2%}{spread}  trial {f.trial:<4} {f.params:>11,} params  {standing_in_words(f)}"
    ties = [f for f in finalists if f.tie]
    if len(ties) > 1:
        smallest = min(ties, key=lambda f: f.params)
        yield f"      {len(ties)} are ties: no more apart than seeds; the smallest is trial {smallest.trial}"


def standing_in_words(f: Standing) -> str:
    """How a finalist stands to the best."""
    if not f.behind:
        return "best"
    return f"tie ({f.behind:.2%} behind)" if f.tie else f"behind by {f.behind:.2%}"


def _counts(found: SearchResult) -> dict[str, int]:
    return {state: sum(r.state == state for r in found.trials) for state in STATES}


def _verdict(found: SearchResult) -> Verdict:
    spec = found.best_spec
    return found.settings.budget.check(spec) if spec else Verdict(())


def _files(run: Run, found: SearchResult) -> dict[str, str]:
    names = [TABLE, BEST, PAGE, *([FINALISTS] if found.finalists else [])]
    return {name: str(run.folder / name) for name in names}
