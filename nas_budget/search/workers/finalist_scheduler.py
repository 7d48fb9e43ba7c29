"""`FinalistScheduler`: the best trials, to be trained again with other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.records.paths import FINALIST_FOLDERS
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.tables import finalist_key, finalist_run, finalist_seeds, widest_proxy
from nas_budget.search.workers.events import FinalistFinished
from nas_budget.search.workers.scheduler import Assignment, Decision, NoMoreTrials, StoredTrials
from nas_budget.search.workers.stop_rules import Deadline


class FinalistScheduler(StoredTrials):
    """Trainings of the best trials with other seeds, in a study of their own. None is pruned.

    Args:
        settings: Of the study.
        study: Where these trainings are kept.
        run_folder: Of the run.
        about: Noted with each training.
        best: The trials to train again, best first. All are trained at the widest proxy that one of them has.
        deadline: From which none begins; None for no limit.
    """

    def __init__(
        self, settings: StudyConfig, study: Study, run_folder: Path, about: Mapping[str, Any],
        best: Sequence[FrozenTrial], deadline: Deadline | None = None,
    ) -> None:  # fmt: skip
        super().__init__(settings, study, run_folder / FINALIST_FOLDERS, about, run_folder, deadline)
        self.best, self.proxy = best, widest_proxy(best)
        self.n_before = self.store.n_trials

    def _new_trial(self) -> Assignment | NoMoreTrials:
        """A training with the next seed, of the next trial that lacks it."""
        runs = self.store.study.get_trials(deepcopy=False)
        # A training that failed is tried once more, by the next search.
        known = {finalist_key(run) for run in runs if run.state != TrialState.FAIL or run.number >= self.n_before}
        for seed, trial in product(finalist_seeds(self.settings), self.best):
            if (trial.number, seed, self.settings.finalist_epochs, self.proxy) not in known:
                if self.deadline and (why := self.deadline.reason()):
                    return NoMoreTrials(why)
                if assigned := self._begin(trial, seed):
                    return assigned
        return NoMoreTrials()

    def _resumed(self, lost: FrozenTrial) -> Assignment:
        noted = lost.user_attrs
        return self._assigned(lost.number, Candidate.from_dict(noted), noted["seed"], noted["proxy"], resumed=True)

    def _begin(self, of: FrozenTrial, seed: int) -> Assignment | None:
        """The training of a trial with a seed; None where another machine began it just before."""
        found = Candidate.from_dict(of.user_attrs)
        candidate = replace(found, recipe=replace(found.recipe, epochs=self.settings.finalist_epochs))
        which = {"of": of.number, "seed": seed, "proxy": self.proxy, "network": str(candidate.spec)}
        which["params"] = of.user_attrs["params"]
        number = self.store.create(which | candidate.to_dict())
        runs = self.store.study.get_trials(deepcopy=False)
        ours = finalist_key(runs[number])
        if any(run.state != TrialState.FAIL and finalist_key(run) == ours for run in runs[:number]):
            self.store.finish(number, TrialState.FAIL, 0.0, "another machine began the same at the same moment")
            return None
        return self._assigned(number, candidate, seed, self.proxy)

    def _assigned(
        self, number: int, candidate: Candidate, seed: int, proxy: float, resumed: bool = False
    ) -> Assignment:
        rungs, folder = (candidate.recipe.epochs,), self.folder / str(number)
        return Assignment(number, candidate, (seed,), rungs, folder, resumed, finalist=True, proxy=proxy)

    def on_rung(self, trial: Assignment, epoch: int) -> Decision:  # noqa: ARG002
        """Complete: the only rung of a finalist is its last epoch."""
        return Decision(TrialState.COMPLETE)

    def on_finished(self, trial: Assignment, outcome: Decision, seconds: float) -> FinalistFinished:
        """Finish the training; its row."""
        assert outcome.state is not None  # noqa: S101 - a runner finishes what has ended
        ended = self.store.finish(trial.number, outcome.state, seconds, outcome.reason)
        return FinalistFinished(ended.number, ended.user_attrs["of"], finalist_run(ended), outcome.reason)
