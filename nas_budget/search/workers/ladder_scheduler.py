"""`LadderScheduler`: the best trials, to be trained again as wider proxies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.records.paths import TRIAL_FOLDERS
from nas_budget.search.config.proxy import levels
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.tables import level_of, promoted, root_of
from nas_budget.search.workers.scheduler import Assignment, NoMoreTrials, TrialsOfStudy


class LadderScheduler(TrialsOfStudy):
    """Trainings of the best networks of one level of the ladder at the width of the next, as trials of the same study.

    None is pruned: a few are left, and each was among the best.

    Args:
        settings: Of the study.
        study: Where trials are kept.
        run_folder: Of the run.
        about: Noted with each trial: device, versions and index of the worker.
        level: Of the ladder, from 1; level 0 are the trials that were proposed.
        deadline: Time (of `time.time`) from which none begins; None for no limit.
    """

    def __init__(
        self, settings: StudyConfig, study: Study, run_folder: Path, about: Mapping[str, Any], level: int,
        deadline: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(settings, study, run_folder / TRIAL_FOLDERS, about, run_folder)
        self.level, self.deadline = level, deadline
        self.proxy = levels(settings.proxy, settings.ladder)[level - 1]
        self.n_before = self.store.n_trials

    def suggest(self) -> Assignment | NoMoreTrials:
        """The next trial: one that was interrupted, or the best one of the level below that was not trained here."""
        with self.lock:
            self.look()
            if lost := self._resume_lost():
                return self._assigned(lost.number, Candidate.from_dict(lost.user_attrs), resumed=True)
            if self.is_late():
                return NoMoreTrials("the time is over")
            trials = self.store.study.get_trials(deepcopy=False)
            # One that failed is tried once more, by the next search.
            known = {
                root_of(trial)
                for trial in trials
                if level_of(trial) == self.level and (trial.state != TrialState.FAIL or trial.number >= self.n_before)
            }
            for best in promoted(trials, self.level, self.settings):
                if root_of(best) not in known:
                    return self._begin(best)
        return NoMoreTrials()

    def _begin(self, best: FrozenTrial) -> Assignment:
        candidate = Candidate.from_dict(best.user_attrs)
        about = {"of": root_of(best), "level": self.level, "proxy": self.proxy}
        number = self.store.create(self.figures(candidate) | about | candidate.to_dict())
        return self._assigned(number, candidate)

    def _assigned(self, number: int, candidate: Candidate, resumed: bool = False) -> Assignment:
        return Assignment(
            number, candidate, self.seeds, (candidate.recipe.epochs,), self.folder / str(number), resumed,
            proxy=self.proxy,
        )  # fmt: skip
