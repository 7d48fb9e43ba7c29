"""`Coordinator`: the study's side of a search on several machines; `RemoteScheduler`: a worker's side of it."""

from __future__ import annotations

import shutil
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

from nas_budget.errors import TrialLostError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import TRIAL_CHECKPOINT
from nas_budget.records.trials import EpochResult
from nas_budget.search.storage.optuna_adapter import WORKER
from nas_budget.search.storage.trial_store import release
from nas_budget.search.workers.events import Event
from nas_budget.search.workers.scheduler import Assignment, Decision, NoMoreTrials, StoredTrials, drop_checkpoint

GRACE_S = 90.0
"""Seconds in which a coordinator that was started again expects the workers of the trials under way to call."""

Files = Mapping[str, bytes]
"""Files of a trial's folder by name, as they travel from machine to machine."""


@dataclass(frozen=True)
class Given:
    """A trial that is a worker's to train, and the files that an earlier attempt at it left."""

    trial: Assignment
    files: Files


class Calls(Protocol):
    """What a worker asks of a coordinator, by whatever carries calls from machine to machine.

    A worker says with each call who it is. A call may be made again, where its answer was lost, and gives the same.

    Raises:
        TrialLostError: The trial is no longer this worker's.
    """

    def suggest(self, worker: str, about: Mapping[str, Any]) -> Given | NoMoreTrials:
        """The next trial, or why there is none; `about` says where the worker trains."""

    def on_start(
        self, worker: str, trial: Assignment, latency_s: float | None, repeated_s: float, files: Files
    ) -> None:
        """A trial begins to train, or to train on."""

    def on_epoch(self, worker: str, trial: Assignment, result: EpochResult, files: Files) -> Decision:
        """Take in an epoch."""

    def on_rung(self, worker: str, trial: Assignment, epoch: int, files: Files) -> Decision:
        """Whether a trial goes on after a rung."""

    def on_finished(self, worker: str, trial: Assignment, outcome: Decision, seconds: float, files: Files) -> Event:
        """A trial has ended; what to tell of it."""


class Coordinator:
    """Gives the trials of one scheduler to workers on any machines, and writes down what they report.

    It alone proposes, judges and writes. So workers need neither the study's storage nor its folder. The trial of a
    worker that is gone is released, for the next that asks. A coordinator that was started again finds the trials
    under way in the study: a worker that calls keeps its trial, and one that does not call for `GRACE_S` loses it.

    A network is proposed when a worker asks for one. Proposed ahead, it would not know what the trials since then gave,
    and the worker would save the hundredths of a second that a proposal takes.

    Args:
        scheduler: Of the study.
        clock: Seconds that never go back.
    """

    def __init__(self, scheduler: StoredTrials, clock: Callable[[], float] = time.monotonic) -> None:
        self.scheduler = scheduler
        self.trials: dict[str, Assignment] = {}
        self.ended: dict[str, tuple[int, Event]] = {}
        end = clock() + GRACE_S
        scheduler.store.is_gone = lambda _: clock() > end

    def suggest(self, worker: str, about: Mapping[str, Any]) -> Given | NoMoreTrials:
        """The next trial; the same again where the worker has one already and does not know."""
        if worker not in self.trials:
            self.scheduler.store.about |= {**about, WORKER: worker}
            if isinstance(found := self.scheduler.suggest(), NoMoreTrials):
                return found
            self.trials[worker] = found
        trial = self.trials[worker]
        return Given(trial, files_in(trial.folder))

    def on_start(
        self, worker: str, trial: Assignment, latency_s: float | None, repeated_s: float, files: Files
    ) -> None:
        """Note what is known before the first epoch."""
        self._take(worker, trial, files)
        self.scheduler.on_start(trial, latency_s, repeated_s)

    def on_epoch(self, worker: str, trial: Assignment, result: EpochResult, files: Files) -> Decision:
        """Store what an epoch gave."""
        self._take(worker, trial, files)
        return self.scheduler.on_epoch(trial, result)

    def on_rung(self, worker: str, trial: Assignment, epoch: int, files: Files) -> Decision:
        """Judge the trial."""
        self._take(worker, trial, files)
        return self.scheduler.on_rung(trial, epoch)

    def on_finished(self, worker: str, trial: Assignment, outcome: Decision, seconds: float, files: Files) -> Event:
        """Finish the trial; the event of it again where that is done."""
        if self.ended.get(worker, (-1,))[0] != trial.number:
            self._take(worker, trial, files)
            self.ended[worker] = trial.number, self.scheduler.on_finished(trial, outcome, seconds)
            drop_checkpoint(self.trials.pop(worker).folder)
        return self.ended[worker][1]

    def release(self, worker: str) -> None:
        """A worker is gone: its trial is for the next that asks."""
        if trial := self.trials.pop(worker, None):
            self.scheduler.store.let_go(trial.number)
        release(self.scheduler.store.study, worker)

    def _take(self, worker: str, trial: Assignment, files: Files) -> None:
        """Check that the trial is the worker's, and write the files that came with the call."""
        if worker not in self.trials:
            self._adopt(worker, trial)
        if worker not in self.trials or self.trials[worker].number != trial.number:
            raise TrialLostError(f"trial {trial.number} was given to another worker")
        write_files(self.trials[worker].folder, files)

    def _adopt(self, worker: str, trial: Assignment) -> None:
        """Take over a trial under way that the coordinator before this one had given to the worker."""
        self.scheduler.look()
        for running in self.scheduler.store.running():
            if running.number == trial.number and running.user_attrs.get(WORKER) == worker:
                self.scheduler.adopt(running)
                self.trials[worker] = trial


