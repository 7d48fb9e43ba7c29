"""Where the next trial comes from, and how one is begun, taken over or told to have ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from nas_budget.arch.cost import cost
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace
from nas_budget.search.samplers.initial_design import startup_points
from nas_budget.search.samplers.sampler import Proposal, Proposer
from nas_budget.search.storage.rows import candidate_of, record
from nas_budget.search.storage.storage import is_gone, this_worker
from nas_budget.search.storage.tracker import TrialStats, TrialTracker
from nas_budget.search.workers.events import Event, TrialFinished
from nas_budget.search.workers.stop_rules import reason_to_stop
from nas_budget.space.feasible import FeasibleSpace

MOST_TOGETHER = 10
"""Trials trained side by side in the startup; each holds its network's weights meanwhile."""


@dataclass(frozen=True)
class Begun:
    """A trial that is this worker's to train.

    Attributes:
        trial: In the study.
        candidate: What to train.
        seeds: With which seeds; the mean of them counts.
        resumed: Whether an earlier attempt was interrupted.
    """

    trial: Trial
    candidate: Candidate
    seeds: tuple[int, ...]
    resumed: bool


class Source(Protocol):
    """Gives trials to a worker until there are no more."""

    study: Study
    prunes: bool
    folder: Path
    ended: str

    def begin(self) -> list[Begun]:
        """The next trials, to be trained side by side; none at the end, and `ended` says why if not all is done."""

    def rungs(self, group: Sequence[Begun]) -> Sequence[int]:
        """The epochs at which the trials of a group are judged, up to the last."""

    def finished(self, trial: FrozenTrial) -> Event:
        """What to tell of a trial that has ended."""


class NewTrials:
    """Trials of new candidates, after those that a process now gone left unfinished.

    Args:
        settings: Of the study.
        study: Where trials are kept.
        folder: Of the run.
        about: What to note with each trial: device, versions and number of the worker.
        deadline: Time (of `time.time`) from which none begins.
    """

    prunes = True

    def __init__(
        self, settings: StudyConfig, study: Study, folder: Path, about: Mapping[str, Any], deadline: float | None = None
    ) -> None:
        self.settings = settings
        self.study = study
        self.folder = folder / "trials"
        self.about = {**about, "worker": this_worker()}
        self.deadline = deadline
        self.ended = ""
        self.tracker = TrialTracker(study)
        self.stats = TrialStats()
        self.seen: set[Candidate] = set()
        self.space = CandidateSpace(FeasibleSpace(settings.space, settings.budget), settings.recipes)
        self.turn = turn(folder)
        self.shared = settings.storage != "journal"
        n_known = len(study.get_trials(deepcopy=False))
        host = f" {self.about['worker']['host']}" if self.shared else ""
        stream = f"{n_known} {self.about['lane']}{host}"
        self.proposer = Proposer(self.space, settings.sampler, settings.seed, self._startup_points(n_known), stream)

    def begin(self) -> list[Begun]:
        """The next trials: one that was interrupted, this worker's share of the startup, or one that is proposed."""
        group: list[Begun] = []
        with self.turn:
            self.look()
            while lost := next((trial for trial in self._running() if is_gone(trial, self.shared)), None):
                if not is_done(lost):
                    return [taken_over(self.study, self.folder, lost, self._seeds(), self.about)]
                tell_done(self.study, self.folder, lost)
                self.look()
            n_wanted = self._group_size()
            while len(group) < n_wanted and self._may_begin():
                proposed = self._propose()
                if proposed is None:
                    self.ended = f"all {len(self.seen):,} networks of the space that fit have been tried"
                    break
                if begun := self._begin(proposed):
                    group.append(begun)
                if len(group) < n_wanted:
                    self.look()
        return group

    def rungs(self, group: Sequence[Begun]) -> Sequence[int]:
        """The epochs at which trials are judged: the rungs, or each epoch for pruners that do not go by rungs."""
        last = group[0].candidate.recipe.epochs
        return (*self.settings.rungs, last) if self.settings.pruner in ("front", "none") else range(1, last + 1)

    def _startup_points(self, n_known: int) -> list[dict[str, Any]]:
        """The points of the startup; they are kept with the study, as drawing them can take seconds."""
        n: int = self.settings.n_startup_trials
        with self.turn:
            known: list[dict[str, Any]] = self.study.user_attrs.get("n_startup_trials", [])
            if len(known) != n and n_known < n:
                known = startup_points(self.space, n, self.settings.seed)
                self.study.set_user_attr("n_startup_trials", known)
        return known[:n]

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self.tracker.running() if candidate_of(trial)]

    def _may_begin(self) -> bool:
        running = self._running()
        self.ended = reason_to_stop(self.settings, self.stats, self.deadline)
        if self.ended or self.stats.ended + len(running) < self.settings.trials:
            return not self.ended
        ours = self.about["worker"]["host"]
        if elsewhere := sorted({trial.user_attrs["worker"]["host"] for trial in running} - {ours}):
            self.ended = f"the trials that are left are under way on {', '.join(elsewhere)}"
        return False

    def _group_size(self) -> int:
        """Trials to begin at once: in the startup each worker's share of it, so that they are judged together."""
        left = self.settings.n_startup_trials - len(self.proposer.places)
        together = self.settings.pruner == "front" and bool(self.settings.rungs)
        return max(1, min(left, MOST_TOGETHER, ceil(left / self.settings.workers))) if together else 1

    def look(self) -> None:
        """Take in what is new in the study."""
        begun, ended = self.tracker.look()
        for trial in begun:
            candidate = candidate_of(trial)
            if candidate and trial.number not in self.proposer.places:
                self.seen.add(candidate)
                self.proposer.begin(trial.number, Proposal(candidate, self.proposer.coordinates(candidate)))
        for trial in ended:
            candidate = candidate_of(trial)
            if candidate:
                self.stats.add(trial)
                self.proposer.end(trial, candidate)

    def _propose(self) -> Proposal | None:
        queued = (Candidate(spec, self.settings.recipe) for spec in self.settings.queue)
        first = next((candidate for candidate in queued if candidate not in self.seen), None)
        return Proposal(first, self.proposer.coordinates(first)) if first else self.proposer.propose(self.seen)

    def _begin(self, proposal: Proposal) -> Begun | None:
        """The trial of a candidate; None when another machine began the same one, or the last one, just before."""
        candidate = proposal.candidate
        about = self._figures(candidate) | self.about | candidate.to_dict()
        trial = new_trial(self.study, about, proposal.point, self.proposer.distributions)
        self.proposer.begin(trial.number, proposal)
        if self._superfluous(trial.number, candidate):
            trial.set_user_attr("reason", "another machine began the same, or the last trial, at the same moment")
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        self.seen.add(candidate)
        return Begun(trial, candidate, self._seeds(), resumed=False)

    def _superfluous(self, number: int, candidate: Candidate) -> bool:
        """Whether trials of other machines, with lower numbers and not seen when this was proposed, leave no room."""
        between = self.study.get_trials(deepcopy=False)[self.tracker.n_known : number]
        others = [candidate_of(trial) for trial in between]
        n_open = len(self.tracker.open) + len(others)
        return candidate in others or bool(others and self.stats.ended + n_open >= self.settings.trials)

    def _figures(self, candidate: Candidate) -> dict[str, Any]:
        """The network in words, its cost and margins, as a dashboard shows them, in that order."""
        used = cost(candidate.spec)
        verdict = self.settings.budget.check(used)
        figures = {name: getattr(used, name) for name in ("params", "macs", "activation_bytes")}
        margins = {f"margin_{m.name}": m.margin for m in verdict.margins}
        return {"network": str(candidate.spec), **figures, **margins, "feasible": verdict.fits}

    def finished(self, trial: FrozenTrial) -> TrialFinished:
        """The row of a trial that has ended."""
        return TrialFinished(record(trial, self.settings))

    def _seeds(self) -> tuple[int, ...]:
        first = self.settings.seed
        return tuple(range(first, first + self.settings.trial_seeds))


