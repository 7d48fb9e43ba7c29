"""Where trials live: opened, created, gone on with, with one clear line when that fails."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import psutil
import sqlalchemy.exc
from filelock import FileLock, Timeout
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.errors import StudyError, UsageError
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.config.study_file import Sections
from nas_budget.search.pruners.factory import make_pruner
from nas_budget.search.storage.dashboard_note import describe
from nas_budget.search.storage.journal import Journal
from nas_budget.search.storage.url import ADDRESSES, JOURNAL, database_file, parse_address, shown, trouble

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def journal_path(folder: Path) -> Path:
    """The journal of a study that lies in `folder`."""
    return folder / JOURNAL


def recorded_settings(storage: str, folder: Path, name: str) -> Sections | None:
    """The settings a study was made with; None when there is no such study yet. Nothing is created.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: A storage that cannot be opened or read.
    """
    with clear_errors(storage):
        if not _exists(storage, folder):
            return None
        opened = _open(storage, folder)
        for study in opened.get_all_studies():
            if study.study_name == name:
                return study.user_attrs.get("settings")
    return None


def count_finished(storage: str, folder: Path, name: str) -> int:
    """How many trials of an existing study are complete or pruned."""
    with clear_errors(storage):
        study = optuna.load_study(study_name=name, storage=_open(storage, folder))
        return sum("spec" in trial.user_attrs for trial in study.get_trials(deepcopy=False, states=FINISHED))


def _exists(storage: str, folder: Path) -> bool:
    """Whether there is a file to read; a server is taken to be there."""
    if storage == "journal":
        return journal_path(folder).exists()
    file = database_file(storage) if "://" in storage else None
    return file is None or file.exists()


def open_study(settings: StudyConfig, folder: Path, versions: str, part: str = "") -> Study:
    """The study of these settings, or a part of it under a name of its own, created or gone on with.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: A storage that cannot be opened or written.
    """
    storage = settings.storage
    with clear_errors(storage):
        if storage == "journal":
            folder.mkdir(parents=True, exist_ok=True)
        opened = _open(storage, folder)
        folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=settings.name + part,
            storage=opened,
            direction="maximize",
            load_if_exists=True,
            pruner=make_pruner(settings.pruner, settings.rungs, settings.recipe.epochs, settings.pruner_metric),
            sampler=RandomSampler(0),  # proposals come from elsewhere (proposals.py): this one is never asked
        )
        describe(study, settings)
        study.set_user_attr("settings", settings.sections)
        study.set_user_attr("versions", versions)
    return study


def existing_study(settings: StudyConfig, folder: Path, part: str) -> Study | None:
    """A part of a study, if it was begun; nothing is created."""
    with clear_errors(settings.storage):
        opened = _open(settings.storage, folder)
        if settings.name + part not in {study.study_name for study in opened.get_all_studies()}:
            return None
        return optuna.load_study(study_name=settings.name + part, storage=opened)


def this_worker() -> dict[str, Any]:
    """What identifies this process, also after its number has been given to another."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_gone(trial: FrozenTrial, shared: bool) -> bool:
    """Whether a running trial was left by a process that is no more, or by this one.

    Args:
        trial: One of ours.
        shared: Whether other machines may work on the study. In a run's folder only one search runs at a time: a
            trial of another machine was then left by one that is gone, such as a container under its old name.
    """
    worker = trial.user_attrs["worker"]
    if worker["host"] != socket.gethostname():
        return not shared
    if worker["pid"] == os.getpid():
        return True
    try:
        process = psutil.Process(worker["pid"])
        another = abs(process.create_time() - worker["started"]) > 1
        return bool(another or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _open(storage: str, folder: Path) -> BaseStorage:
    if storage == "journal":
        return JournalStorage(Journal(journal_path(folder)))
    if "://" not in storage:
        raise UsageError(
            f'storage: {storage!r} is unknown; allowed are "journal" or a database address such as {ADDRESSES}'
        )
    parse_address(storage)
    return RDBStorage(storage, engine_kwargs={"pool_pre_ping": True} if storage.startswith("postgresql") else {})


@contextmanager
def only_runner(folder: Path) -> Iterator[None]:
    """Keep a second search away from the folder; the lock goes with the process, however it ends.

    Raises:
        StudyError: Another process runs the study.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise StudyError(
            f"{folder}: another process is running this study; wait for it, or use another --name"
        ) from None


@contextmanager
def clear_errors(storage: str) -> Iterator[None]:
    """Whatever a database or file system raises within, as one line.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: A storage that cannot be opened, read or written.
    """
    try:
        yield
    except (sqlalchemy.exc.NoSuchModuleError, sqlalchemy.exc.ArgumentError):
        raise UsageError(
            f"storage: {shown(storage)!r} names no kind of database known here; "
            "allowed are journal, sqlite:///..., postgresql+psycopg://..., mysql+pymysql://..."
        ) from None
    except ImportError:
        raise StudyError(
            f"storage: the driver of {shown(storage)} is not installed; "
            "for PostgreSQL: pip install 'nas-budget[postgresql]'"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StudyError(f"storage: {shown(storage)} cannot be used: {trouble(error)}") from None
    except OSError as error:
        raise StudyError(f"{error.filename or storage}: cannot be written ({error.strerror or error})") from None


def quiet_optuna() -> None:
    """Send Optuna's messages through ordinary logging, warnings and worse only."""
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(logging.WARNING)
