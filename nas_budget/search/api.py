"""`search`: a study run from Python, and `SearchResult`: what it has found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from nas_budget.arch.spec import AnySpec, spec_from_json
from nas_budget.records.finalists import FinalistSummary, summarize_finalists
from nas_budget.records.time_ledger import TimeLedger
from nas_budget.records.trials import COLUMNS, TrialRecord, best_of, pareto_front_of
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.open_study import open_search
from nas_budget.search.workers.events import Event, TrialFinished
from nas_budget.search.workers.search_runner import Search

if TYPE_CHECKING:
    import pandas as pd

Callback = Callable[[Study, FrozenTrial], None]


@dataclass(frozen=True)
class SearchResult:
    """What a search has found: every trial, the best network, the Pareto front, and where the time went.

    A trial's accuracy is on validation images. The test images are read by `nas-budget train` alone.

    Attributes:
        settings: What the search was asked to do.
        folder: Where its files are: `trials.csv`, `best.json`, the storage, a folder for each trial.
        trials: A row for each finished trial, by number: complete, pruned or failed.
        finalists: The best trials trained again with other seeds, the best first; empty where none were asked for.
        ledger: Device seconds, by what became of them.
        study: Optuna's study, for Optuna's own tools.

    Examples:
        Two small networks of the built-in images. A real search takes a study file and minutes to hours:

        >>> from tempfile import TemporaryDirectory
        >>> from nas_budget.search import search
        >>> study = {
        ...     "budget": {"params": "20k"},
        ...     "data": {"name": "shapes", "images": 100, "validation_images": 50},
        ...     "recipe": {"epochs": 1},
        ...     "search": {"trials": 2},
        ... }
        >>> with TemporaryDirectory() as folder:
        ...     found = search(study, name="small", runs_dir=folder)
        >>> [trial.number for trial in found.trials]
        [0, 1]
        >>> found.best.params <= 20_000
        True
        >>> found.settings.budget.check(found.best_spec).fits
        True
    """

    settings: StudyConfig
    folder: Path
    trials: tuple[TrialRecord, ...]
    finalists: tuple[FinalistSummary, ...]
    ledger: TimeLedger
    study: Study

    @property
    def best(self) -> TrialRecord | None:
        """The most accurate complete trial of those trained at the largest width; None when there is none."""
        return best_of(self.trials)

    @property
    def best_spec(self) -> AnySpec | None:
        """The network of the best trial; of the best finalist where there are finalists."""
        if self.finalists:
            return spec_from_json(self.finalists[0].spec)
        return spec_from_json(self.best.spec) if self.best else None

    @property
    def pareto_front(self) -> tuple[TrialRecord, ...]:
        """The complete proposed trials that no other beats in both size and accuracy, from the smallest."""
        return pareto_front_of(self.trials)

    @property
    def table(self) -> pd.DataFrame:
        """The trials as a data frame, with the columns of `trials.csv`."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.trials], columns=list(COLUMNS))


def search(
    study: str | Path | Mapping[str, Mapping[str, Any]] | None = None,
    *,
    name: str | None = None,
    runs_dir: str | Path = "runs",
    data_dir: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    callbacks: Sequence[Callback] = (),
    on_message: Callable[[str], None] = lambda _: None,
) -> SearchResult:
    """Run or resume a study; what it has found.

    Args:
        study: The path of a study file, or its sections as a mapping, such as
            `{"budget": {"params": "250k"}, "search": {"trials": 20}}`; None for the defaults.
        name: Of the study; None for its file's, or one made of data and budget.
        runs_dir: Folder of the run folders.
        data_dir: Folder of the data sets.
        on_event: Called with each event: trials that start, epochs, trials that end.
        callbacks: Called as Optuna's are, `callback(study, trial)`, after each trial; its state says how it ended.
            Optuna's `study.stop()` has no effect here: stop rules end a search.
        on_message: Gets a line on which images are used, where the study leaves that open.

    Raises:
        UsageError: Settings that make no sense.
        StudyError: A study made with other settings.
        StorageError: A study that another process runs, or that cannot be written.
        TrainingError: Trials that all fail.
        NothingFitsError: No network of the space is inside the budget.
    """
    file = Path(study) if isinstance(study, str | Path) else None
    sections = study if isinstance(study, Mapping) else {}
    given = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
    # Workers are processes that read the caller's script again: only who asks for them has a script made for that.
    opened = open_search(file, given, name, Path(runs_dir), data_dir, on_message, in_process=True)
    running = opened.search()
    with opened.threads(), closing(running.events()) as events:  # whatever a callback raises, no lock stays held
        for event in events:
            if on_event:
                on_event(event)
            if isinstance(event, TrialFinished):
                trial = running.study.get_trials(deepcopy=False)[event.record.number]
                for callback in callbacks:
                    callback(running.study, trial)
    return result_of(running)


def result_of(running: Search) -> SearchResult:
    """What a search has found so far."""
    return SearchResult(
        settings=running.settings,
        folder=running.folder,
        trials=tuple(running.tables.rows()),
        finalists=tuple(summarize_finalists(running.tables.finalist_runs())),
        ledger=running.tables.ledger(),
        study=running.study,
    )
