"""`SearchPart`: a part of a search, and the scheduler that gives out its trials. It loads no torch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.storage.checkpoint_place import CheckpointPlace
from nas_budget.search.storage.storage import FINALISTS_STUDY, open_study
from nas_budget.search.storage.tables import finalists, versions
from nas_budget.search.workers.finalist_scheduler import FinalistScheduler
from nas_budget.search.workers.ladder_scheduler import LadderScheduler
from nas_budget.search.workers.scheduler import SearchScheduler, StoredTrials
from nas_budget.search.workers.stop_rules import Deadline


@dataclass(frozen=True)
class SearchPart:
    """The new trials of a search, a level of its ladder, or its finalists.

    Attributes:
        settings: Of the study.
        folder: Of the run.
        deadline: From which no trial begins; None for no limit.
        level: Level of the ladder, 0 for new trials; None trains the finalists.
        place: Where checkpoints go that workers of other machines find; None for the run folder alone.
        session: Of the search; no other search has it.
    """

    settings: StudyConfig
    folder: Path
    deadline: Deadline | None
    level: int | None
    place: CheckpointPlace | None = None
    session: str = field(default_factory=lambda: uuid.uuid4().hex)

    def worker(self, index: int) -> str:
        """The name of the worker of this index. Whoever takes its place has the same."""
        return f"{self.session}-{index}"

    def scheduler(self, about: Mapping[str, Any], should_stop: Callable[[], bool] = lambda: False) -> StoredTrials:
        """What gives a worker its trials.

        Args:
            about: Index of the worker, and where it trains; noted with each trial.
            should_stop: Ends a wait for other workers, or for a storage that is gone.
        """
        worker = self.worker(about["worker_index"])
        found = self._scheduler({"versions": versions(), "worker": worker, **about}, should_stop)
        found.should_stop = should_stop
        return found

    def _scheduler(self, about: Mapping[str, Any], should_stop: Callable[[], bool]) -> StoredTrials:
        settings = self.settings
        study = open_study(settings, self.folder, versions(), should_stop=should_stop, joins=True)
        if self.level == 0:
            return SearchScheduler(settings, study, self.folder, about, self.deadline)
        if self.level is not None:
            return LadderScheduler(settings, study, self.folder, about, self.level, self.deadline)
        again = open_study(settings, self.folder, versions(), FINALISTS_STUDY, should_stop, joins=True)
        best = finalists(study, settings.finalists)
        return FinalistScheduler(settings, again, self.folder, about, best, self.deadline)
