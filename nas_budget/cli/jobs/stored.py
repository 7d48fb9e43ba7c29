"""What `nas-budget show` and `report` do with a study in a database, without a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nas_budget.cli.console.study import show_study
from nas_budget.cli.console.trial import show_trial
from nas_budget.errors import StudyError
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.stored_study import StoredStudy
from nas_budget.search.storage.url import shown
from nas_budget.untrusted import check_name


@contextmanager
def stored_studies(names: Sequence[str], storage: str, is_empty_allowed: bool = True) -> Iterator[list[StoredStudy]]:
    """Studies of a database by their names, with their tables in folders that end with the context.

    Args:
        names: Of the studies.
        storage: Address of the database.
        is_empty_allowed: Whether one may be without a trial that has ended.

    Raises:
        UsageError: No address of a database, or a name that no study has.
        StudyError: The database does not hold one of them, or none of its trials has ended.
        StorageError: It cannot be reached.
    """
    quiet_optuna()
    with ExitStack() as stack:
        places = [Path(stack.enter_context(TemporaryDirectory())) for _ in names]
        pairs = zip(map(check_name, names), places, strict=True)
        studies = [StoredStudy(storage, name, place / name) for name, place in pairs]
        for study in studies:
            if not (is_empty_allowed or study.n_ended):
                raise StudyError(f"study {study.name}: no trial has ended yet; report --watch waits for the first")
        yield studies


def show_stored(name: str, storage: str, is_typed: bool, trial: int | None, as_json: bool) -> None:
    """Print a study of a database, or one of its trials.

    Args:
        name: Of the study.
        storage: Address of the database.
        is_typed: Whether commands to run next have to name it.
        trial: Number of a trial; None for the study.
        as_json: Whether to print JSON.
    """
    with stored_studies([name], storage) as (study,):
        folder = study.table.parent
        if trial is None:
            show_study(folder, as_json, (name, *(("--storage", shown(storage)) if is_typed else ())))
        else:
            show_trial(folder, trial, as_json, name)
