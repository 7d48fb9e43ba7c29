"""Studies as a report takes them: a trials table, the finalists' runs beside it, and where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from nas_budget.errors import TableError, UsageError
from nas_budget.records.finalists import FinalistRun, read_finalists, summarize_finalists
from nas_budget.records.paths import FINALISTS_TABLE, JOURNAL, PREDICTIONS, TRIALS_TABLE, WORKERS_TABLE, trials_table
from nas_budget.records.predictions import ExpectedNetwork, read_predictions
from nas_budget.records.time_ledger import TimeLedger, ledger
from nas_budget.records.trials import COLUMNS, TrialRecord
from nas_budget.records.workers import WorkerRecord, read_workers
from nas_budget.report.tables.trials import best, read_table

Row = TypeVar("Row")


@dataclass(frozen=True)
class StudyTable:
    """One study of a report.

    Attributes:
        name: What it is called; unlike that of any other study of the report.
        table: Its trials.
        finalists: Runs of its finalists.
        folder: Of the run, as it was given; empty where only the table is known.
        expected: What the model of the search expects of the best network of each size; empty without a model.
        workers: Where the trials were trained; empty where one worker trained all.
        problem: Why one of these two could not be read; empty where they could.
    """

    name: str
    table: pd.DataFrame
    finalists: tuple[FinalistRun, ...] = ()
    folder: str = ""
    expected: tuple[ExpectedNetwork, ...] = ()
    workers: tuple[WorkerRecord, ...] = ()
    problem: str = ""

    @property
    def records(self) -> list[TrialRecord]:
        """Its trials, by number."""
        table = self.table[[*COLUMNS]].astype(object)
        rows = table.where(table.notna(), None).itertuples(index=False, name=None)
        return [TrialRecord(*row) for row in rows]

    @property
    def ledger(self) -> TimeLedger:
        """Its device seconds by what became of them."""
        spent = sum(run.seconds for run in self.finalists)
        return ledger(self.records, spent, sum(run.repeated_seconds for run in self.finalists))

    @property
    def best_network(self) -> BestNetwork | None:
        """The best finalist, or the best trial where there are no finalists; None where no trial is complete."""
        if self.finalists:
            first = summarize_finalists(self.finalists)[0]
            trial = self.table[self.table["number"] == first.trial].iloc[0]
            epochs = max(run.epochs for run in self.finalists if run.trial == first.trial)
            origin = f"mean of {first.n_runs} more trainings" if first.n_runs > 1 else "one more training"
            accuracy = first.mean
        elif (found := best(self.table)) is not None:
            trial = found
            accuracy, epochs, n = float(trial["accuracy"]), int(trial["epochs"]), int(trial["seeds"])
            origin = "one training" if n == 1 else f"mean of {n} trainings"
        else:
            return None
        return BestNetwork(trial, accuracy, int(trial["validation_images"]), epochs, origin)


@dataclass(frozen=True)
class BestNetwork:
    """The best network of a study.

    Attributes:
        trial: Its row.
        accuracy: 0 to 1.
        images: Validation images that it is of.
        epochs: Of the trainings it was measured after.
        origin: Which trainings the accuracy is of, in words.
    """

    trial: pd.Series[Any]
    accuracy: float
    images: int
    epochs: int
    origin: str


def read_study(source: Path) -> StudyTable:
    """The study of a run folder or of a `trials.csv`, with its finalists and workers where they lie beside it.

    What the model expected is read from a run folder; a page does without it, or the workers, where a file is damaged.

    Raises:
        TableError: It is missing, or is no trials table of this version.
    """
    table = read_table(source)
    folder = source if source.is_dir() else source.parent
    is_run = source.is_dir() or (source.name == TRIALS_TABLE and (folder / JOURNAL).exists())
    expected, problem = _known(read_predictions, folder / PREDICTIONS) if is_run else ((), "")
    workers, other = _known(read_workers, folder / WORKERS_TABLE)
    return StudyTable(
        name=str(table["study"].iloc[0]) or source.stem,
        table=table,
        finalists=_of_table(read_finalists(folder / FINALISTS_TABLE), table),
        folder=str(folder) if is_run else "",
        expected=expected,
        workers=workers,
        problem=problem or other,
    )


def _known(read: Callable[[Path], list[Row]], path: Path) -> tuple[tuple[Row, ...], str]:
    """The rows of a table that a page can do without, and why it could not be read."""
    try:
        return tuple(read(path)), ""
    except TableError as error:
        return (), f"{error}; a search that resumes writes it anew"


def read_known_workers(source: Path) -> tuple[WorkerRecord, ...]:
    """The workers of a run folder or of a table; none where that is not known."""
    return _known(read_workers, trials_table(source).with_name(WORKERS_TABLE))[0]


def _of_table(runs: Sequence[FinalistRun], table: pd.DataFrame) -> tuple[FinalistRun, ...]:
    """The runs of trials that the table holds; a table that was copied or has grown may lie beside those of another."""
    known = dict(zip(table["number"], table["spec"], strict=True))
    return tuple(run for run in runs if known.get(run.trial) == run.spec)


def read_studies(sources: Sequence[Path]) -> list[StudyTable]:
    """The studies of several folders or tables; those of one name get the names of their folders.

    Raises:
        UsageError: A source is given twice.
        TableError: One is missing, or is no trials table of this version.
    """
    places = [trials_table(source).resolve() for source in sources]
    if twice := next((source for source, place in zip(sources, places, strict=True) if places.count(place) > 1), None):
        raise UsageError(f"{twice}: given twice; a study is compared with others")
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
