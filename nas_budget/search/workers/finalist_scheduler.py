"""Where the runs of finalists come from: the best trials, to be trained again with other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.rows import finalist_run, finalist_seeds, run_key
from nas_budget.search.storage.storage import is_gone, this_worker
from nas_budget.search.workers.events import FinalistFinished
from nas_budget.search.workers.scheduler import Begun, is_done, new_trial, taken_over, tell_done, turn


class FinalistRuns:
    """Trainings of the best trials with other seeds, in a study of their own.

    Args:
        settings: Of the study.
        study: Where the runs are kept.
        folder: Of the run.
        about: What to note with each run.
        best: The trials to train again, best first.
    """

    prunes = False
    ended: str = ""

    def __init__(
        self, settings: StudyConfig, study: Study, folder: Path, about: Mapping[str, Any], best: Sequence[FrozenTrial]
    ) -> None:
        self.settings = settings
        self.study = study
        self.folder = folder / "finalists"
        self.about = {**about, "worker": this_worker()}
        self.best = best
        self.turn = turn(folder)
        self.shared = settings.storage != "journal"
        self.n_before = len(study.get_trials(deepcopy=False))

    def begin(self) -> list[Begun]:
        """The next run: one that was interrupted, or the next seed of the next trial that lacks it."""
        with self.turn:
            runs = self.study.get_trials(deepcopy=False)
            for run in runs:
                if not run.state.is_finished() and is_gone(run, self.shared):
                    if not is_done(run):
                        return [taken_over(self.study, self.folder, run, (run.user_attrs["seed"],), self.about)]
                    tell_done(self.study, self.folder, run)
            known = {run_key(run) for run in runs if run.state != TrialState.FAIL or run.number >= self.n_before}
            for seed, trial in product(finalist_seeds(self.settings), self.best):
                if (trial.number, seed, self.settings.finalist_epochs) not in known:
                    return [self._begin(trial, seed)]
        return []

    def rungs(self, group: Sequence[Begun]) -> Sequence[int]:
        """The last epoch: a finalist is not stopped."""
        return (group[0].candidate.recipe.epochs,)

    def _begin(self, of: FrozenTrial, seed: int) -> Begun:
        found = Candidate.from_dict(of.user_attrs)
        candidate = replace(found, recipe=replace(found.recipe, epochs=self.settings.finalist_epochs))
        which = {"of": of.number, "seed": seed, "network": str(candidate.spec), "params": of.user_attrs["params"]}
        about = which | self.about | candidate.to_dict()
        return Begun(new_trial(self.study, about), candidate, (seed,), resumed=False)

    def finished(self, trial: FrozenTrial) -> FinalistFinished:
        """The row of a run that has ended."""
        return FinalistFinished(
            trial.number, trial.user_attrs["of"], finalist_run(trial), trial.user_attrs.get("reason", "")
        )
