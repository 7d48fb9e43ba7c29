"""The search itself: workers that train trials, the finalists after them, and the files that keep it all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from optuna.study import Study

from nas_budget.errors import StudyError
from nas_budget.records.atomic_write import write_whole
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.storage.rows import versions
from nas_budget.search.storage.storage import only_runner, open_study, quiet_optuna
from nas_budget.search.storage.tables import FINALS, StudyTables, finalists
from nas_budget.search.workers.events import Event, FinalistFinished, SearchEnded, TrialFinished, WorkerLost
from nas_budget.search.workers.finalist_scheduler import FinalistRuns
from nas_budget.search.workers.process_pool import run_processes
from nas_budget.search.workers.scheduler import NewTrials, Source
from nas_budget.search.workers.trainer import CandidateTrainer, TorchTrainer
from nas_budget.search.workers.worker import Worker
from nas_budget.train.data.dataset import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.device import choose_device

ROUNDS = 3
"""How often workers are begun again after some were lost."""


@dataclass(frozen=True)
class Phase:
    """A part of a search as its workers do it; picklable, so that a process can be given it.

    Attributes:
        settings: Of the study.
        folder: Of the run.
        data_dir: Folder of the data sets.
        deadline: Time (of `time.time`) from which no trial begins.
        finals: Whether it is the finalists' turn.
    """

    settings: StudyConfig
    folder: Path
    data_dir: str | None
    deadline: float | None
    finals: bool

    def __call__(self, number: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """The events of the worker of this number, in a process of its own."""
        quiet_optuna()
        device = worker_device(self.settings.sections["search"]["device"], number)
        if device.type == "cpu":
            torch.set_num_threads(self.settings.threads)
        data = open_dataset(self.settings.sections["data"]["name"], self.data_dir, lambda _: None)
        images = split_images(data, device, self.settings.n_train, self.settings.n_validation)
        yield from self.events(torch_trainer(self.settings, images, should_stop), number)

    def events(self, trainer: CandidateTrainer, number: int = 0) -> Iterator[Event]:
        """The events of a worker that trains with this trainer."""
        source = self.source(trainer.device, number)
        yield from Worker(source, trainer, self.settings).events()
        if source.ended:
            yield SearchEnded(source.ended)

    def source(self, device: str, number: int) -> Source:
        """Where a worker's trials come from."""
        about = {"device": device, "versions": versions(), "worker_index": number}
        study = open_study(self.settings, self.folder, versions())
        if not self.finals:
            return NewTrials(self.settings, study, self.folder, about, self.deadline)
        finals = open_study(self.settings, self.folder, versions(), FINALS)
        return FinalistRuns(self.settings, finals, self.folder, about, finalists(study, self.settings.finalists))


def torch_trainer(settings: StudyConfig, images: SplitImages, should_stop: Callable[[], bool]) -> TorchTrainer:
    """What trains the networks of a study."""
    return TorchTrainer(images, settings.precision, should_stop, settings.graph)


def worker_device(name: str, number: int) -> torch.device:
    """The device of a worker: GPUs are dealt out in turn unless one is named."""
    device = choose_device(name)
    if device.type == "cuda" and name in ("auto", "cuda"):
        return torch.device("cuda", number % torch.cuda.device_count())
    return device


class Search:
    """A study and what it needs to go on; `events` runs it.

    Args:
        settings: What to do.
        trainer: What trains in this process, or the images for torch to train on.
        folder: Where the study's files go.
        should_stop: Asked before every step; when it says so the search stops, to be gone on with later.
        data_dir: Folder of the data sets, for workers in processes of their own.
    """

    def __init__(
        self, settings: StudyConfig, trainer: CandidateTrainer | SplitImages, folder: Path,
        should_stop: Callable[[], bool] = lambda: False, data_dir: str | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.trainer = torch_trainer(settings, trainer, should_stop) if isinstance(trainer, SplitImages) else trainer
        self.folder = folder
        self.should_stop = should_stop
        self.data_dir = data_dir
        self.study: Study = open_study(settings, folder, versions())
        self.tables = StudyTables(settings, self.study, folder, versions())

    def events(self) -> Generator[Event, None, None]:
        """Run trials until the asked number is complete or pruned or a stop rule holds, then the finalists.

        Trials that a process now gone left unfinished are trained first, under their own numbers.

        Raises:
            StoppedError: `should_stop` said so; the trials under way will be trained when the study goes on.
            StudyError: Several trials in a row failed, or another process runs the study.
        """
        deadline = None if self.settings.timeout is None else time.time() + self.settings.timeout
        with only_runner(self.folder):
            write_whole(self.folder / "settings.json", json.dumps(self.settings.sections, indent=2) + "\n")
            self.tables.write()
            try:
                yield from self._phase(Phase(self.settings, self.folder, self.data_dir, deadline, finals=False))
                if self.settings.finalists:
                    yield from self._phase(Phase(self.settings, self.folder, self.data_dir, None, finals=True))
            finally:
                self.tables.write()

    def _phase(self, phase: Phase) -> Iterator[Event]:
        """The events of one worker here, or of several in processes of their own; the reason of an end only once."""
        reasons: set[str] = set()
        for event in phase.events(self.trainer) if self.settings.workers == 1 else self._processes(phase):
            if isinstance(event, SearchEnded):
                if reasons:
                    continue
                reasons.add(event.reason)
            if isinstance(event, TrialFinished | FinalistFinished):
                self.tables.write_if_due()
            yield event

    def _processes(self, phase: Phase) -> Iterator[Event]:
        """The events of several processes, begun again when some were lost: the others may have left before that.

        Raises:
            StudyError: Workers were lost again and again.
        """
        for _ in range(ROUNDS):
            lost = 0
            for event in run_processes(phase, self.settings.workers, self.should_stop):
                lost += isinstance(event, WorkerLost)
                yield event
            if not lost:
                return
        raise StudyError(
            f"workers were lost in {ROUNDS} rounds, by lack of memory perhaps; nothing finished is lost; "
            "go on with fewer --workers"
        )
