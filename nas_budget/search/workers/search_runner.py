"""`Search`: a study run to its end: its trials, then the finalists, and the files that keep it all."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import torch
from optuna.study import Study
from optuna.trial import TrialState

from nas_budget.errors import SpoiledDeviceError, StoppedError, StorageError
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.paths import FINALIST_FOLDERS, TRIAL_CHECKPOINT, TRIAL_FOLDERS
from nas_budget.search.config.proxy import BASE_SHARE
from nas_budget.search.config.settings import StudyConfig, write_config
from nas_budget.search.storage.checkpoint_place import CheckpointPlace, open_place
from nas_budget.search.storage.optuna_adapter import clear_errors, quiet_optuna
from nas_budget.search.storage.storage import only_runner, open_study
from nas_budget.search.storage.tables import StudyTables, row_of, versions
from nas_budget.search.storage.trial_store import TrialStore, release
from nas_budget.search.workers.events import (
    SPOILED_EXIT,
    Event,
    FinalistFinished,
    SearchEnded,
    TrialFinished,
    TrialStarted,
    WorkerLost,
)
from nas_budget.search.workers.part import SearchPart
from nas_budget.search.workers.process_pool import WorkerPool
from nas_budget.search.workers.scheduler import drop_checkpoint, epochs_in
from nas_budget.search.workers.shared_checkpoints import SharedCheckpoints
from nas_budget.search.workers.stop_rules import Deadline
from nas_budget.search.workers.trainer import CandidateTrainer, TorchTrainer
from nas_budget.search.workers.trial_runner import run_trials
from nas_budget.train.data.open import open_recorded
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.device import choose_device

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class LocalWorker:
    """A part of a search as a worker process of this machine does it. Picklable, so that a process can be given it.

    Attributes:
        part: Of the search.
        data_dir: Folder of the data sets.
        gpus: GPUs dealt out to workers in turn, by what CUDA_VISIBLE_DEVICES calls them; empty on other devices.
    """

    part: SearchPart
    data_dir: str | None
    gpus: tuple[str, ...] = ()

    def environment(self, index: int) -> dict[str, str]:
        """Variables of the worker of this index: it sees one GPU alone, and so uses no memory of another."""
        return {VISIBLE_GPUS: self.gpus[index % len(self.gpus)]} if self.gpus else {}

    def __call__(self, index: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """The events of the worker of this index, in a process of its own."""
        quiet_optuna()
        settings = self.part.settings
        device = choose_device("cuda" if self.gpus else settings.device)
        if device.type == "cpu":
            torch.set_num_threads(settings.threads)
        data = open_recorded(settings.data_name, settings.data_place, self.data_dir, lambda _: None)
        images = split_images(data, device, settings.n_train, settings.n_validation)
        yield from events_of(self.part, torch_trainer(settings, images, should_stop), should_stop, index)


def events_of(
    part: SearchPart, trainer: CandidateTrainer, should_stop: Callable[[], bool], index: int = 0
) -> Iterator[Event]:
    """The events of a part of a search as the worker of this index trains it."""
    with clear_errors(part.settings.storage):
        scheduler = part.scheduler({"device": trainer.device, "worker_index": index}, should_stop)
        try:
            yield from run_trials(SharedCheckpoints(scheduler, part.place) if part.place else scheduler, trainer)
        finally:
            scheduler.store.release()


class Workers(Protocol):
    """What trains a part of a search, other than this machine."""

    def events(self, part: SearchPart) -> Iterator[Event]:
        """What happens in any of the workers, in the order of each."""


def torch_trainer(settings: StudyConfig, images: SplitImages, should_stop: Callable[[], bool]) -> TorchTrainer:
    """What trains the networks of a study."""
    return TorchTrainer(images, settings.precision, should_stop, settings.graph)


def visible_gpus(name: str, unusable: Collection[int] = ()) -> tuple[str, ...]:
    """The GPUs of the device of a name, "auto", "cuda" or "cuda:1", by what CUDA_VISIBLE_DEVICES calls them.

    Those that do not compute are left out, by their index.

    Of slices of a GPU (MIG) a process sees only the first, so all are taken that the variable names.
    """
    n = torch.cuda.device_count()
    given = [each.strip() for each in os.environ.get(VISIBLE_GPUS, "").split(",") if each.strip()]
    is_sliced = bool(given) and given[0].startswith("MIG-")
    gpus = given if is_sliced else given[:n] or [str(i) for i in range(n)]
    index = torch.device(name).index if name.startswith("cuda:") else None
    return tuple(gpu for i, gpu in enumerate(gpus) if (i not in unusable if index is None else i == index))


class Search:
    """A study and what it needs to run; `events` runs it.

    Args:
        settings: What to do.
        trainer: What trains in this process, or the images for torch to train on.
        folder: Where the study's files go.
        should_stop: Asked before every step. Where it says so the search stops, to be resumed later.
        data_dir: Folder of the data sets, for workers in processes of their own.
        gpus: GPUs that are dealt out to such workers (`visible_gpus`).
        workers: Who trains in their place; None for this machine.
        joins: Whether another command runs the search, in the same database, and this one only trains.

    Attributes:
        study: Optuna's study.
        tables: Rows and files of the study.
        is_spoiled: Whether this process can use its GPU no more.
    """

    def __init__(
        self, settings: StudyConfig, trainer: CandidateTrainer | SplitImages, folder: Path,
        should_stop: Callable[[], bool] | None = None, data_dir: str | None = None, gpus: tuple[str, ...] = (),
        workers: Workers | None = None, joins: bool = False,
    ) -> None:  # fmt: skip
        should_stop = should_stop or (lambda: False)
        self.settings = settings
        self.trainer = torch_trainer(settings, trainer, should_stop) if isinstance(trainer, SplitImages) else trainer
        self.folder = folder
        self.should_stop = should_stop
        self.data_dir = data_dir
        self.gpus = gpus
        self.workers, self.joins = workers, joins
        self.is_spoiled = False
        self.study: Study = open_study(settings, folder, versions(), should_stop=should_stop, joins=joins)
        self.tables = StudyTables(settings, self.study, folder, versions(), should_stop, joins=joins)
        self.place: CheckpointPlace | None = None
        if settings.checkpoints:
            with clear_errors(settings.storage):
                self.place = open_place(settings.checkpoints, self.study, joins)

    def events(self) -> Generator[Event, None, None]:
        """Run trials until the asked number is complete or pruned or a stop rule holds, the ladder, then the finalists.

        Trials that a process now gone left unfinished are trained first, under their own numbers.

        Raises:
            StoppedError: `should_stop` said so. The trials under way are trained again when the study resumes.
            TrainingError: Several trials in a row failed.
            StorageError: Another process runs the study, where it lies cannot be written, or its database was gone for
                too long. Every trial that had ended is in it.
        """
        told = set[str]()
        try:
            with nullcontext() if self.joins else self._run_folder(), clear_errors(self.settings.storage):
                session = uuid.uuid4().hex
                for level, deadline in self._parts():
                    part = SearchPart(self.settings, self.folder, deadline, level, self.place, session)
                    yield from self._events_of(part, told)
        except StorageError:
            if self.should_stop():
                raise StoppedError("stopped while the storage did not answer") from None
            raise

    @contextmanager
    def _run_folder(self) -> Iterator[None]:
        """The run folder is this search's, with the files that are derived from the study."""
        with only_runner(self.folder), clear_errors(self.settings.storage):
            write_config(self.settings, self.folder)
            if self.settings.storage == "journal":  # whatever trained in this folder before is gone
                for study in self._studies():
                    release(study)
            self._tidy()
            self.tables.write()
            is_gone = False
            try:
                yield
            except StorageError:
                is_gone = True
                raise
            finally:
                if not is_gone:  # or there is nothing to derive the tables from
                    self.tables.write()
                    self.tables.write_predictions()

    def _tidy(self) -> None:
        """Remove what a kill left of checkpoints, here and where they are shared, but not those of open trials."""
        for study, folders in self._studies().items():
            left = {file.parent for file in (self.folder / folders).glob(f"*/*{TRIAL_CHECKPOINT}*")}
            is_asked = left or self.place
            open_now = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if is_asked else []
            kept = {str(trial.number) for trial in open_now}
            for folder in left:
                drop_checkpoint(folder, but=TRIAL_CHECKPOINT if folder.name in kept else "")
            if self.place:
                self.place.drop_others(folders, kept)

    def _studies(self) -> dict[Study, str]:
        """The study and that of the finalists, where there is one, with the folders of their trials."""
        again = self.tables.finalists_study
        return {self.study: TRIAL_FOLDERS} | ({again: FINALIST_FOLDERS} if again else {})

    def _parts(self) -> Iterator[tuple[int | None, Deadline | None]]:
        """The parts of the search, each with the time from which it begins nothing more."""
        s, start = self.settings, time.time()
        timeout = [Deadline(start + s.timeout, "the time given by timeout is over")] if s.timeout else []
        whole, base = [], []
        if s.time:
            given = seconds_in_words(s.time)
            whole = [Deadline(start + s.time, f"the {given} of search.time are over")]
            why = f"{BASE_SHARE:.0%} of the {given} of search.time are over; the rest is for wider copies of the best"
            base = [Deadline(start + BASE_SHARE * s.time, why)] if s.ladder else whole
        first = attrgetter("at")
        yield 0, min([*timeout, *base], key=first, default=None)
        for level in range(1, len(s.ladder) + 1):
            yield level, min([*timeout, *whole], key=first, default=None)
        if s.finalists:
            yield None, min(whole, key=first, default=None)

    def _events_of(self, part: SearchPart, told: set[str]) -> Iterator[Event]:
        """The events of a part, wherever it is trained; each reason of an end only once."""
        for event in self._trained(part):
            if isinstance(event, SearchEnded):
                if event.reason in told:
                    continue
                told.add(event.reason)
            failed = self._note_death(part, event) if isinstance(event, WorkerLost) else None
            for each in event, failed:
                if isinstance(each, TrialFinished | FinalistFinished) and not self.joins:
                    self.tables.write_if_due()
                if each:
                    yield each
            if not self.joins:
                self.tables.write_workers_if_due()

    def _note_death(self, part: SearchPart, lost: WorkerLost) -> TrialFinished | FinalistFinished | None:
        """Note that a worker was lost, and release its trial; the end of the trial, where that was the last attempt."""
        study, folders = [*self._studies().items()][1 if lost.finalist else 0]
        store = TrialStore(study, {"worker": part.worker(lost.worker)})
        ended = None
        if lost.trial is not None:
            folder = self.folder / folders / str(lost.trial)
            ended = store.note_death(lost.trial, lost.cause, sum(epoch.seconds for epoch in epochs_in(folder)))
        for each in self._studies():
            release(each, part.worker(lost.worker))
        if not ended:
            return None
        drop_checkpoint(folder)
        if self.place:
            with suppress(StorageError):  # what is left there is dropped when a search starts
                self.place.drop(f"{folders}/{lost.trial}")
        if lost.finalist:
            return FinalistFinished(ended.number, ended.user_attrs["of"], None, ended.user_attrs["reason"])
        return TrialFinished(row_of(ended, self.settings))

    def _trained(self, part: SearchPart) -> Iterator[Event]:
        """The events of this process, of several of this machine, or of other workers."""
        if self.workers:
            return self.workers.events(part)
        if self.settings.workers == 1 and not self.is_spoiled:
            return self._trained_here(part)
        job = LocalWorker(part, self.data_dir, self.gpus)
        return WorkerPool(self.settings.workers, self.should_stop, job.environment).events(job)

    def _trained_here(self, part: SearchPart) -> Iterator[Event]:
        """The events of this process. Where it can use its GPU no more, a worker process takes its place."""
        trial: TrialStarted | None = None
        try:
            for event in events_of(part, self.trainer, self.should_stop):
                trial = event if isinstance(event, TrialStarted) else trial
                trial = None if isinstance(event, TrialFinished | FinalistFinished) else trial
                yield event
        except SpoiledDeviceError:
            if not isinstance(self.trainer, TorchTrainer):
                raise
            self.is_spoiled = True
        if self.is_spoiled:
            yield WorkerLost(0, SPOILED_EXIT, trial.number if trial else None, bool(trial and trial.finalist))
            yield from self._trained(part)
