"""`TrialRunner`: one trial, trained from rung to rung; `run_trials`: all that a scheduler suggests."""

from __future__ import annotations

import errno
import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas_budget.arch.cost import cost
from nas_budget.errors import NasBudgetError, SpoiledDeviceError, TrainingError, TrialLostError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import TRIAL_CHECKPOINT, TRIAL_EPOCHS, TRIAL_ERROR, TRIAL_SETTINGS
from nas_budget.records.trials import EpochResult
from nas_budget.search.storage.tables import versions
from nas_budget.search.workers.events import Event, SearchEnded, TrialEpoch, TrialFinished, TrialNote, TrialStarted
from nas_budget.search.workers.scheduler import (
    GO_ON,
    Assignment,
    Decision,
    NoMoreTrials,
    Scheduler,
    drop_checkpoint,
    epoch_line,
    epochs_in,
)
from nas_budget.search.workers.trainer import CandidateTrainer, Kept
from nas_budget.train.engine.device import is_out_of_memory, is_spoiled

FAILURES_IN_A_ROW = 5
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def run_trials(scheduler: Scheduler, trainer: CandidateTrainer) -> Iterator[Event]:
    """Train what the scheduler suggests until there is no more, and yield what happens.

    Raises:
        StoppedError: The trainer was asked to stop. The trials under way are trained again when the study resumes.
        TrainingError: Several trials in a row failed.
        SpoiledDeviceError: This process can use its GPU no more. Its trial is trained again, in another; where that
            trial has spoiled one before, it has failed.
    """
    failures = 0
    while not isinstance(trial := scheduler.suggest(), NoMoreTrials):
        runner = TrialRunner(trial, scheduler, trainer)
        try:
            for event in runner.events():
                yield event
                if isinstance(event, TrialFinished):
                    failures = failures + 1 if event.record.state == "failed" else 0
                    if failures == FAILURES_IN_A_ROW:
                        why = event.record.reason
                        raise TrainingError(f"{failures} trials failed in a row, the last because: {why}")
        except TrialLostError:
            trainer.release()  # whoever has the trial now ends it
        if runner.spoiled:
            raise runner.spoiled
    if trial.reason:
        yield SearchEnded(trial.reason)


class TrialRunner:
    """Trains one trial, epoch by epoch, and does with it what the scheduler decides.

    Args:
        trial: What to train. Where an attempt was interrupted it goes on at its checkpoint.
        scheduler: Gets each epoch and decides at each rung.
        trainer: Trains.

    Attributes:
        decision: The scheduler's last decision.
        epoch: The last epoch trained; 0 before the first.
        seconds: What training has taken, without what was trained in vain.
        spoiled: The error after which this process can use its GPU no more, if there was one.
    """

    def __init__(self, trial: Assignment, scheduler: Scheduler, trainer: CandidateTrainer) -> None:
        self.trial, self.scheduler, self.trainer = trial, scheduler, trainer
        self.decision = GO_ON
        self.epoch = 0
        self.seconds = 0.0
        self.spoiled: SpoiledDeviceError | None = None
        self.left: Iterator[EpochResult] = iter(())
        self.messages: list[str] = []

    def events(self) -> Iterator[Event]:
        """Train from rung to rung until the trial has ended; what happens."""
        trial, spec = self.trial, self.trial.candidate.spec
        yield TrialStarted(trial.number, spec, cost(spec).params, trial.resumed, trial.finalist)
        with self._attempt():
            self._start()
        for rung in trial.rungs:
            if rung <= self.epoch:
                continue  # the attempt that was interrupted went on there
            yield from self.train_to(rung)
            if not self.decision.goes_on:
                break
            self.decision = self.scheduler.on_rung(trial, self.epoch)
        yield self.finish()

    def train_to(self, rung: int) -> Iterator[Event]:
        """Train up to this epoch, or until the trial has ended."""
        while self.epoch < rung and self.decision.goes_on:
            before = self.epoch
            with self._attempt():
                result = next(self.left)
                with (self.trial.folder / TRIAL_EPOCHS).open("a") as file:
                    file.write(epoch_line(result))
                self._take_in(result)
            for text in self.messages:
                yield TrialNote(self.trial.number, text, self.trial.finalist)
            self.messages.clear()
            if self.epoch > before:
                yield TrialEpoch(self.trial.number, result, self.trial.finalist)

    def finish(self) -> Event:
        """End the trial: the scheduler records it and the trainer frees its memory. The event of it."""
        self.left = iter(())
        event = self.scheduler.on_finished(self.trial, self.decision, self.seconds)
        drop_checkpoint(self.trial.folder)
        if not self.spoiled:
            self.trainer.release()
        return event

    def _start(self) -> None:
        """Make the network or load it from its checkpoint, and tell the scheduler what an earlier attempt gave."""
        trial = self.trial
        about = trial.candidate.to_dict() | {
            "proxy": trial.proxy, "seeds": trial.seeds, "device": self.trainer.device,
            "precision": self.trainer.precision, "versions": versions(),
        }  # fmt: skip
        write_whole(trial.folder / TRIAL_SETTINGS, json.dumps(about, indent=2) + "\n")
        latency_s = self.trainer.latency_s(trial.candidate.spec)
        kept = Kept(trial.folder / TRIAL_CHECKPOINT, about, self.messages.append)
        training = self.trainer.train(trial.trained, trial.seeds, kept)
        in_vain = [epoch.seconds for epoch in epochs_in(trial.folder) if epoch.epoch > len(training.past)]
        write_whole(trial.folder / TRIAL_EPOCHS, "".join(map(epoch_line, training.past)))
        self.scheduler.on_start(trial, latency_s, sum(in_vain))
        for result in training.past:
            self._take_in(result)
            self.seconds += result.seconds
        self.left = training.left

    def _take_in(self, result: EpochResult) -> None:
        self.decision = self.scheduler.on_epoch(self.trial, result)
        self.epoch = result.epoch

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """What is done within it counts as time of the trial. An error of the training ends the trial as failed."""
        start = time.perf_counter()
        try:
            yield
        except (NasBudgetError, SQLAlchemyError, StorageInternalError):
            raise  # a storage that cannot be reached is no fault of the trial
        except OSError as error:
            if error.errno in DISK_TROUBLE:
                raise  # every trial would meet it
            self._fail(error)
        except Exception as error:
            self._fail(error)
        finally:
            self.seconds += time.perf_counter() - start

    def _fail(self, error: Exception) -> None:
        first_line = (str(error).splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {first_line}"
        if is_out_of_memory(error) and "memory" not in reason.lower():  # oneDNN, for one, does not say so
            reason = f"not enough memory, even with each batch in parts ({reason})"
        self.decision = Decision(TrialState.FAIL, reason)
        error_file = self.trial.folder / TRIAL_ERROR
        has_failed_before = error_file.exists()
        write_whole(error_file, traceback.format_exc())
        if is_spoiled(error):
            self.spoiled = SpoiledDeviceError(
                f"this process can use its GPU no more ({first_line}); nothing finished is lost, run the same "
                "command again"
            )
            if not has_failed_before:
                raise self.spoiled from None
