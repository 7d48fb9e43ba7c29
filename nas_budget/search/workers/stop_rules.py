"""When a search has done enough."""

from __future__ import annotations

import time

from nas_budget.search.config.settings import Settings
from nas_budget.search.storage.tracker import Tally


def reason_to_stop(settings: Settings, tally: Tally, deadline: float | None) -> str:
    """Why no further trial is to begin, in words; empty when one may.

    Args:
        settings: The study's, with its stop rules.
        tally: Of the trials that have ended.
        deadline: Time (of `time.time`) from which none begins.
    """
    if deadline is not None and time.time() >= deadline:
        return "the time given by timeout is over"
    if settings.device_time is not None and tally.seconds >= settings.device_time:
        return f"trials took {tally.seconds:.0f} s, at least the {settings.device_time:.0f} s of device_time"
    if settings.target is not None and tally.best >= settings.target:
        return f"the target is reached: {tally.best:.2%} of {settings.target:.2%}"
    if settings.patience is not None and tally.since_progress >= settings.patience:
        return f"no progress: none of the last {tally.since_progress} trials joined the front"
    return ""
