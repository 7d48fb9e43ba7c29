"""`Scheduler`: which trials a worker trains and how long; `SearchScheduler`: the one of a search."""

from __future__ import annotations

import json
import logging
import socket
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.arch.scale import scale_widths
from nas_budget.errors import StoppedError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import TRIAL_CHECKPOINT, TRIAL_EPOCHS, TRIAL_FOLDERS
from nas_budget.records.trials import EpochResult
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace
from nas_budget.search.samplers.factory import make_candidate_sampler
from nas_budget.search.samplers.sampler import Proposal
from nas_budget.search.storage.patience import OncePerOutage
from nas_budget.search.storage.tables import candidate_of, figures_of, is_ours, level_of, row_of
from nas_budget.search.storage.trial_store import TrialStore
from nas_budget.search.workers.events import Event, TrialFinished
from nas_budget.search.workers.stop_rules import Deadline, TrialStats, reason_to_stop
from nas_budget.untrusted import read_json

NOTED_OF_EPOCH = ("train_loss", "validation_loss", "learning_rate", "seconds")
"""What a study in a database notes of each epoch of a trial under way, beside its accuracy."""
LOOK_S = 2.0
"""How often a worker that waits for others looks whether they are done."""

logger = logging.getLogger(__name__)
logger.addFilter(OncePerOutage())


@dataclass(frozen=True)
class Assignment:
    """A trial that is a worker's to train.

    Attributes:
        number: Of the trial in its study.
        candidate: Network and recipe.
        seeds: One training each; the mean of them counts.
        rungs: Epochs at which the scheduler decides whether the trial goes on, up to its last epoch.
        folder: Where its files go.
        resumed: Whether an earlier attempt was interrupted.
        finalist: Whether it is a finalist's training.
        proxy: What the network's widths are multiplied by for training.
    """

    number: int
    candidate: Candidate
    seeds: tuple[int, ...]
    rungs: tuple[int, ...]
    folder: Path
    resumed: bool = False
    finalist: bool = False
    proxy: float = 1.0

    @property
    def trained(self) -> Candidate:
        """What is trained: the candidate, or its proxy."""
        candidate = self.candidate
        return candidate if self.proxy == 1 else replace(candidate, spec=scale_widths(candidate.spec, self.proxy))


@dataclass(frozen=True)
class NoMoreTrials:
    """No trial is left to begin; `reason` says why, and is empty where as many as were asked for have ended."""

    reason: str = ""


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial after an epoch: it goes on, or it ends in a state for a reason."""

    state: TrialState | None = None
    reason: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether the trial trains on."""
        return self.state is None


GO_ON = Decision()


class Scheduler(Protocol):
    """Which trials a worker trains, and how long. Whatever it decides it returns."""

    def suggest(self) -> Assignment | NoMoreTrials:
        """The next trial, or why there is none."""

    def on_start(self, trial: Assignment, latency_s: float | None, repeated_s: float = 0.0) -> None:
        """A trial begins to train, or to train on.

        Args:
            trial: The trial.
            latency_s: Seconds of one image through its network; None where it was not timed.
            repeated_s: Seconds of epochs that an interrupted attempt trained and that are trained again.
        """

    def on_epoch(self, trial: Assignment, result: EpochResult) -> Decision:
        """Take in an epoch: the trial goes on, or it has diverged."""

    def on_rung(self, trial: Assignment, epoch: int) -> Decision:
        """Whether a trial goes on after a rung."""

    def on_finished(self, trial: Assignment, outcome: Decision, seconds: float) -> Event:
        """A trial has ended after so many seconds; what to tell of it."""


