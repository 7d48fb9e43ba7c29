"""Opening a study's storage, with one clear line where that fails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import DuplicatedStudyError
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from nas_budget.arch.family_spec import FamilySpace
from nas_budget.errors import StorageError, StudyError, UsageError
from nas_budget.records.paths import JOURNAL, LOCK, TRIALS_TABLE
from nas_budget.records.run_folder import is_file
from nas_budget.search.config.settings import StudyConfig, differences
from nas_budget.search.pruners.factory import make_pruner
from nas_budget.search.samplers.optuna_samplers import optuna_warnings_only
from nas_budget.search.storage.journal import journal_storage
from nas_budget.search.storage.optuna_adapter import WORKER, PatientStorage, clear_errors, describe_study
from nas_budget.search.storage.patience import Patience
from nas_budget.search.storage.url import ADDRESSES, database_file, parse_address, shown

CONNECTIONS = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
       count(*), count(*) FILTER (WHERE datname = current_database())
FROM pg_stat_activity WHERE datid IS NOT NULL AND pid <> pg_backend_pid()
"""
"""What PostgreSQL allows its users, how many others have, and how many of these to this database."""
MEASURED_WORKERS = 64
"""So many workers, each proposing for itself in a database, trained 94 % of their time with trials of ten seconds."""
SETTINGS_S = 10.0
"""Seconds to wait for the settings of a study that another machine has just created."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
FINALISTS_STUDY = " finalists"
"""What the name of the finalists' study adds to that of its study."""

COORDINATES = {
    "stages": "count of stages",
    "blocks_N": "blocks of stage N",
    "kernel_N": "kernel size of stage N",
    "growth_N": "width of stage N over that of the one before",
    "stride_N": "stride of stage N",
    "size": "how much of the budget is used, from 0 (the smallest network of that shape) to 1 (the largest that fits)",
}
ATTRIBUTES = {
    "network": "widths, blocks, kernels and what differs from the defaults",
    "margin_...": "limit minus use; no trial is ever over a limit",
    "feasible": "whether every limit is kept",
    "reason": "why a trial was pruned, or failed",
    "proxy": "what the widths were multiplied by for training",
    "of": "the trial whose network was trained again, wider",
    "level": "how often the width was doubled",
}
"""What optuna-dashboard shows of a trial, in words."""


def recorded_settings(storage: str, folder: Path, name: str) -> dict[str, Any] | None:
    """The settings a study was made with; None when there is no such study yet. Nothing is created.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: A storage that is damaged.
        StorageError: A storage that cannot be opened or read.
    """
    return recorded_attributes(storage, folder, name).get("settings")


def recorded_attributes(storage: str, folder: Path, name: str) -> dict[str, Any]:
    """What a study has recorded of itself, such as settings and versions; empty when there is no such study yet.

    Nothing is created.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: A storage that is damaged.
        StorageError: A storage that cannot be opened or read.
    """
    with clear_errors(storage):
        if not _exists(storage, folder):
            return {}
        for study in _open(storage, folder).get_all_studies():
            if study.study_name == name:
                return study.user_attrs
    return {}


def check_folder(storage: str, folder: Path, name: str, is_known: bool) -> None:
    """Check that the folder has no files of a study that is kept elsewhere, as they would be written over.

    Args:
        storage: Where the study is asked for.
        folder: Where its files go.
        name: Of the study.
        is_known: Whether the storage holds it.

    Raises:
        StudyError: The folder holds a study of another storage.
    """
    is_journal, has_journal = storage == "journal", is_file(folder / JOURNAL)
    if has_journal and not is_journal:
        raise StudyError(
            f"{folder}: holds a study that is kept in its journal; leave out --storage (and NAS_BUDGET_STORAGE), "
            "or give another --name or --runs-dir"
        )
    if is_known or not is_file(folder / TRIALS_TABLE):
        return
    if is_journal and not has_journal:
        raise StudyError(
            f"{folder}: holds a study that is kept in another storage (a database); give its address by --storage or "
            "NAS_BUDGET_STORAGE, or another --name"
        )
    place = f"its {JOURNAL}" if is_journal else shown(storage)
    remedy = f"look with nas-budget doctor {folder}" if is_journal else "give the address of the database that has it"
    raise StudyError(
        f"{folder}: holds the tables of a study, and {place} holds no study {name}; {remedy}, or another --name"
    )


