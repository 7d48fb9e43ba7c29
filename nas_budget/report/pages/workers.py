"""The table of a study's workers, on its page and, renewed every few seconds, on the page that follows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nas_budget.records.formatting import duration
from nas_budget.records.workers import WorkerRecord, utc_now
from nas_budget.report.pages.templates import render


def workers_table(workers: Sequence[WorkerRecord], live: bool) -> str:
    """The rows of the workers as HTML, for a page; every text in them is escaped.

    Args:
        workers: Of one study.
        live: Whether the page is renewed: how long ago something was heard of a worker, and not when.
    """
    now = utc_now()
    return render("workers.html", rows=[_row(worker, now, live) for worker in workers])


def _row(worker: WorkerRecord, now: datetime, live: bool) -> dict[str, Any]:
    when = datetime.fromisoformat(worker.heard)
    return {
        "id": worker.id, "host": worker.host, "index": worker.index, "device": worker.device,
        "trains": worker.under_way,
        "heard": f"{duration(round(worker.silent_s(now)))} ago" if live else f"{when:%Y-%m-%d %H:%M:%S}",
        "ended": worker.n_ended, "seconds": worker.seconds,
    }  # fmt: skip
