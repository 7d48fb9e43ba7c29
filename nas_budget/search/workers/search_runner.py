"""`Search`: a study run to its end: its trials, then the finalists, and the files that keep it all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
from optuna.study import Study

from nas_budget.records.formatting import seconds_in_words
from nas_budget.search.config.proxy import BASE_SHARE
from nas_budget.search.config.settings import StudyConfig, write_config
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import FINALISTS_STUDY, clear_errors, only_runner, open_study
from nas_budget.search.storage.tables import StudyTables, finalists, versions
from nas_budget.search.workers.events import Event, FinalistFinished, SearchEnded, TrialFinished
from nas_budget.search.workers.finalist_scheduler import FinalistScheduler
from nas_budget.search.workers.ladder_scheduler import LadderScheduler
from nas_budget.search.workers.process_pool import WorkerPool
from nas_budget.search.workers.scheduler import Scheduler, SearchScheduler
from nas_budget.search.workers.stop_rules import Deadline
from nas_budget.search.workers.trainer import CandidateTrainer, TorchTrainer
from nas_budget.search.workers.trial_runner import run_trials
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.device import choose_device

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Phase:
    """A part of a search as each worker does it. Picklable, so that a process can be given it.

    Attributes:
        settings: Of the study.
        folder: Of the run.
        data_dir: Folder of the data sets.
        deadline: From which no trial begins; None for no limit.
        level: Level of the ladder, 0 for new trials; None trains the finalists.
        gpus: GPUs dealt out to workers in turn, by what CUDA_VISIBLE_DEVICES calls them; empty on other devices.
    """

    settings: StudyConfig
    folder: Path
    data_dir: str | None
    deadline: Deadline | None
    level: int | None
    gpus: tuple[str, ...] = ()

    def environment(self, index: int) -> dict[str, str]:
        """Variables of the worker of this index: it sees one GPU alone, and so uses no memory of another."""
        return {VISIBLE_GPUS: self.gpus[index % len(self.gpus)]} if self.gpus else {}

    def __call__(self, index: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """The events of the worker of this index, in a process of its own."""
        quiet_optuna()
        device = choose_device("cuda" if self.gpus else self.settings.device)
        if device.type == "cpu":
            torch.set_num_threads(self.settings.threads)
        data = open_dataset(self.settings.data_name, self.data_dir, lambda _: None)
        images = split_images(data, device, self.settings.n_train, self.settings.n_validation)
        yield from self.events(torch_trainer(self.settings, images, should_stop), index)

    def events(self, trainer: CandidateTrainer, index: int = 0) -> Iterator[Event]:
        """The events of the worker of this index, with this trainer."""
        with clear_errors(self.settings.storage):
            yield from run_trials(self.scheduler(trainer.device, index), trainer)

    def scheduler(self, device: str, index: int) -> Scheduler:
        """What gives the worker of this index its trials."""
        about = {"device": device, "versions": versions(), "worker_index": index}
        study = open_study(self.settings, self.folder, versions())
        if self.level == 0:
            return SearchScheduler(self.settings, study, self.folder, about, self.deadline)
        if self.level is not None:
            return LadderScheduler(self.settings, study, self.folder, about, self.level, self.deadline)
        again = open_study(self.settings, self.folder, versions(), FINALISTS_STUDY)
        best = finalists(study, self.settings.finalists)
        return FinalistScheduler(self.settings, again, self.folder, about, best, self.deadline)


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

    Attributes:
        study: Optuna's study.
        tables: Rows and files of the study.
    """

    def __init__(
        self, settings: StudyConfig, trainer: CandidateTrainer | SplitImages, folder: Path,
        should_stop: Callable[[], bool] | None = None, data_dir: str | None = None, gpus: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        should_stop = should_stop or (lambda: False)
        self.settings = settings
        self.trainer = torch_trainer(settings, trainer, should_stop) if isinstance(trainer, SplitImages) else trainer
        self.folder = folder
        self.should_stop = should_stop
        self.data_dir = data_dir
        self.gpus = gpus
        self.study: Study = open_study(settings, folder, versions())
        self.tables = StudyTables(settings, self.study, folder, versions())

    def events(self) -> Generator[Event, None, None]:
        """Run trials until the asked number is complete or pruned or a stop rule holds, the ladder, then the finalists.

        Trials that a process now gone left unfinished are trained first, under their own numbers.

        Raises:
            StoppedError: `should_stop` said so. The trials under way are trained again when the study resumes.
            TrainingError: Several trials in a row failed.
            StorageError: Another process runs the study, or where it lies cannot be written.
        """
        with only_runner(self.folder):
            write_config(self.settings, self.folder)
            self.tables.write()
            told = set[str]()
            try:
                for level, deadline in self._phases():
                    yield from self._phase(
                        Phase(self.settings, self.folder, self.data_dir, deadline, level, self.gpus), told
                    )
            finally:
                self.tables.write()
                self.tables.write_predictions()

    def _phases(self) -> Iterator[tuple[int | None, Deadline | None]]:
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

    def _phase(self, phase: Phase, told: set[str]) -> Iterator[Event]:
        """The events of one worker in this process, or of several in their own; each reason of an end only once."""
        n = self.settings.workers
        pool = WorkerPool(n, self.should_stop, phase.environment)
        for event in phase.events(self.trainer) if n == 1 else pool.events(phase):
            if isinstance(event, SearchEnded):
                if event.reason in told:
                    continue
                told.add(event.reason)
            if isinstance(event, TrialFinished | FinalistFinished):
                self.tables.write_if_due()
            yield event