def recorded_study(storage: str, name: str) -> tuple[dict[str, Any], str]:
    """Settings and versions that a study of a database was begun with.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: The database holds no such study.
        StorageError: It cannot be reached or read.
    """
    names: list[str] = []
    with clear_errors(storage):
        for study in _open(storage, Path()).get_all_studies() if _exists(storage, Path()) else ():
            if study.study_name == name and "settings" in study.user_attrs:
                return study.user_attrs["settings"], study.user_attrs.get("versions", "")
            names.append(study.study_name)
    others = ", ".join(sorted(known for known in names if not known.endswith(FINALISTS_STUDY)))
    raise StudyError(
        f"{shown(storage)} holds no study {name} ({f'only {others}' if others else 'it is empty'}); "
        "begin it with nas-budget search, --storage and the same address"
    )


def strained_by(storage: str, n_workers: int) -> Iterator[str]:
    """What to tell where so many more workers are more than a server bears, or than was measured of one.

    A worker keeps one connection open, and a second one for moments.

    Raises:
        StorageError: It cannot be reached.
    """
    if storage == "journal" or parse_address(storage).get_backend_name() != "postgresql":
        return
    with clear_errors(storage):
        opened = PatientStorage(storage, Patience(storage, lambda: True))
        with opened.engine.connect() as connection:
            allowed, n_open, n_here = connection.execute(text(CONNECTIONS)).one()
    if allowed < 2 * (n_open + n_workers):
        yield (
            f"{shown(storage)} allows {allowed} connections, {n_open} are open, and each worker opens two for moments; "
            "raise max_connections of the server before it is full"
        )
    if n_here + n_workers > MEASURED_WORKERS:
        yield (
            f"about {n_here + n_workers} workers will use this database; measured are {MEASURED_WORKERS}, which "
            "trained 94% of their time with trials of ten seconds; if trials are as short, use --engine ray"
        )


@dataclass(frozen=True)
class Finished:
    """How much of a study is done.

    Attributes:
        trials: Proposed trials that are complete or pruned.
        wider: Trials of each further level of the ladder.
        finalist_runs: Finalists' runs.
        elsewhere: In a database, the hosts on which trials were under way, as far as anybody knows.
    """

    trials: int = 0
    wider: tuple[int, ...] = ()
    finalist_runs: int = 0
    elsewhere: tuple[str, ...] = ()


def count_finished(storage: str, folder: Path, name: str) -> Finished:
    """How much of an existing study is complete or pruned."""
    with clear_errors(storage):
        opened = _open(storage, folder)
        trials = _finished(opened, name)
        levels = Counter(trial.user_attrs.get("level", 0) for trial in trials if "spec" in trial.user_attrs)
        wider = tuple(levels[level] for level in range(1, max(levels, default=0) + 1))
        known = {study.study_name for study in opened.get_all_studies()}
        runs = _finished(opened, name + FINALISTS_STUDY) if name + FINALISTS_STUDY in known else []
        elsewhere = () if storage == "journal" else tuple(sorted(_elsewhere(opened, name)))
        return Finished(levels[0], wider, len(runs), elsewhere)


def _elsewhere(storage: BaseStorage, name: str) -> set[str]:
    """The hosts on which trials of a study are under way."""
    study = optuna.load_study(study_name=name, storage=storage)
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {each.user_attrs.get("host", "a machine") for each in running if each.user_attrs.get(WORKER)}


def _finished(storage: BaseStorage, name: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False, states=FINISHED)