class StoredTrials(Scheduler):
    """What schedulers have in common: trials in a store, and files in a folder.

    Args:
        settings: Of the study.
        study: Where the trials are kept.
        folder: Of the trials' files.
        about: Noted with each trial: device, versions and index of the worker.
        run_folder: Of the run. One worker of it begins a trial at a time.
        deadline: From which none begins; None for no limit.

    Attributes:
        should_stop: Ends a wait for other workers.
        fetch: Gets what other machines kept of a lost trial into its folder.
        drop: Removes what was kept of a trial, by its folder.
    """

    def __init__(
        self, settings: StudyConfig, study: Study, folder: Path, about: Mapping[str, Any], run_folder: Path,
        deadline: Deadline | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.folder = folder
        self.deadline = deadline
        self.is_shared = settings.storage != "journal"
        self.store = TrialStore(study, about, shared=self.is_shared)
        self.lock = FileLock(run_folder / ".turn.lock")
        self.losses: dict[int, list[float]] = {}
        self.epochs: dict[int, list[list[float]]] = {}
        self.level = 0
        self.should_stop: Callable[[], bool] = lambda: False
        self.fetch: Callable[[Path], None] = lambda _: None
        self.drop: Callable[[Path], None] = lambda _: None

    def suggest(self) -> Assignment | NoMoreTrials:
        """The next trial: one that was lost, or a new one.

        In a database it waits while others train what is left, and takes over what they lose, until all has ended or
        the deadline is over.

        Raises:
            StoppedError: `should_stop` said so while it waited.
        """
        while True:
            with self.lock:
                self.look()
                lost = self._resume_lost()
                found = self._resumed(lost) if lost else self._new_trial()
                left = self._under_way(self.level) if self.is_shared and not lost else []
            if lost:
                self._fetch(lost)
                return found
            hosts = {trial.user_attrs.get("host", "") for trial in left}
            if not hosts or isinstance(found, Assignment) or (self.deadline and self.deadline.reason()):
                return found
            if others := hosts - {socket.gethostname()}:
                logger.warning(f"waiting for the trials that are left, on {', '.join(sorted(others))}")
            if self.should_stop():
                raise StoppedError("stopped while other workers train what is left")
            time.sleep(LOOK_S)

    def _under_way(self, level: int) -> list[FrozenTrial]:
        """The trials that others train, up to a level of the ladder."""
        others = (trial for trial in self.store.others() if is_ours(trial) and level_of(trial) <= level)
        return [trial for trial in others if not self.store.is_lost(trial)]

    @abstractmethod
    def _new_trial(self) -> Assignment | NoMoreTrials:
        """A trial that nobody has begun, or why there is none."""

    @abstractmethod
    def _resumed(self, lost: FrozenTrial) -> Assignment:
        """The trial of an interrupted attempt, once it is this worker's."""

    def on_start(self, trial: Assignment, latency_s: float | None, repeated_s: float = 0.0) -> None:
        """Note the latency, and what is repeated."""
        self.losses[trial.number], self.epochs[trial.number] = [], []
        noted: dict[str, Any] = {"epochs": []} if self.is_shared else {}  # those before are counted below
        self.store.note(trial.number, latency_s=latency_s, **noted)
        if repeated_s:
            self.store.note_repeated(trial.number, repeated_s)

    def on_epoch(self, trial: Assignment, result: EpochResult) -> Decision:
        """Store what an epoch gave; a trial whose loss is no number ends."""
        noted: dict[str, Any] = {}
        if result.micro_batches > 1:
            noted["micro_batches"] = result.micro_batches
        if result.not_recorded:
            noted["not_recorded"] = result.not_recorded
        if result.diverged:  # an accuracy of the last epoch alone says that the trial is complete
            noted["diverged"] = True
        self.losses[trial.number].append(result.train_loss)
        if self.is_shared:  # the file of these may be out of reach of whoever takes the trial over
            self.epochs[trial.number].append([getattr(result, name) for name in NOTED_OF_EPOCH])
            noted["epochs"] = self.epochs[trial.number]
        self.store.report(trial.number, result.epoch, result.accuracy, self._compared_by(result), **noted)
        if not result.diverged:
            return GO_ON
        where = f"in epoch {result.epoch} at learning rate {result.learning_rate:.3g}"
        return Decision(TrialState.PRUNED, f"diverged {where}")

    def _compared_by(self, result: EpochResult) -> float | None:  # noqa: ARG002
        """The training loss where trials are compared by it."""
        return None

    def adopt(self, running: FrozenTrial) -> None:
        """Go on with a running trial that another process scheduled."""
        self.store.adopt(running)
        self.losses[running.number] = [epoch.train_loss for epoch in epochs_in(self.folder / str(running.number))]

    def look(self) -> None:
        """Take in what is new in the store."""
        self.store.look()

    def _resume_lost(self) -> FrozenTrial | None:
        """The next trial whose worker is gone, made this one's; those that had come to their end are finished."""
        for lost in self.store.others():
            if not (is_ours(lost) and level_of(lost) == self.level and self.store.is_lost(lost)):
                continue
            if not self.store.resume(lost):
                self.look()  # it is another worker's now
                continue
            lost = self.store.get(lost.number)
            if not was_done(lost):
                return lost
            folder = self._fetch(lost)
            epochs = epochs_in(folder)
            losses = [epoch.train_loss for epoch in epochs]
            self.store.finish(lost.number, TrialState.COMPLETE, sum(e.seconds for e in epochs), train_losses=losses)
            drop_checkpoint(folder)
            self.drop(folder)
            self.look()
        return None

    def _fetch(self, lost: FrozenTrial) -> Path:
        """The folder of a lost trial, with what other machines kept of it."""
        folder = self.folder / str(lost.number)
        self.fetch(folder)
        _write_noted_epochs(lost, folder)
        return folder


class TrialsOfStudy(StoredTrials):
    """What schedulers of a study's own trials have in common: their figures, their seeds, their end.

    Args:
        settings: Of the study.
        study: Where trials are kept.
        run_folder: Of the run.
        about: Noted with each trial: device, versions and index of the worker.
        deadline: From which none begins; None for no limit.
    """

    def __init__(
        self, settings: StudyConfig, study: Study, run_folder: Path, about: Mapping[str, Any],
        deadline: Deadline | None = None,
    ) -> None:  # fmt: skip
        super().__init__(settings, study, run_folder / TRIAL_FOLDERS, about, run_folder, deadline)
        self.stats = TrialStats()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of each trial."""
        first = self.settings.seed
        return tuple(range(first, first + self.settings.trial_seeds))

    def look(self) -> None:
        """Take in the trials that started or ended: what stop rules count, and what is learned of new networks."""
        started, ended = self.store.look()
        for trial in ended:
            if is_ours(trial):
                self.stats.add(trial)
        self._learn(
            [trial for trial in started if not level_of(trial)], [trial for trial in ended if not level_of(trial)]
        )

    def _learn(self, started: Sequence[FrozenTrial], ended: Sequence[FrozenTrial]) -> None:
        """Take in proposed trials that started or ended."""

    def _resumed(self, lost: FrozenTrial) -> Assignment:
        return self._assigned(lost.number, Candidate.from_dict(lost.user_attrs), resumed=True)

    @abstractmethod
    def _assigned(self, number: int, candidate: Candidate, resumed: bool = False) -> Assignment:
        """The trial of a number, for whoever trains it."""

    def figures(self, candidate: Candidate) -> dict[str, Any]:
        """The network in words, its cost and margins."""
        return figures_of(candidate.spec, self.settings.budget)

    def on_rung(self, trial: Assignment, epoch: int) -> Decision:  # noqa: ARG002
        """Complete: the last epoch is the only rung."""
        return Decision(TrialState.COMPLETE)

    def on_finished(self, trial: Assignment, outcome: Decision, seconds: float) -> TrialFinished:
        """Finish the trial; its row."""
        assert outcome.state is not None  # noqa: S101 - a runner finishes what has ended
        losses = self.losses.pop(trial.number, [])
        ended = self.store.finish(trial.number, outcome.state, seconds, outcome.reason, losses)
        return TrialFinished(row_of(ended, self.settings))


class SearchScheduler(TrialsOfStudy):
    """Trials of new candidates, after those that a worker now gone left unfinished.

    Args:
        settings: Of the study.
        study: Where trials are kept.
        run_folder: Of the run.
        about: Noted with each trial: device, versions and index of the worker.
        deadline: From which none begins; None for no limit.
    """

    def __init__(
        self, settings: StudyConfig, study: Study, run_folder: Path, about: Mapping[str, Any],
        deadline: Deadline | None = None,
    ) -> None:  # fmt: skip
        super().__init__(settings, study, run_folder, about, deadline)
        self.seen: set[Candidate] = set()
        self.begun: set[int] = set()
        space = CandidateSpace(settings.networks(), settings.recipes)
        n_known = self.store.n_trials
        worker = f" {self.store.about['worker']}" if self.is_shared else ""
        stream = f"{n_known} {about['worker_index']}{worker}"
        self.sampler = make_candidate_sampler(
            settings.sampler, space, settings.seed, settings.n_startup_trials, stream, settings.aim
        )

    def _new_trial(self) -> Assignment | NoMoreTrials:
        """A trial of a proposed network."""
        while not (end := self._end()):
            if (proposal := self._propose()) is None:
                return NoMoreTrials(f"all {len(self.seen):,} networks of the space that fit have been tried")
            if assigned := self._begin(proposal):
                return assigned
            self.look()
        return end

    def _learn(self, started: Sequence[FrozenTrial], ended: Sequence[FrozenTrial]) -> None:
        """Take in what was seen, and what the sampler learns."""
        for trial in started:
            if trial.number not in self.begun and (candidate := candidate_of(trial)):
                self._note(trial.number, Proposal(candidate, self.sampler.point_of(trial, candidate)))
        for trial in ended:
            if candidate := self.sampler.pending.get(trial.number):
                self.sampler.end(trial, candidate)

    def _end(self) -> NoMoreTrials | None:
        """Why no trial may begin: a stop rule, or those that are left are under way; None where one may."""
        if reason := reason_to_stop(self.settings, self.stats, self.deadline):
            return NoMoreTrials(reason)
        running = [trial for trial in self.store.running() if is_ours(trial) and not level_of(trial)]
        return NoMoreTrials() if self.stats.ended + len(running) >= self.settings.trials else None

    def _propose(self) -> Proposal | None:
        queued = (Candidate(spec, self.settings.recipe) for spec in self.settings.queue)
        first = next((candidate for candidate in queued if candidate not in self.seen), None)
        return Proposal(first, self.sampler.coordinates(first)) if first else self.sampler.propose(self.seen)

    def _begin(self, proposal: Proposal) -> Assignment | None:
        """The trial of a proposal; None where another machine began the same one, or the last one, just before."""
        candidate = proposal.candidate
        attributes = self.figures(candidate) | {"proxy": self.settings.proxy} | candidate.to_dict()
        if proposal.predicted:
            attributes |= dict(zip(("predicted", "predicted_deviation"), proposal.predicted, strict=True))
        number = self.store.create(attributes, proposal.point, self.sampler.distributions)
        self._note(number, proposal)
        if self._is_superfluous(number, candidate):
            reason = "another machine began the same, or the last trial, at the same moment"
            self.store.finish(number, TrialState.FAIL, 0.0, reason)
            return None
        return self._assigned(number, candidate)

    def _note(self, number: int, proposal: Proposal) -> None:
        """A trial has begun, here or elsewhere."""
        self.begun.add(number)
        self.seen.add(proposal.candidate)
        self.sampler.begin(number, proposal)

    def _is_superfluous(self, number: int, candidate: Candidate) -> bool:
        """Whether trials of other machines, with lower numbers and not seen when this was proposed, leave no room."""
        if number == self.store.tracker.n_known:
            return False
        between = [trial for trial in self.store.tracker.peek() if trial.number < number]
        others = [candidate_of(trial) for trial in between if not level_of(trial)]
        n_open = sum(not level_of(trial) for trial in self.store.running()) + len(others)
        return candidate in others or bool(others and self.stats.ended + n_open >= self.settings.trials)

    def _assigned(self, number: int, candidate: Candidate, resumed: bool = False) -> Assignment:
        """Pruners of ours look at rungs, those of Optuna at every epoch."""
        last = candidate.recipe.epochs
        by_rungs = self.settings.pruner in ("front", "none")
        rungs = (*self.settings.rungs, last) if by_rungs else tuple(range(1, last + 1))
        folder = self.folder / str(number)
        return Assignment(number, candidate, self.seeds, rungs, folder, resumed, proxy=self.settings.proxy)

    def _compared_by(self, result: EpochResult) -> float | None:
        at_rung = result.epoch in self.settings.rungs and not result.diverged
        return result.train_loss if at_rung else None

    def on_rung(self, trial: Assignment, epoch: int) -> Decision:
        """Complete after the last epoch; pruned where the study's pruner says so."""
        if epoch == trial.candidate.recipe.epochs:
            return Decision(TrialState.COMPLETE)
        reason = self.store.prune_reason(trial.number, epoch)
        return Decision(TrialState.PRUNED, reason) if reason else GO_ON


def was_done(lost: FrozenTrial) -> bool:
    """Whether a trial whose worker is gone had come to its last epoch, and well."""
    return "diverged" not in lost.user_attrs and lost.user_attrs["recipe"]["epochs"] in lost.intermediate_values


def epochs_in(folder: Path) -> list[EpochResult]:
    """The epochs written down in a trial's folder; the last line may be cut off."""
    found: list[EpochResult] = []
    if (file := folder / TRIAL_EPOCHS).exists():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(EpochResult.from_json(read_json(line)))
            except ValueError:
                break
    return found


def _write_noted_epochs(lost: FrozenTrial, folder: Path) -> None:
    """Write the epochs that a study has noted of a trial into its folder, where that knows fewer of them."""
    noted, curve = lost.user_attrs.get("epochs", []), lost.intermediate_values
    if len(noted) > len(epochs_in(folder)):
        named = [dict(zip(NOTED_OF_EPOCH, numbers, strict=True)) for numbers in noted]
        results = [EpochResult(epoch, accuracy=curve[epoch], **known) for epoch, known in enumerate(named, start=1)]
        write_whole(folder / TRIAL_EPOCHS, "".join(map(epoch_line, results)))


def epoch_line(result: EpochResult) -> str:
    """A line of the file of epochs in a trial's folder."""
    return json.dumps(asdict(result)) + "\n"


def drop_checkpoint(folder: Path, but: str = "") -> None:
    """Remove the checkpoint from a trial's folder, and what a kill left of one half written; not the file `but`."""
    for file in folder.glob(f"*{TRIAL_CHECKPOINT}*"):
        if file.name != but:
            file.unlink(missing_ok=True)
