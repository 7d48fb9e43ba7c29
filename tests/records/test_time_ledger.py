"""Where the time went."""

from __future__ import annotations

import pytest

from nas_budget.records.time_ledger import ledger
from tests.report.trials import by_proxies, record


def test_every_second_is_in_one_entry() -> None:
    rows = [
        record(0, seconds=10.0),
        record(1, state="pruned", epochs=2, max_epochs=6, seconds=4.0),
        record(2, state="failed", epochs=1, seconds=1.0, repeated_seconds=3.0),
        record(3, seconds=8.0, spec=record(0).spec),
        record(4, seconds=9.0, spec=record(0).spec, learning_rate=0.2),
        record(5, state="failed", epochs=0, seconds=0.5, spec=record(0).spec),
    ]
    found = ledger(rows, finalists=20.0, repeated=2.0)
    assert (found.complete, found.pruned, found.failed) == (19.0, 4.0, 1.5)
    assert (found.duplicate, found.repeated, found.finalists) == (8.0, 5.0, 20.0)
    assert found.saved == pytest.approx(8.0)
    assert found.spent == sum(r.seconds + r.repeated_seconds for r in rows) + 22.0
    assert found.to_dict()["spent"] == found.spent


def test_wider_trainings_are_an_entry_of_their_own() -> None:
    rows = by_proxies()
    found = ledger([*rows, record(6, state="failed", of=1, proxy=0.5, seconds=1.0)])
    assert (found.complete, found.ladder, found.duplicate) == (3 * 12.5, 3 * 12.5, 0.0)
    assert found.failed == 1.0
    assert found.spent == 6 * 12.5 + 1.0
    assert "on the best again, wider" in found.in_words()


def test_an_empty_study_has_spent_nothing() -> None:
    assert ledger([]).spent == 0
