"""Studies as a report takes them: a trials table, the finalists' runs beside it, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nas_budget.finalist_table import FINALISTS, FinalistRun, Standing, read_finalists, standings
from nas_budget.ledger import Ledger, ledger
from nas_budget.report.table import TABLE, best, interval, read_table
from nas_budget.trial_table import COLUMNS, TrialRecord


@dataclass(frozen=True)
class StudyTable:
    """One study of a report.

    Attributes:
        name: What it is called; unlike that of any other study of the report.
        table: Its trials.
        finalists: Runs of its finalists.
        folder: Of the run, as it was given; empty where only the table is known.
    """

    name: str
    table: pd.DataFrame
    finalists: tuple[FinalistRun, ...] = ()
    folder: str = ""

    @property
    def ledger(self) -> Ledger:
        """Where its time went."""
        rows = [TrialRecord(**{name: row[name] for name in COLUMNS}) for row in self.table.to_dict("records")]
        spent, again = (sum(getattr(run, name) for run in self.finalists) for name in ("seconds", "repeated_seconds"))
        return ledger(rows, spent, again)

    @property
    def winner(self) -> Winner | None:
        """Its best network: the best finalist where there are finalists, else the best trial; None of none."""
        if self.finalists:
            return self._finalist(standings(self.finalists)[0])
        trial = best(self.table)
        if trial is None:
            return None
        accuracy = float(trial["accuracy"])
        return Winner(trial, accuracy, interval(accuracy, int(trial["held_out"])), "")

    def _finalist(self, leading: Standing) -> Winner | None:
        rows = self.table[self.table["number"] == leading.trial]
        if rows.empty:
            return None
        runs = f"mean of {leading.n_runs} more trainings" if leading.n_runs > 1 else "one more training"
        if leading.interval is not None:
            return Winner(rows.iloc[0], leading.mean, leading.interval, f"{runs}, with its 95 % interval (Student's t)")
        return Winner(rows.iloc[0], leading.mean, interval(leading.mean, int(rows["held_out"].iloc[0])), runs)


@dataclass(frozen=True)
class Winner:
    """The best network of a study.

    Attributes:
        trial: Its row.
        accuracy: 0 to 1.
        margin: Half of the 95 % interval.
        origin: What the accuracy is the mean of; empty of one training.
    """

    trial: pd.Series[Any]
    accuracy: float
    margin: float
    origin: str


def read_study(source: Path) -> StudyTable:
    """The study of a run folder or of a `trials.csv`, with its finalists where they lie beside it.

    Raises:
        TableError: It is missing, or is no trials table of this version.
    """
    table = read_table(source)
    folder = source if source.is_dir() else source.parent
    is_run = source.is_dir() or (source.name == TABLE and (folder / "study.journal").exists())
    return StudyTable(
        name=str(table["study"].iloc[0]) or source.stem,
        table=table,
        finalists=tuple(read_finalists(folder / FINALISTS)),
        folder=str(folder) if is_run else "",
    )


def read_studies(sources: Sequence[Path]) -> list[StudyTable]:
    """The studies of several folders or tables; those of one name are told apart by their folders."""
    studies = [read_study(source) for source in sources]
    names = [study.name for study in studies]
    if len({*names}) < len(names):
        studies = [
            replace(study, name=str(source if names.count(study.name) > 1 else study.name))
            for study, source in zip(studies, sources, strict=True)
        ]
    return studies


def together(studies: Sequence[StudyTable]) -> pd.DataFrame:
    """The trials of all studies in one table, each under its study's name."""
    return pd.concat([study.table.assign(study=study.name) for study in studies], ignore_index=True)
