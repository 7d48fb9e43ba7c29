"""`StoredStudy`: a study looked at in its database, without the run folder of any machine."""

from __future__ import annotations

import time
from pathlib import Path

from nas_budget.errors import StudyError
from nas_budget.records.finalists import FinalistRun
from nas_budget.records.paths import TRIALS_TABLE
from nas_budget.records.trials import TrialRecord
from nas_budget.search.config.build import recorded_config
from nas_budget.search.config.settings import write_config
from nas_budget.search.storage.optuna_adapter import clear_errors, study_beside
from nas_budget.search.storage.storage import FINALISTS_STUDY, existing_study, recorded_study
from nas_budget.search.storage.tables import StudyTables

LOOK_S = 2.0
"""Seconds from one look at the database to the next."""


class StoredStudy:
    """The files that a run folder holds of a study, written from its database. The study is only read.

    Args:
        storage: Address of the database.
        name: Of the study.
        folder: Where the files go.

    Raises:
        UsageError: No address of a database.
        StudyError: The database holds no such study, or another version began it.
        StorageError: It cannot be reached.
    """

    def __init__(self, storage: str, name: str, folder: Path) -> None:
        recorded, made_with = recorded_study(storage, name)
        settings = recorded_config(name, lambda: recorded, f"study {name}", storage)
        study = existing_study(settings, folder, "", should_stop=lambda: True)
        if study is None:
            raise StudyError(f"study {name} was removed from the database a moment ago")
        with clear_errors(storage):
            write_config(settings, folder)
        self.tables = StudyTables(settings, study, folder, made_with, should_stop=lambda: True, read_only=True)
        self.written: tuple[list[TrialRecord], list[FinalistRun]] | None = None
        self.looked = float("-inf")
        self.look()

    @property
    def table(self) -> Path:
        """The trials table; what else there is lies beside it."""
        return self.tables.folder / TRIALS_TABLE

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.tables.settings.name

    @property
    def n_ended(self) -> int:
        """How many trials had ended at the last look."""
        return len(self.tables.known_rows())

    def look(self) -> None:
        """Write what is new since the last look, unless that was a moment ago. A table without news stays as it is.

        Raises:
            StorageError: The database cannot be reached; the files stay.
        """
        if time.monotonic() < self.looked + LOOK_S:
            return
        tables = self.tables
        if not tables.finalists_study:  # it is made when the finalists begin
            with clear_errors(tables.settings.storage):
                tables.finalists_study = study_beside(tables.study, tables.settings.name + FINALISTS_STUDY)
        found = tables.rows(), tables.finalist_runs()
        if found == self.written:
            tables.write_workers()
        else:
            tables.write()
            self.written = found
        self.looked = time.monotonic()
