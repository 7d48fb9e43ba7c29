"""`Leases`: which workers of a database live, by counters that they count up while they do."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
from threading import Event, Thread

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial
from sqlalchemy.exc import SQLAlchemyError

from nas_budget.records.workers import utc_now
from nas_budget.search.storage.optuna_adapter import BEAT, change, leases

BEAT_S = 20.0
"""How often a worker counts up, and looks at the counters of the others."""
GONE_S = 90.0
"""A worker whose counter has stood still for so long is taken to be gone."""

logger = logging.getLogger(__name__)


class Leases:
    """Counts up for the trials of this worker, and watches the counters of all others, in a thread of its own.

    Whoever watches judges by its own clock, from when it saw a counter change last. So neither process numbers nor the
    clocks of other machines matter: the time that is written beside a counter is for people to read. A look that comes
    late, as after an outage of the database or the sleep of a laptop, says nothing of the time before it.

    Args:
        study: Of the trials.
        held: The trials of this worker, by number.
        clock: Seconds that never go back.
    """

    def __init__(self, study: Study, held: Mapping[int, Trial], clock: Callable[[], float] = time.monotonic) -> None:
        self.study, self.held, self.clock = study, held, clock
        self.count, self.looked = 0, clock()
        self.seen: dict[int, tuple[tuple[str, str], float]] = {}
        self.ended = Event()
        weakref.finalize(self, self.ended.set)
        Thread(target=_live, args=(weakref.ref(self), self.ended), daemon=True).start()

    def is_gone(self, number: int) -> bool:
        """Whether the counter of a running trial's worker has stood still for too long, as far as was seen."""
        _, since = self.seen.get(number, ("", self.clock()))
        return self.looked - since >= GONE_S

    def look(self) -> None:
        """Count up for the trials of this worker, and see which counters of others have changed."""
        self.count += 1
        beat = f"{self.count} {utc_now().isoformat(timespec='seconds')}"
        for trial in [*self.held.values()]:
            change(trial, {BEAT: beat})
        found, now = leases(self.study), self.clock()
        known = self.seen if now - self.looked < 2 * BEAT_S else {}
        self.seen = {
            number: known[number] if number in known and known[number][0] == lease else (lease, now)
            for number, lease in found.items()
        }
        self.looked = now

    def end(self) -> None:
        """Count up no more."""
        self.ended.set()


def _live(mine: weakref.ref[Leases], ended: Event) -> None:
    """Look again and again while there is somebody to look for."""
    while not ended.wait(BEAT_S) and (held := mine()):
        try:
            held.look()
        except (SQLAlchemyError, StorageInternalError) as error:
            logger.debug(f"no look at the leases: {error}")  # whoever trains meets the same, and says so
        del held


def heard(trial: FrozenTrial) -> str:
    """When the worker of a running trial counted up last, by its own clock, in UTC; empty where it never did."""
    return str(trial.user_attrs.get(BEAT, "")).partition(" ")[2]
