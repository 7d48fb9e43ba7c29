"""The workers of a study in the terminal: where each trains, what, and when it was heard of."""

from __future__ import annotations

from collections.abc import Sequence

from nas_budget.cli.console.output import out, show, table
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.workers import WorkerRecord, utc_now

MOST_ROWS = 40
"""More workers than this are not listed one by one."""
LONGEST_DEVICE = 24


def print_workers(workers: Sequence[WorkerRecord]) -> None:
    """Print the workers as a table: first those that train, and of these the one that was silent for longest."""
    now = utc_now()
    ranked = sorted(workers, key=lambda worker: (not worker.trains, -worker.silent_s(now) if worker.trains else 0))
    n_training = sum(bool(worker.trains) for worker in workers)
    out(f"\nworkers: {len(workers)}, of which {n_training} have a training under way")
    rows = [
        (worker.id, worker.host, str(worker.index), worker.under_way,
         f"{seconds_in_words(worker.silent_s(now))} ago", str(worker.n_ended),
         _shortened(worker.device))
        for worker in ranked[:MOST_ROWS]
    ]  # fmt: skip
    show(table(("id", "host", "no.", "under way", "heard of", "ended", "device"), rows, left=(0, 1, 3, 6)))
    if len(workers) > MOST_ROWS:
        out(f"and {len(workers) - MOST_ROWS} more, which --json lists")


def _shortened(device: str) -> str:
    return device if len(device) <= LONGEST_DEVICE else f"{device[: LONGEST_DEVICE - 3]}..."
