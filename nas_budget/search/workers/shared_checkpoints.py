"""`SharedCheckpoints`: a scheduler whose trials go on at their checkpoints on other machines of the same kind."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from nas_budget.errors import StorageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import TRIAL_CHECKPOINT, TRIAL_EPOCHS
from nas_budget.records.trials import EpochResult
from nas_budget.search.storage.checkpoint_place import CheckpointPlace
from nas_budget.search.workers.events import Event
from nas_budget.search.workers.scheduler import Assignment, Decision, NoMoreTrials, StoredTrials, epochs_in
from nas_budget.train.engine.checkpoint import SHARE

COPIED = (TRIAL_EPOCHS, TRIAL_CHECKPOINT)
logger = logging.getLogger(__name__)


class SharedCheckpoints:
    """A `Scheduler` that copies each new checkpoint of its trials to a place, and fetches those of lost trials there.

    Copies take at most one part in `SHARE` of the time. They are an aid: where the place fails, trials go on without.

    Args:
        scheduler: What decides.
        place: Where the checkpoints go.
    """

    def __init__(self, scheduler: StoredTrials, place: CheckpointPlace) -> None:
        self.scheduler, self.place = scheduler, place
        self.next_copy = 0.0
        self.copied: tuple[Path, int] | None = None
        self.can_copy = True
        scheduler.fetch, scheduler.drop = self._fetch, self._drop

    def suggest(self) -> Assignment | NoMoreTrials:
        """As the scheduler has it."""
        return self.scheduler.suggest()

    def on_start(self, trial: Assignment, latency_s: float | None, repeated_s: float = 0.0) -> None:
        """As the scheduler has it."""
        self.scheduler.on_start(trial, latency_s, repeated_s)

    def on_epoch(self, trial: Assignment, result: EpochResult) -> Decision:
        """As the scheduler has it; the checkpoint of the epoch before is copied."""
        decision = self.scheduler.on_epoch(trial, result)
        is_last = result.epoch == trial.candidate.recipe.epochs
        if decision.goes_on and not is_last and time.monotonic() >= self.next_copy:
            self._copy(trial.folder)
        return decision

    def on_rung(self, trial: Assignment, epoch: int) -> Decision:
        """As the scheduler has it."""
        return self.scheduler.on_rung(trial, epoch)

    def on_finished(self, trial: Assignment, outcome: Decision, seconds: float) -> Event:
        """As the scheduler has it; the copies are removed."""
        event = self.scheduler.on_finished(trial, outcome, seconds)
        self._drop(trial.folder)
        return event

    def _copy(self, folder: Path) -> None:
        written = _written(folder)
        if written is None or written == self.copied:
            return
        start = time.monotonic()
        try:
            self.place.keep(_name(folder), {name: (folder / name).read_bytes() for name in COPIED})
            self.copied, self.can_copy = written, True
        except StorageError as error:
            if self.can_copy:
                logger.warning(f"{error}; on another machine a trial would start at its first epoch")
            self.can_copy = False
        now = time.monotonic()
        self.next_copy = now + SHARE * (now - start)

    def _fetch(self, folder: Path) -> None:
        """Get the checkpoint of a trial that was lost, unless the folder has one that is as far."""
        try:
            files = self.place.kept(_name(folder))
        except StorageError as error:
            logger.warning(f"{error}; a trial may start at its first epoch")
            return
        n_kept = files.get(TRIAL_EPOCHS, b"").count(b"\n")
        if _written(folder) and len(epochs_in(folder)) >= n_kept:
            return
        for name, content in files.items():
            write_whole(folder / name, content)
        self.copied = _written(folder)

    def _drop(self, folder: Path) -> None:
        try:
            self.place.drop(_name(folder))
        except StorageError as error:
            logger.warning(f"{error}; what is left there can be removed")


def _written(folder: Path) -> tuple[Path, int] | None:
    """Which checkpoint a trial's folder holds; None where it holds none."""
    checkpoint = folder / TRIAL_CHECKPOINT
    return (folder, checkpoint.stat().st_mtime_ns) if checkpoint.exists() else None


def _name(folder: Path) -> str:
    """The folder of a trial in that of its study, as "trials/12"."""
    return f"{folder.parent.name}/{folder.name}"
