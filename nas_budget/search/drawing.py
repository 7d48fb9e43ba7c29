"""A search's result as HTML, for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from nas_budget.arch.drawing import LEFT, RIGHT, spec_html
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.trials import TrialRecord

if TYPE_CHECKING:
    from nas_budget.search.api import SearchResult

FRONT = ("trial", "accuracy", "parameters", "MACs", "channels", "blocks")
MOST_ROWS = 12


def result_html(found: SearchResult) -> str:
    """Name, headline, margins, the best network drawn, and its front as a table; every text is escaped."""
    n = len(found.trials)
    spent = f"{n} trial{'' if n == 1 else 's'}, {seconds_in_words(found.ledger.spent)} of training"
    title = f"<div><b>{escape(found.settings.name)}</b> · {spent}</div>"
    spec = found.best_spec
    if found.best is None or spec is None:
        return f"{title}<div>No trial has been trained to the end yet.</div>"
    margins = "; ".join(
        f"{margin.margin:,} of {margin.limit:,} {margin.words} to spare"
        for margin in found.settings.budget.check(spec).margins
    )
    return (
        f"{title}<h3>{_accuracy(found)} on validation images</h3><div>{margins}</div>{spec_html(spec)}{_front(found)}"
    )


def _accuracy(found: SearchResult) -> str:
    if not found.finalists:
        return f"{found.best.accuracy:.2%}" if found.best else ""
    leading = found.finalists[0]
    spread = "" if leading.deviation is None else f" ± {leading.deviation:.2%} (standard deviation)"
    return f"{leading.mean:.2%}{spread}, mean of {leading.n_runs} runs,"


def _front(found: SearchResult) -> str:
    heads = "".join(f'<th style="{RIGHT if i < 4 else LEFT}">{name}</th>' for i, name in enumerate(FRONT))
    best = sorted(found.pareto_front, key=lambda row: -row.params)[:MOST_ROWS]
    n = len(found.pareto_front)
    title = "The front" if len(best) == n else f"The front, the {MOST_ROWS} largest of {n}"
    return f"<h4>{title}</h4><table><thead><tr>{heads}</tr></thead><tbody>{''.join(map(_row, best))}</tbody></table>"


def _row(trial: TrialRecord) -> str:
    cells = (str(trial.number), f"{trial.accuracy:.2%}", f"{trial.params:,}", f"{trial.macs:,}")
    texts = (trial.channels, trial.blocks)
    right = "".join(f'<td style="{RIGHT}">{cell}</td>' for cell in cells)
    left = "".join(f'<td style="{LEFT}">{escape(text)}</td>' for text in texts)
    return f"<tr>{right}{left}</tr>"
