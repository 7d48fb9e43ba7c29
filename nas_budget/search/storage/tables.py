"""`StudyTables`: the rows and files of a study, derived from what its storage holds."""

from __future__ import annotations

import time
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.records.atomic_write import write_whole
from nas_budget.records.finalists import FinalistRun, summarize_finalists, write_finalists
from nas_budget.records.paths import BEST_SPEC, FINALISTS_TABLE, TRIALS_TABLE
from nas_budget.records.time_ledger import TimeLedger, ledger
from nas_budget.records.trials import TrialRecord, best_of, write_table
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.storage.rows import candidate_of, finalist_runs, row_of
from nas_budget.search.storage.storage import existing_study, open_study
from nas_budget.search.storage.trial_store import TrialTracker

FINALISTS_STUDY = " finalists"
"""What the name of the finalists' study adds to that of its study."""
TABLE_SHARE = 20
"""The tables are written again when this many times the time it takes to write them have gone by, and at the end."""


class StudyTables:
    """The rows and files of a study, whoever trains its trials. All of it can be derived again from the storage.

    Args:
        settings: Of the study.
        study: The study.
        folder: Where the files go.
        versions: As they are noted with a study.
    """

    def __init__(self, settings: StudyConfig, study: Study, folder: Path, versions: str) -> None:
        self.settings = settings
        self.study = study
        self.folder = folder
        self.tracker = TrialTracker(study)
        self._rows: dict[int, TrialRecord] = {}
        self.next_write = 0.0
        if settings.finalists:
            self.finalists_study: Study | None = open_study(settings, folder, versions, FINALISTS_STUDY)
        else:
            self.finalists_study = existing_study(settings, folder, FINALISTS_STUDY)

    def rows(self) -> list[TrialRecord]:
        """A row for each finished trial, by number; those of other machines too."""
        _started, ended = self.tracker.look()
        self._rows |= {trial.number: row_of(trial, self.settings) for trial in ended if candidate_of(trial)}
        return [self._rows[number] for number in sorted(self._rows)]

    def finished(self) -> int:
        """How many trials are complete or pruned."""
        return sum(row.state != "failed" for row in self.rows())

    def best(self) -> list[FrozenTrial]:
        """The finalists: the most accurate complete trials, of equals the smaller first."""
        return finalists(self.study, self.settings.finalists)

    def finalist_runs(self) -> list[FinalistRun]:
        """The finalists' runs that have ended."""
        return finalist_runs(self.finalists_study, self.settings, self.best()) if self.finalists_study else []

    def best_spec(self) -> str | None:
        """The network of the best finalist, or else of the best trial, as JSON; None when there is none."""
        if runs := self.finalist_runs():
            return summarize_finalists(runs)[0].spec
        best = best_of(self.rows())
        return best.spec if best else None

    def ledger(self) -> TimeLedger:
        """Where the time went."""
        trials = self.finalists_study.get_trials(deepcopy=False) if self.finalists_study else []
        spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)
        repeated = sum(trial.user_attrs.get("repeated_seconds", 0.0) for trial in trials)
        return ledger(self.rows(), spent, repeated)

    def write(self) -> None:
        """Write `trials.csv`, `best.json` and `finalists.csv` anew."""
        start = time.monotonic()
        write_table(self.folder / TRIALS_TABLE, self.rows())
        if spec := self.best_spec():
            write_whole(self.folder / BEST_SPEC, spec + "\n")
        if runs := self.finalist_runs():
            write_finalists(self.folder / FINALISTS_TABLE, runs)
        else:
            (self.folder / FINALISTS_TABLE).unlink(missing_ok=True)  # those of an earlier end
        now = time.monotonic()
        self.next_write = now + TABLE_SHARE * (now - start)

    def write_if_due(self) -> None:
        """Write them unless they were just written."""
        if time.monotonic() >= self.next_write:
            self.write()


def finalists(study: Study, n: int) -> list[FrozenTrial]:
    """The `n` most accurate complete trials, of equals the smaller first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ours = [trial for trial in complete if candidate_of(trial)]
    return sorted(ours, key=lambda trial: (-(trial.value or 0), trial.user_attrs["params"]))[:n]
