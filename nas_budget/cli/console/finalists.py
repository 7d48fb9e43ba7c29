"""Finalists in words."""

from __future__ import annotations

from collections.abc import Iterator

from nas_budget.records.finalists import FinalistSummary


def finalist_lines(finalists: tuple[FinalistSummary, ...]) -> Iterator[str]:
    """The finalists as a table, and which of them are ties."""
    if not finalists:
        return
    yield f"finalists, each trained {finalists[0].n_runs} more times:"
    for f in finalists:
        spread = "" if f.deviation is None else f" ± {f.deviation:.2%}"
        yield f"      {f.mean:.2%}{spread}  trial {f.trial:<4} {f.params:>11,} params  {finalist_in_words(f)}"
    ties = [f for f in finalists if f.tie]
    if len(ties) > 1:
        smallest = min(ties, key=lambda f: f.params)
        yield f"      {len(ties)} are ties: no more apart than seeds; the smallest is trial {smallest.trial}"


def finalist_in_words(f: FinalistSummary) -> str:
    """How a finalist stands to the best."""
    if not f.gap_to_best:
        return "best"
    return f"tie ({f.gap_to_best:.2%} behind)" if f.tie else f"behind by {f.gap_to_best:.2%}"