def turn(folder: Path) -> FileLock:
    """A lock that one worker of a folder holds at a time, so that none begins what another has just begun."""
    return FileLock(folder / ".turn.lock")


def new_trial(
    study: Study, about: Mapping[str, Any], params: Mapping[str, Any] | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> Trial:  # fmt: skip
    """A running trial; one write makes it and all that is known of it, so that it is never half known."""
    made = create_trial(
        state=TrialState.RUNNING, params=dict(params or {}), distributions=dict(distributions or {}),
        user_attrs=dict(about),
    )  # fmt: skip
    made.datetime_start = datetime.now(UTC)
    return Trial(study, study._storage.create_new_trial(study._study_id, made))


def is_done(lost: FrozenTrial) -> bool:
    """Whether a trial whose process is gone had come to its last epoch, and well."""
    return "diverged" not in lost.user_attrs and lost.user_attrs["recipe"]["epochs"] in lost.intermediate_values


def tell_done(study: Study, folder: Path, lost: FrozenTrial) -> None:
    """Tell the study what a trial that had come to its end could no longer tell."""
    trial = Trial(study, lost._trial_id)
    trial.set_user_attr("seconds", _seconds_in(folder / str(lost.number) / "epochs.jsonl"))
    study.tell(trial, lost.intermediate_values[max(lost.intermediate_values)])


def taken_over(
    study: Study, folder: Path, lost: FrozenTrial, seeds: tuple[int, ...], about: Mapping[str, Any]
) -> Begun:
    """A trial whose process is gone, as this worker's; the time it had taken is kept as repeated."""
    trial = Trial(study, lost._trial_id)
    before = lost.user_attrs.get("repeated_seconds", 0.0) + _seconds_in(folder / str(lost.number) / "epochs.jsonl")
    for name, value in {**about, "resumed": True, "repeated_seconds": before}.items():
        trial.set_user_attr(name, value)
    return Begun(trial, Candidate.from_dict(lost.user_attrs), seeds, resumed=True)


def _seconds_in(epochs: Path) -> float:
    """Seconds of the epochs written down; the last line may be cut off."""
    seconds = 0.0
    if epochs.exists():
        for line in epochs.read_text(encoding="utf-8").splitlines():
            try:
                seconds += json.loads(line)["seconds"]
            except ValueError:
                break
    return seconds
