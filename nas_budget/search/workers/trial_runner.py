"""One trial as a worker trains it, from rung to rung."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas_budget.arch.cost import cost
from nas_budget.errors import NasBudgetError
from nas_budget.records.atomic_write import write_whole
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.pruners.front import loss_key
from nas_budget.search.storage.rows import versions
from nas_budget.search.workers.events import Event, TrialEpoch, TrialStarted
from nas_budget.search.workers.scheduler import Begun, Source
from nas_budget.search.workers.trainer import CandidateTrainer
from nas_budget.train.engine.loop import EpochResult, diverged


class Run:
    """A trial under way.

    Args:
        begun: The trial.
        trainer: What trains it.
        settings: Of the study.
        source: Where it comes from.

    Attributes:
        state: How it ended; None while it goes on.
        reason: Why it ended before its time.
    """

    def __init__(self, begun: Begun, trainer: CandidateTrainer, settings: StudyConfig, source: Source) -> None:
        self.begun = begun
        self.trainer = trainer
        self.settings = settings
        self.source = source
        self.state: TrialState | None = None
        self.reason = ""
        self.seconds = 0.0
        self.epoch = 0
        self.known = dict(self._frozen().intermediate_values)  # survived before an interruption
        self.results = self._epochs()

    @property
    def folder(self) -> Path:
        """Where its files go."""
        return self.source.folder / str(self.begun.trial.number)

    def started(self) -> TrialStarted:
        """What to tell of its beginning."""
        number, spec = self.begun.trial.number, self.begun.candidate.spec
        return TrialStarted(number, spec, cost(spec).params, self.begun.resumed, not self.source.prunes)

    def train(self, rung: int) -> Iterator[TrialEpoch]:
        """Train up to this epoch, or to its end."""
        start = time.perf_counter()
        try:
            while self.epoch < rung and self.state is None:
                result = next(self.results)
                self.epoch = result.epoch
                self.seconds += time.perf_counter() - start
                yield TrialEpoch(self.begun.trial.number, result, not self.source.prunes)
                start = time.perf_counter()
                if diverged(result):
                    where = f"in epoch {result.epoch} at learning rate {result.learning_rate:.3g}"
                    self.state, self.reason = TrialState.PRUNED, f"diverged {where}"
                    self.begun.trial.set_user_attr("diverged", True)
        except (NasBudgetError, SQLAlchemyError, StorageInternalError):
            raise  # a storage that cannot be reached is no fault of the trial
        except Exception as error:
            self.seconds += time.perf_counter() - start
            self.state = TrialState.FAIL
            self.reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            write_whole(self.folder / "error.txt", traceback.format_exc())

    def judge(self, rung: int) -> None:
        """Decide at a rung whether it goes on."""
        if self.state is not None:
            return
        if self.epoch == self.begun.candidate.recipe.epochs:
            self.state = TrialState.COMPLETE
        elif self.source.prunes and rung >= max(self.known, default=0) and self.begun.trial.should_prune():
            self.state, self.reason = TrialState.PRUNED, f"hopeless at epoch {rung}"

    def finish(self) -> Event:
        """Tell the study how it went, give back what it held, and give what is to be told."""
        self.results.close()
        trial = self.begun.trial
        trial.set_user_attr("seconds", self.seconds)
        if self.reason:
            trial.set_user_attr("reason", self.reason)
        curve = self._frozen().intermediate_values
        trial.study.tell(trial, curve[max(curve)] if self.state == TrialState.COMPLETE else None, self.state)
        self.trainer.release()
        return self.source.finished(self._frozen())

    def _epochs(self) -> Generator[EpochResult, None, None]:
        """Train with each seed, epoch by epoch, writing the mean to the trial's folder and to the study."""
        candidate, trial = self.begun.candidate, self.begun.trial
        about = candidate.to_dict() | {
            "seeds": self.begun.seeds, "device": self.trainer.device, "precision": self.settings.precision,
            "versions": versions(),
        }  # fmt: skip
        write_whole(self.folder / "trial.json", json.dumps(about, indent=2) + "\n")
        trial.set_user_attr("latency_s", self.trainer.latency_s(candidate.spec))
        trainings = [self.trainer.train(candidate, seed) for seed in self.begun.seeds]
        with (self.folder / "epochs.jsonl").open("w") as file:
            for results in zip(*trainings, strict=True):
                result = mean_of(results)
                file.write(json.dumps(asdict(result)) + "\n")
                file.flush()
                if result.epoch not in self.known:
                    if self.source.prunes and result.epoch in self.settings.rungs and not diverged(result):
                        trial.set_user_attr(loss_key(result.epoch), result.train_loss)
                    trial.report(result.accuracy, result.epoch)
                yield result

    def _frozen(self) -> FrozenTrial:
        trial = self.begun.trial
        return trial.study._storage.get_trial(trial._trial_id)  # of thousands of trials only this one


def mean_of(results: tuple[EpochResult, ...]) -> EpochResult:
    """The mean of the same epoch of several trainings; their seconds are added."""
    means: dict[str, Any] = {
        name: fmean(getattr(r, name) for r in results) for name in ("train_loss", "accuracy", "validation_loss")
    }
    return replace(results[0], **means, seconds=sum(r.seconds for r in results))