class RemoteScheduler:
    """A `Scheduler` for one worker: asks the coordinator, and sends the files of its trial along.

    Trials train in a folder of the worker's own. The checkpoint travels at rungs, the small files with every call.

    Args:
        calls: To the coordinator.
        worker: Name of the worker; no other has it.
        about: Where it trains: device, versions, index and host.
    """

    def __init__(self, calls: Calls, worker: str, about: Mapping[str, Any]) -> None:
        self.calls, self.worker, self.about = calls, worker, about
        self.home = Path(mkdtemp(prefix="nas-budget-"))
        weakref.finalize(self, shutil.rmtree, self.home, ignore_errors=True)
        self.given: Assignment | None = None

    def suggest(self) -> Assignment | NoMoreTrials:
        """The next trial, in a folder here, with the files of an earlier attempt."""
        answer = self.calls.suggest(self.worker, self.about)
        if isinstance(answer, NoMoreTrials):
            return answer
        self.given = answer.trial
        folder = self.home / answer.trial.folder.name
        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder, answer.files)
        return replace(answer.trial, folder=folder)

    def on_start(self, trial: Assignment, latency_s: float | None, repeated_s: float = 0.0) -> None:
        """Tell that a trial begins to train."""
        self.calls.on_start(self.worker, self._at_home(trial), latency_s, repeated_s, _small_files(trial))

    def on_epoch(self, trial: Assignment, result: EpochResult) -> Decision:
        """Tell what an epoch gave."""
        return self.calls.on_epoch(self.worker, self._at_home(trial), result, _small_files(trial))

    def on_rung(self, trial: Assignment, epoch: int) -> Decision:
        """Ask whether the trial goes on, with its checkpoint kept safe."""
        return self.calls.on_rung(self.worker, self._at_home(trial), epoch, files_in(trial.folder))

    def on_finished(self, trial: Assignment, outcome: Decision, seconds: float) -> Event:
        """Tell how the trial ended; its folder here is removed."""
        event = self.calls.on_finished(self.worker, self._at_home(trial), outcome, seconds, _small_files(trial))
        shutil.rmtree(trial.folder, ignore_errors=True)
        return event

    def _at_home(self, trial: Assignment) -> Assignment:
        assert self.given is not None  # noqa: S101 - a trial was suggested before
        return replace(trial, folder=self.given.folder)


def files_in(folder: Path) -> Files:
    """The whole files in a trial's folder; those half written are left out."""
    if not folder.is_dir():
        return {}
    files = (file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return {file.name: file.read_bytes() for file in files}


def write_files(folder: Path, files: Files) -> None:
    """Write files into a trial's folder, each whole or not at all."""
    for name, content in files.items():
        write_whole(folder / name, content)


def _small_files(trial: Assignment) -> Files:
    return {name: content for name, content in files_in(trial.folder).items() if name != TRIAL_CHECKPOINT}