def open_study(
    settings: StudyConfig, folder: Path, versions: str, part: str = "", should_stop: Callable[[], bool] = lambda: False,
    joins: bool = False,
) -> Study:  # fmt: skip
    """The study of these settings, or a part of it under a name of its own; created where it is not there yet.

    A database that is gone for a while is waited for, until `should_stop` says so, here and in whatever the study is
    used for later. Whoever joins leaves the settings and versions that the study has as they are.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: A storage that is damaged.
        StorageError: A storage that cannot be opened or written.
    """
    with clear_errors(settings.storage):
        if settings.storage == "journal":
            folder.mkdir(parents=True, exist_ok=True)
        opened = _open(settings.storage, folder, should_stop)
        folder.mkdir(parents=True, exist_ok=True)
        known: dict[str, Any] = {
            "study_name": settings.name + part,
            "storage": opened,
            "pruner": make_pruner(settings.pruner, settings.rungs, settings.recipe.epochs, settings.pruner_metric),
            "sampler": RandomSampler(0),  # never asked: candidates come from search/samplers
        }
        with optuna_warnings_only():
            try:
                study = optuna.create_study(direction="maximize", **known)
            except DuplicatedStudyError:
                study = optuna.load_study(**known)
                _check_same(study, settings)
        describe_study(study, "accuracy", "\n".join(_note(settings)))
        if not joins or "settings" not in study.user_attrs:
            study.set_user_attr("settings", settings.to_dict())
            study.set_user_attr("versions", versions)
    return study


def _check_same(study: Study, settings: StudyConfig) -> None:
    """Check that whoever began the study decided as this process did.

    Raises:
        StorageError: It did not: two machines began it at the same moment.
    """
    end = time.monotonic() + SETTINGS_S
    while not (recorded := study.user_attrs.get("settings")) and time.monotonic() < end:
        time.sleep(0.1)  # whoever created it is about to record them
    if recorded and (changes := [*differences(recorded, settings.to_dict())]):
        raise StorageError(
            f"study {settings.name} was begun by another machine at the same moment, with other choices: "
            f"{'; '.join(changes)}; run the command again, which takes those of the study"
        )


def existing_study(
    settings: StudyConfig, folder: Path, part: str, should_stop: Callable[[], bool] = lambda: False
) -> Study | None:
    """A part of a study; None where it was not made yet. Nothing is created."""
    with clear_errors(settings.storage):
        opened = _open(settings.storage, folder, should_stop)
        if settings.name + part not in {study.study_name for study in opened.get_all_studies()}:
            return None
        return optuna.load_study(study_name=settings.name + part, storage=opened)


def _exists(storage: str, folder: Path) -> bool:
    """Whether there is a file to read; a server is taken to be there."""
    if storage == "journal":
        return (folder / JOURNAL).exists()
    file = database_file(storage) if "://" in storage else None
    return file is None or file.exists()


def _open(storage: str, folder: Path, should_stop: Callable[[], bool] = lambda: True) -> BaseStorage:
    """The storage. By default a database that does not answer is an error at once, as a wrong address does not pass."""
    if storage == "journal":
        return journal_storage(folder / JOURNAL)
    if "://" not in storage:
        raise UsageError(
            f'storage: {storage!r} is unknown; allowed are "journal" or a database address such as {ADDRESSES}'
        )
    parse_address(storage)
    return PatientStorage(storage, Patience(storage, should_stop))


def _note(settings: StudyConfig) -> Iterator[str]:
    """The lines of the note that optuna-dashboard shows beside a study."""
    data = settings.data_name
    yield f"Objective: accuracy on {settings.n_validation:,} validation images of {data}."
    yield f"\nBudget: {settings.budget}; every trial keeps it.\n"
    yield "Parameters of a trial:\n"
    yield from (f"- `{name}`: {words}" for name, words in _coordinates(settings))
    yield "\nUser attributes:\n"
    yield from (f"- `{name}`: {words}" for name, words in ATTRIBUTES.items())


def _coordinates(settings: StudyConfig) -> Iterator[tuple[str, str]]:
    if isinstance(settings.space, FamilySpace):
        yield from ((name, f"as `{settings.space.family}` has it") for name, _ in settings.space.choices)
    else:
        yield from COORDINATES.items()


def check_alone(folder: Path) -> None:
    """Check that no other process runs the study of a folder.

    Raises:
        StorageError: Another process does.
    """
    if is_file(folder / LOCK):  # or nobody ever did
        with only_runner(folder):
            pass


@contextmanager
def only_runner(folder: Path) -> Iterator[None]:
    """Keep a second search away from the folder; the lock goes with the process, however it ends.

    Raises:
        StorageError: Another process runs the study.
    """
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise StorageError(
            f"{folder}: another process is running this study; wait for it, or use another --name"
        ) from None
