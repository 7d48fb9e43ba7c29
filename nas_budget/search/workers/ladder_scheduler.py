"""`LadderScheduler`: the best trials, to be trained again as wider proxies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.search.config.proxy import levels
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.tables import level_of, promoted, root_of
from nas_budget.search.workers.scheduler import Assignment, NoMoreTrials, TrialsOfStudy
from nas_budget.search.workers.stop_rules import Deadline, reason_to_stop


class LadderScheduler(TrialsOfStudy):
    """Trainings of the best networks of one level of the ladder at the width of the next, as trials of the same study.

    None is pruned: a few are left, and each was among the best.

    Args:
        settings: Of the study.
        study: Where trials are kept.
        run_folder: Of the run.
        about: Noted with each trial: device, versions and index of the worker.
        level: Of the ladder, from 1; level 0 are the trials that were proposed.
        deadline: From which none begins; None for no limit.
    """

    def __init__(
        self, settings: StudyConfig, study: Study, run_folder: Path, about: Mapping[str, Any], level: int,
        deadline: Deadline | None = None,
    ) -> None:  # fmt: skip
        super().__init__(settings, study, run_folder, about, deadline)
        self.level = level
        self.proxy = levels(settings.proxy, settings.ladder)[level - 1]
        self.n_before = self.store.n_trials

    def _new_trial(self) -> Assignment | NoMoreTrials:
        """A trial of the best network of the level below that was not trained here."""
        if self.is_shared and self._under_way(self.level - 1):
            return NoMoreTrials()  # for now: there are more to choose from when they have ended
        while best := self._next():
            if why := reason_to_stop(self.settings, self.stats, self.deadline, wider=True):
                return NoMoreTrials(why)
            if assigned := self._begin(best):
                return assigned
        return NoMoreTrials()

    def _next(self) -> FrozenTrial | None:
        """The best trial of the level below that was not trained here; one that failed is tried by the next search."""
        trials = self.store.study.get_trials(deepcopy=False)
        known = {
            root_of(trial)
            for trial in trials
            if level_of(trial) == self.level and (trial.state != TrialState.FAIL or trial.number >= self.n_before)
        }
        best = promoted(trials, self.level, self.settings)
        return next((trial for trial in best if root_of(trial) not in known), None)

    def _begin(self, best: FrozenTrial) -> Assignment | None:
        """The trial that trains a network again; None where another machine began it just before."""
        candidate = Candidate.from_dict(best.user_attrs)
        about = {"of": root_of(best), "level": self.level, "proxy": self.proxy}
        attributes = self.figures(candidate) | about | candidate.to_dict()
        number = self.store.create(attributes, best.params, best.distributions)
        before = self.store.study.get_trials(deepcopy=False)[self.n_before : number]
        if any((level_of(trial), root_of(trial)) == (self.level, root_of(best)) for trial in before):
            self.store.finish(number, TrialState.FAIL, 0.0, "another machine began the same at the same moment")
            return None
        return self._assigned(number, candidate)

    def _assigned(self, number: int, candidate: Candidate, resumed: bool = False) -> Assignment:
        return Assignment(
            number, candidate, self.seeds, (candidate.recipe.epochs,), self.folder / str(number), resumed,
            proxy=self.proxy,
        )  # fmt: skip
