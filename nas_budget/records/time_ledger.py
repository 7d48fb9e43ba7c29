"""The time ledger of a search: device seconds by what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.trials import TrialRecord

WORDS = {
    "complete": "on complete trials",
    "pruned": "on pruned ones",
    "failed": "on failed ones",
    "ladder": "on the best again, wider",
    "duplicate": "on networks trained before",
    "repeated": "repeated after interruptions",
    "finalists": "on finalists",
}


@dataclass(frozen=True)
class TimeLedger:
    """Device seconds of a search, by what became of them. Of several workers on one device, each counts.

    Attributes:
        complete: Of trials that trained to the end.
        pruned: Of trials that were pruned.
        failed: Of trials that failed.
        ladder: Of the best trials, trained again as wider proxies.
        duplicate: Of networks that an earlier trial had trained by the same recipe.
        repeated: Of attempts that were interrupted, before the trial was resumed or restarted.
        finalists: Of the best trials, trained again with other seeds.
        saved: What the pruned trials would have taken for their remaining epochs, at their own time per epoch. It is
            not part of what was spent.

    Examples:
        >>> found = TimeLedger(complete=480.0, pruned=120.0, saved=240.0)
        >>> found.spent
        600.0
        >>> found.in_words()
        '10 min of training: 8 min on complete trials, 2 min on pruned ones; 4 min saved by pruning'
    """

    complete: float = 0.0
    pruned: float = 0.0
    failed: float = 0.0
    ladder: float = 0.0
    duplicate: float = 0.0
    repeated: float = 0.0
    finalists: float = 0.0
    saved: float = 0.0

    @property
    def spent(self) -> float:
        """Device seconds in all."""
        return float(sum(getattr(self, name) for name in WORDS))

    def to_dict(self) -> dict[str, float]:
        """The entries and what was spent, rounded to milliseconds."""
        return {name: round(value, 3) for name, value in (asdict(self) | {"spent": self.spent}).items()}

    def in_words(self) -> str:
        """One line, such as "10 min of training: 8 min on complete trials, 2 min on pruned ones"."""
        parts = [
            f"{seconds_in_words(value)} {words}" for name, words in WORDS.items() if (value := getattr(self, name))
        ]
        saved = f"; {seconds_in_words(self.saved)} saved by pruning" if self.saved else ""
        whole = f"{seconds_in_words(self.spent)} of training"
        return whole + (f": {', '.join(parts)}" if len(parts) > 1 else "") + saved


def ledger(records: Iterable[TrialRecord], finalists: float = 0.0, repeated: float = 0.0) -> TimeLedger:
    """The ledger of these trials.

    Args:
        records: Rows of the trials table, by number.
        finalists: Seconds of the finalists' runs.
        repeated: Seconds of those that were interrupted.
    """
    sums = {"complete": 0.0, "pruned": 0.0, "failed": 0.0, "ladder": 0.0, "duplicate": 0.0, "saved": 0.0}
    for row, again in trained_before(records):
        kind = row.state if row.of is None or row.state == "failed" else "ladder"
        sums["duplicate" if again else kind] += row.seconds
        if row.state == "pruned":
            sums["saved"] += row.seconds * (row.max_epochs - row.epochs) / max(1, row.epochs)
        repeated += row.repeated_seconds
    return TimeLedger(**sums, repeated=repeated, finalists=finalists)


def trained_before(records: Iterable[TrialRecord]) -> Iterator[tuple[TrialRecord, bool]]:
    """Each trial, and whether it trained what an earlier one had: the same network or proxy by the same recipe."""
    seen: set[tuple[object, ...]] = set()
    for row in records:
        what = (row.spec, row.proxy, row.optimizer, row.learning_rate, row.weight_decay, row.batch_size)
        yield row, bool(row.epochs) and what in seen
        if row.epochs:
            seen.add(what)
