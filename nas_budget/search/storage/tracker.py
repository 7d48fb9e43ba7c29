"""`TrialTracker`: what is new in a study; `TrialStats`: figures of the trials that have ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.records.statistics import pareto_front


class TrialTracker:
    """What is new in a study, whoever changes it. A trial that has ended is read once, however many there are."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.n_known = 0
        self.open: dict[int, FrozenTrial] = {}

    def look(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The trials that have begun and those that have ended since the last look, by number."""
        trials = self.study.get_trials(deepcopy=False)
        begun = trials[self.n_known :]
        self.n_known = len(trials)
        open_now = [*self.open, *(trial.number for trial in begun)]
        ended = [trials[number] for number in open_now if trials[number].state.is_finished()]
        self.open = {number: trials[number] for number in open_now if not trials[number].state.is_finished()}
        return begun, ended

    def running(self) -> list[FrozenTrial]:
        """The trials that had not ended at the last look, by number."""
        return [*self.open.values()]


@dataclass
class TrialStats:
    """Figures of the trials that have ended.

    Attributes:
        ended: How many are complete or pruned.
        seconds: Time of all trials together, failed ones and repeated work too.
        best: The highest accuracy of a complete trial, 0 to 1.
        front: Parameters and accuracy of the complete trials that no other beats.
        since_progress: Complete or pruned trials since one joined the front.
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
        self.ended += 1
        self.since_progress += 1
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            self.best = max(self.best, trial.value)
            self._join(int(known["params"]), trial.value)

    def _join(self, params: int, accuracy: float) -> None:
        front = pareto_front([*self.front, (params, accuracy)], itemgetter(0), itemgetter(1))
        if front != self.front:
            self.front, self.since_progress = front, 0
