"""The search itself: propose, train, stop early, remember; whatever happens, nothing finished is lost."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_budget.arch.cost import cost
from nas_budget.arch.feasible import FeasibleSpace
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NasBudgetError, NothingFitsError, StudyError
from nas_budget.search.proposals import propose
from nas_budget.search.records import records, spec_of, versions
from nas_budget.search.settings import Settings
from nas_budget.search.storage import FINISHED, abandoned, open_study, this_worker
from nas_budget.train.device import describe_device
from nas_budget.train.images import SplitImages
from nas_budget.train.loop import EpochResult, diverged, train
from nas_budget.train.network import build
from nas_budget.trial_table import TrialRecord, best_of, write_table

FAILURES_IN_A_ROW = 5
TABLE = "trials.csv"
BEST = "best.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins to train; `again` when it had been interrupted."""

    number: int
    spec: ResNetSpec
    params: int
    again: bool


@dataclass(frozen=True)
class TrialEpoch:
    """A trial has trained one more epoch."""

    number: int
    result: EpochResult


@dataclass(frozen=True)
class TrialFinished:
    """A trial is complete, pruned or failed."""

    record: TrialRecord


Event = TrialStarted | TrialEpoch | TrialFinished


class Search:
    """A study and what it needs to go on; `events` runs it.

    Args:
        settings: What to do.
        images: Images on the device to train on.
        folder: Where the study's files go.
        stopped: Asked before every step; when it says so the search stops, to be gone on with later.
    """

    def __init__(
        self, settings: Settings, images: SplitImages, folder: Path, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.settings = settings
        self.images = images
        self.folder = folder
        self.stopped = stopped
        self.feasible = FeasibleSpace(settings.space, settings.budget)
        self.device = images.mean.device
        self.study: Study = open_study(settings, folder, versions())
        (folder / "settings.json").write_text(json.dumps(settings.sections, indent=2) + "\n")

    def finished(self) -> int:
        """How many trials are complete or pruned."""
        return len(self.study.get_trials(deepcopy=False, states=FINISHED))

    def records(self) -> list[TrialRecord]:
        """A row for each finished trial."""
        return list(records(self.study, self.settings))

    def events(self) -> Generator[Event, None, None]:
        """Run trials until the asked number is complete or pruned, telling what happens.

        Trials that a process now gone left unfinished are trained first, under their own numbers.

        Raises:
            StoppedError: `stopped` said so; the trial under way will be trained when the study goes on.
            NothingFitsError: Every network of the space that fits has been trained.
            StudyError: Several trials in a row failed.
        """
        failures = 0
        waiting = list(abandoned(self.study))
        while self.finished() < self.settings.trials:
            trial, spec = self._take_over(waiting.pop(0)) if waiting else self._ask()
            yield TrialStarted(trial.number, spec, cost(spec).params, "started_again" in trial.user_attrs)
            yield from self._run(trial, spec)
            finished = self._write_table(trial.number)
            yield TrialFinished(finished)
            failures = failures + 1 if finished.state == "failed" else 0
            if failures == FAILURES_IN_A_ROW:
                raise StudyError(f"{failures} trials failed in a row, the last because: {finished.reason}")

    def _ask(self) -> tuple[Trial, ResNetSpec]:
        """A new trial and its network, which no trial had before."""
        seen = {spec_of(trial) for trial in self.study.get_trials(deepcopy=False)}
        spec = next((queued for queued in self.settings.queue if queued not in seen), None)
        if spec:
            self.study.enqueue_trial(self.feasible.encode(spec))
        trial = self.study.ask()
        point = propose(trial, self.settings.space)
        spec = spec or self.feasible.unseen(self.feasible.decode(point), seen)
        if spec is None:
            self._fail(trial, "no network left")
            raise NothingFitsError(f"every network of the space that fits has had its trial: {len(seen):,} in all")
        trial.set_user_attr("spec", spec.to_dict())
        used = cost(spec)
        for name in "params", "macs", "activation_bytes":
            trial.set_user_attr(name, getattr(used, name))
        for margin in self.settings.budget.check(used).margins:
            trial.set_user_attr(f"margin_{margin.name}", margin.margin)
        return trial, spec

    def _take_over(self, lost: FrozenTrial) -> tuple[Trial, ResNetSpec]:
        trial = Trial(self.study, lost._trial_id)
        trial.set_user_attr("started_again", True)
        spec = spec_of(lost)
        if spec is None:  # it ended between its number and its network
            self._fail(trial, "interrupted before it had a network")
            return self._ask()
        return trial, spec

    def _run(self, trial: Trial, spec: ResNetSpec) -> Iterator[TrialEpoch]:
        """Train the trial's network and tell the study how it went."""
        start = time.perf_counter()
        trial.set_user_attr("worker", this_worker())
        trial.set_user_attr("device", describe_device(self.device))
        trial.set_user_attr("versions", versions())
        state, reason = TrialState.COMPLETE, ""
        last_known = self._frozen(trial).last_step or 0  # epochs up to here were survived before an interruption
        try:
            for result in self._epochs(trial, spec):
                yield TrialEpoch(trial.number, result)
                if diverged(result):
                    state, reason = TrialState.PRUNED, f"diverged in epoch {result.epoch}"
                elif last_known <= result.epoch < self.settings.recipe.epochs and trial.should_prune():
                    state, reason = TrialState.PRUNED, f"hopeless at epoch {result.epoch}"
                if reason:
                    break
        except NasBudgetError:
            raise
        except Exception as error:
            log.warning("trial %d failed", trial.number, exc_info=True)
            state, reason = TrialState.FAIL, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        trial.set_user_attr("seconds", time.perf_counter() - start)
        trial.set_user_attr("reason", reason)
        values = self._frozen(trial).intermediate_values
        value = values[max(values)] if state == TrialState.COMPLETE else None
        self.study.tell(trial, value, state)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _epochs(self, trial: Trial, spec: ResNetSpec) -> Iterator[EpochResult]:
        """Train, writing each epoch to the trial's folder and to the study."""
        folder = self.folder / "trials" / str(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        about = {
            "spec": spec.to_dict(), "recipe": asdict(settings.recipe), "seed": settings.seed,
            "device": describe_device(self.device), "precision": settings.precision, "versions": versions(),
        }  # fmt: skip
        (folder / "trial.json").write_text(json.dumps(about, indent=2) + "\n")
        network = build(spec, settings.seed)
        known = dict(self._frozen(trial).intermediate_values)
        with (folder / "epochs.jsonl").open("w") as file:
            for result in train(network, self.images, settings.recipe, settings.seed, settings.precision, self.stopped):
                file.write(json.dumps(asdict(result)) + "\n")
                file.flush()
                if result.epoch not in known:
                    trial.report(result.accuracy, result.epoch)
                yield result

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _write_table(self, number: int) -> TrialRecord:
        """Write `trials.csv` and `best.json` anew and give the row of one trial."""
        rows = self.records()
        write_table(self.folder / TABLE, rows)
        if leading := best_of(rows):
            (self.folder / BEST).write_text(leading.spec + "\n")
        return next(row for row in rows if row.number == number)
