"""Stop rules: whether a search has done enough, by figures of its trials."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from operator import itemgetter

from optuna.trial import FrozenTrial, TrialState

from nas_budget.records.formatting import percent
from nas_budget.records.statistics import pareto_front
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.storage.tables import level_of


@dataclass(frozen=True)
class Deadline:
    """A time (of `time.time`) from which no trial begins, and why, in words."""

    at: float
    why: str

    def reason(self) -> str:
        """Why no trial begins; empty before it is over."""
        return self.why if time.time() >= self.at else ""


@dataclass
class TrialStats:
    """Figures of the trials that have ended. Those of the ladder count for seconds and the best accuracy alone.

    Attributes:
        ended: How many are complete or pruned.
        seconds: Time of all trials together, failed ones and repeated work too.
        best: The highest accuracy of a complete trial, 0 to 1.
        front: The Pareto front: parameters and accuracy of the complete trials that no other beats.
        since_progress: Complete or pruned trials since one joined the Pareto front.
    """

    ended: int = 0
    seconds: float = 0.0
    best: float = 0.0
    front: list[tuple[int, float]] = field(default_factory=list)
    since_progress: int = 0

    def add(self, trial: FrozenTrial) -> None:
        """Count a trial that has ended."""
        known = trial.user_attrs
        self.seconds += known.get("seconds", 0.0) + known.get("repeated_seconds", 0.0)
        if trial.state == TrialState.FAIL:
            return
        accuracy = trial.value if trial.state == TrialState.COMPLETE else None
        self.best = max(self.best, accuracy or 0.0)
        if level_of(trial):
            return
        self.ended += 1
        self.since_progress += 1
        if accuracy is not None:
            self._join(int(known["params"]), accuracy)

    def _join(self, params: int, accuracy: float) -> None:
        front = pareto_front([*self.front, (params, accuracy)], itemgetter(0), itemgetter(1))
        if front != self.front:
            self.front, self.since_progress = front, 0


def reason_to_stop(settings: StudyConfig, stats: TrialStats, deadline: Deadline | None, *, wider: bool = False) -> str:
    """Why no further trial is to begin, in words; empty when one may.

    Args:
        settings: The study's, with its stop rules.
        stats: Of the trials that have ended.
        deadline: From which none begins.
        wider: Whether it is of a trial of the ladder, which no lack of progress ends.
    """
    if deadline and (why := deadline.reason()):
        return why
    if settings.device_time is not None and stats.seconds >= settings.device_time:
        return f"trials took {stats.seconds:.0f} s, at least the {settings.device_time:.0f} s of device_time"
    if settings.target is not None and stats.best >= settings.target:
        return f"the target is reached: {percent(stats.best, settings.n_validation)} of {100 * settings.target:g}%"
    if settings.patience is not None and not wider and stats.since_progress >= settings.patience:
        return f"no progress: none of the last {stats.since_progress} trials joined the Pareto front"
    return ""
