"""When a search has done enough."""

from __future__ import annotations

import time

from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.storage.tracker import TrialStats


def reason_to_stop(settings: StudyConfig, stats: TrialStats, deadline: float | None) -> str:
    """Why no further trial is to begin, in words; empty when one may.

    Args:
        settings: The study's, with its stop rules.
        stats: Of the trials that have ended.
        deadline: Time (of `time.time`) from which none begins.
    """
    if deadline is not None and time.time() >= deadline:
        return "the time given by timeout is over"
    if settings.device_time is not None and stats.seconds >= settings.device_time:
        return f"trials took {stats.seconds:.0f} s, at least the {settings.device_time:.0f} s of device_time"
    if settings.target is not None and stats.best >= settings.target:
        return f"the target is reached: {stats.best:.2%} of {settings.target:.2%}"
    if settings.patience is not None and stats.since_progress >= settings.patience:
        return f"no progress: none of the last {stats.since_progress} trials joined the front"
    return ""
