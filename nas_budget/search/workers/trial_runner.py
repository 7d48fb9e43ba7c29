"""`TrialRunner`: one trial, trained from rung to rung; `run_trials`: all that a scheduler suggests."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas_budget.arch.cost import cost
from nas_budget.errors import NasBudgetError, SpoiledDeviceError, TrainingError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import TRIAL_EPOCHS, TRIAL_ERROR, TRIAL_SETTINGS
from nas_budget.records.trials import EpochResult
from nas_budget.search.storage.tables import versions
from nas_budget.search.workers.events import Event, SearchEnded, TrialEpoch, TrialFinished, TrialStarted
from nas_budget.search.workers.scheduler import GO_ON, Assignment, Decision, NoMoreTrials, Scheduler
from nas_budget.search.workers.trainer import CandidateTrainer
from nas_budget.train.engine.device import is_spoiled

FAILURES_IN_A_ROW = 5


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
        for event in runner.events():
            yield event
            if isinstance(event, TrialFinished):
                failures = failures + 1 if event.record.state == "failed" else 0
                if failures == FAILURES_IN_A_ROW:
                    why = event.record.reason
                    raise TrainingError(f"{failures} trials failed in a row, the last because: {why}")
        if runner.spoiled:
            raise runner.spoiled
    if trial.reason:
        yield SearchEnded(trial.reason, trial.is_complete)


class TrialRunner:
    """Trains one trial, epoch by epoch, and does with it what the scheduler decides.

    Args:
        trial: What to train.
        scheduler: Gets each epoch and decides at each rung.
        trainer: Trains.

    Attributes:
        decision: The scheduler's last decision.
        epoch: The last epoch trained; 0 before the first.
        seconds: What training has taken.
        spoiled: The error after which this process can use its GPU no more, if there was one.
    """

    def __init__(self, trial: Assignment, scheduler: Scheduler, trainer: CandidateTrainer) -> None:
        self.trial, self.scheduler, self.trainer = trial, scheduler, trainer
        self.decision = GO_ON
        self.epoch = 0
        self.seconds = 0.0
        self.spoiled: SpoiledDeviceError | None = None
        self.results = self._results()

    def events(self) -> Iterator[Event]:
        """Train from rung to rung until the trial has ended; what happens."""
        trial, spec = self.trial, self.trial.candidate.spec
        yield TrialStarted(trial.number, spec, cost(spec).params, trial.resumed, trial.finalist)
        for rung in trial.rungs:
            yield from self.train_to(rung)
            if not self.decision.goes_on:
                break
            self.decision = self.scheduler.on_rung(trial, self.epoch)
        yield self.finish()

    def train_to(self, rung: int) -> Iterator[TrialEpoch]:
        """Train up to this epoch, or until the trial has ended. An error of the training ends the trial as failed."""
        start = time.perf_counter()
        try:
            while self.epoch < rung and self.decision.goes_on:
                result = next(self.results)
                self.epoch = result.epoch
                self.seconds += time.perf_counter() - start
                yield TrialEpoch(self.trial.number, result, self.trial.finalist)
                start = time.perf_counter()
        except (NasBudgetError, SQLAlchemyError, StorageInternalError):
            raise  # a storage that cannot be reached is no fault of the trial
        except Exception as error:
            self.seconds += time.perf_counter() - start
            first_line = (str(error).splitlines() or [""])[0]
            self.decision = Decision(TrialState.FAIL, f"{type(error).__name__}: {first_line}")
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

    def finish(self) -> Event:
        """End the trial: the scheduler records it and the trainer frees its memory. The event of it."""
        self.results.close()
        event = self.scheduler.on_finished(self.trial, self.decision, self.seconds)
        if not self.spoiled:
            self.trainer.release()
        return event

    def _results(self) -> Any:
        """Train with each seed at once, write the mean of each epoch to the trial's folder, tell the scheduler."""
        trial = self.trial
        about = trial.candidate.to_dict() | {
            "proxy": trial.proxy, "seeds": trial.seeds, "device": self.trainer.device,
            "precision": self.trainer.precision, "versions": versions(),
        }  # fmt: skip
        write_whole(trial.folder / TRIAL_SETTINGS, json.dumps(about, indent=2) + "\n")
        self.scheduler.on_start(trial, self.trainer.latency_s(trial.candidate.spec))
        trainings = [self.trainer.train(trial.trained, seed) for seed in trial.seeds]
        with (trial.folder / TRIAL_EPOCHS).open("w") as file:
            for results in zip(*trainings, strict=True):
                result = mean_of(results)
                file.write(json.dumps(asdict(result)) + "\n")
                file.flush()
                self.decision = self.scheduler.on_epoch(trial, result)
                yield result


def mean_of(results: tuple[EpochResult, ...]) -> EpochResult:
    """The mean of the same epoch of several trainings, with the sum of their seconds and what befell any of them."""
    means: dict[str, Any] = {
        name: fmean(getattr(r, name) for r in results) for name in ("train_loss", "accuracy", "validation_loss")
    }
    how: dict[str, Any] = {
        "micro_batches": max(r.micro_batches for r in results),
        "not_recorded": next((r.not_recorded for r in results if r.not_recorded), ""),
    }
    return replace(results[0], **means, seconds=sum(r.seconds for r in results), **how)
