"""The search itself: propose, train, stop early, remember; whatever happens, nothing finished is lost."""

from __future__ import annotations

import gc
import json
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_budget.arch.cost import cost
from nas_budget.arch.feasible import FeasibleSpace
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NasBudgetError, StudyError
from nas_budget.files import write_whole
from nas_budget.search.proposals import propose
from nas_budget.search.records import records, spec_of, versions
from nas_budget.search.settings import Settings
from nas_budget.search.storage import FINISHED, abandoned, only_runner, open_study, this_worker
from nas_budget.train.device import describe_device
from nas_budget.train.images import SplitImages
from nas_budget.train.loop import EpochResult, diverged, train
from nas_budget.train.network import build
from nas_budget.trial_table import TrialRecord, best_of, write_table

FAILURES_IN_A_ROW = 5
TABLE = "trials.csv"
BEST = "best.json"


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


@dataclass(frozen=True)
class SpaceUsedUp:
    """Every network of the space that fits has had its trial; the search ends."""

    n_networks: int


Event = TrialStarted | TrialEpoch | TrialFinished | SpaceUsedUp


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
            StudyError: Several trials in a row failed, or another process runs the study.
        """
        with only_runner(self.folder):
            write_whole(self.folder / "settings.json", json.dumps(self.settings.sections, indent=2) + "\n")
            self._write_table()
            yield from self._trials()

    def _trials(self) -> Iterator[Event]:
        failures = 0
        waiting = list(abandoned(self.study, shared=self.settings.storage != "journal"))
        while self.finished() < self.settings.trials:
            begun = self._take_over(waiting.pop(0)) if waiting else self._ask()
            if begun is None:
                yield SpaceUsedUp(len(self._seen()))
                return
            trial, spec = begun
            yield TrialStarted(trial.number, spec, cost(spec).params, "started_again" in trial.user_attrs)
            yield from self._run(trial, spec)
            ended = next(row for row in self._write_table() if row.number == trial.number)
            yield TrialFinished(ended)
            failures = failures + 1 if ended.state == "failed" else 0
            if failures == FAILURES_IN_A_ROW:
                raise StudyError(f"{failures} trials failed in a row, the last because: {ended.reason}")

    def _seen(self) -> set[ResNetSpec]:
        specs = map(spec_of, self.study.get_trials(deepcopy=False))
        return {spec for spec in specs if spec}

    def _ask(self) -> tuple[Trial, ResNetSpec] | None:
        """A new trial and its network, which no trial had before; None when no network is left."""
        seen = self._seen()
        queued = next((spec for spec in self.settings.queue if spec not in seen), None)
        if queued:
            self.study.enqueue_trial(self.feasible.encode(queued), user_attrs={"spec": queued.to_dict()})
        elif self.feasible.unseen(self.feasible.smallest(), seen) is None:
            return None
        trial = self.study.ask()
        trial.set_user_attr("worker", this_worker())
        return trial, self._choose(trial, seen)

    def _choose(self, trial: Trial, seen: set[ResNetSpec]) -> ResNetSpec:
        """The network of a trial: the queued one it came with, or the one proposed, or the nearest not seen."""
        point = propose(trial, self.settings.space)
        queued = spec_of(self._frozen(trial))
        spec = queued or self.feasible.unseen(self.feasible.decode(point), seen)
        if spec is None:
            raise StudyError("no network is left")  # _ask looked before
        trial.set_user_attr("spec", spec.to_dict())
        used = cost(spec)
        for name in "params", "macs", "activation_bytes":
            trial.set_user_attr(name, getattr(used, name))
        for margin in self.settings.budget.check(used).margins:
            trial.set_user_attr(f"margin_{margin.name}", margin.margin)
        return spec

    def _take_over(self, lost: FrozenTrial) -> tuple[Trial, ResNetSpec]:
        """A trial that a process left running, with the network it had, or one if it had none yet."""
        trial = Trial(self.study, lost._trial_id)
        trial.set_user_attr("worker", this_worker())
        trial.set_user_attr("started_again", True)
        spec = spec_of(lost)
        complete = spec and "params" in lost.user_attrs
        return trial, spec if spec and complete else self._choose(trial, self._seen())

    def _run(self, trial: Trial, spec: ResNetSpec) -> Iterator[TrialEpoch]:
        """Train the trial's network and tell the study how it went."""
        start = time.perf_counter()
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
            state, reason = TrialState.FAIL, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            write_whole(self._trial_folder(trial) / "error.txt", traceback.format_exc())
        trial.set_user_attr("seconds", time.perf_counter() - start)
        trial.set_user_attr("reason", reason)
        curve = self._frozen(trial).intermediate_values
        self.study.tell(trial, curve[max(curve)] if state == TrialState.COMPLETE else None, state)
        if self.device.type == "cuda":
            gc.collect()  # schedulers and optimisers hold each other, and with them the weights
            torch.cuda.empty_cache()

    def _epochs(self, trial: Trial, spec: ResNetSpec) -> Iterator[EpochResult]:
        """Train, writing each epoch to the trial's folder and to the study."""
        settings = self.settings
        about = {
            "spec": spec.to_dict(), "recipe": asdict(settings.recipe), "seed": settings.seed,
            "device": describe_device(self.device), "precision": settings.precision, "versions": versions(),
        }  # fmt: skip
        write_whole(self._trial_folder(trial) / "trial.json", json.dumps(about, indent=2) + "\n")
        known = dict(self._frozen(trial).intermediate_values)
        network = build(spec, settings.seed)
        with (self._trial_folder(trial) / "epochs.jsonl").open("w") as file:
            for result in train(network, self.images, settings.recipe, settings.seed, settings.precision, self.stopped):
                file.write(json.dumps(asdict(result)) + "\n")
                file.flush()
                if result.epoch not in known:
                    trial.report(result.accuracy, result.epoch)
                yield result

    def _trial_folder(self, trial: Trial) -> Path:
        return self.folder / "trials" / str(trial.number)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _write_table(self) -> list[TrialRecord]:
        """Write `trials.csv` and `best.json` anew and give the rows."""
        rows = self.records()
        write_table(self.folder / TABLE, rows)
        if leading := best_of(rows):
            write_whole(self.folder / BEST, leading.spec + "\n")
        return rows
