"""`Patience`: calls of a database that is gone for a while, made again until it is back."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from nas_budget.records.formatting import seconds_in_words
from nas_budget.search.storage.url import shown, trouble

T = TypeVar("T")

GIVE_UP_S = 600.0
"""How long a database may be gone."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LOOK_S = 0.2
"""How often a pause looks whether the search is to stop."""
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""What SQLite says while another process has its file. Whatever else it says is no better a second later."""

logger = logging.getLogger(__name__)


class OncePerOutage(logging.Filter):
    """Lets a message through unless one came just before: every worker meets the same outage."""

    def __init__(self) -> None:
        super().__init__()
        self.last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is printed."""
        is_new = record.created - self.last > 2 * LONGEST_PAUSE_S
        self.last = max(self.last, record.created)
        return is_new


logger.addFilter(OncePerOutage())


class Patience:
    """Makes a call of a database again, with growing pauses, while what it raises may pass.

    The first failure is logged as a warning. After `GIVE_UP_S`, or once the search is to stop, the error is raised as
    it is, and from then on at once: what is left to do at the end of a search does not wait as long again.

    Args:
        address: Of the database.
        should_stop: Looked at during pauses.
    """

    def __init__(self, address: str, should_stop: Callable[[], bool]) -> None:
        self.address, self.should_stop = address, should_stop
        self.has_given_up = False

    def __call__(self, call: Callable[[], T]) -> T:
        """What the call returns, when it succeeds."""
        start, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                return call()
            except (DBAPIError, StorageInternalError) as error:
                if self.has_given_up or self.should_stop() or not may_pass(error):
                    raise
                logger.warning(
                    f"storage: {shown(self.address)} does not answer ({trouble(error)}); waiting up to "
                    f"{seconds_in_words(GIVE_UP_S)} for it, nothing is lost"
                )
                if self._is_over(start + GIVE_UP_S, pause):
                    self.has_given_up = True
                    raise
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _is_over(self, limit: float, pause: float) -> bool:
        """Whether to give up, after a pause."""
        end = time.monotonic() + pause
        while (now := time.monotonic()) < min(end, limit) and not self.should_stop():
            time.sleep(min(LOOK_S, end - now))
        return now >= limit or self.should_stop()


def may_pass(error: BaseException) -> bool:
    """Whether an error says that a database is gone or locked, not that what was asked of it makes no sense."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError):
        return False
    if isinstance(cause.orig, sqlite3.Error):
        # The extended codes of SQLite hold the plain one in their lowest byte.
        return getattr(cause.orig, "sqlite_errorcode", 0) & 0xFF in LOCKED
    return cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)
