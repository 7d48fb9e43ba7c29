"""optuna-dashboard on the storage of a study, which is opened without a change to it."""

from __future__ import annotations

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage

from nas_budget.cli.serve.server import THIS_MACHINE, serve
from nas_budget.errors import NasBudgetError, StorageError, StudyError, UsageError
from nas_budget.search.storage.storage import FINALISTS_STUDY
from nas_budget.search.storage.url import ADDRESSES, database_file, failure, shown, trouble


def open_database(address: str) -> BaseStorage:
    """The studies of a database that has Optuna's tables; none are made."""
    where, file = shown(address), database_file(address)
    if file and not file.is_file():  # SQLite would make it
        raise UsageError(f"storage: {where}: no such file")
    try:
        return RDBStorage(address, engine_kwargs={"pool_pre_ping": True}, skip_table_creation=True)
    except sqlalchemy.exc.NoSuchModuleError:
        raise UsageError(f"storage: no kind of database known here: {where}; write such as {ADDRESSES}") from None
    except ImportError:
        raise StorageError(
            f"storage: the driver of {where} is not installed; for PostgreSQL: pip install 'nas-budget[postgresql]'"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        if "version_info" in (cause := trouble(error)):
            raise StudyError(f"storage: {where} holds no study of Optuna's yet") from None
        raise failure(error)(f"storage: {where} cannot be used: {cause}") from None


def show_dashboard(storage: BaseStorage, host: str, port: int, browser: bool) -> None:
    """Serve the dashboard of a storage until Ctrl-C."""
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError:
        raise NasBudgetError("optuna-dashboard is not installed: pip install 'nas-budget[dashboard]'") from None
    warning = "it asks for no password: whoever reaches this port can change and delete studies"
    notes = [] if host in THIS_MACHINE else [warning]
    names = {study.study_name for study in storage.get_all_studies()}
    names -= {f"{name}{FINALISTS_STUDY}" for name in names}
    only = f"/studies/{storage.get_study_id_from_name(names.pop())}" if len(names) == 1 else ""  # else the list of them
    serve(wsgi(storage), "dashboard", host, port, f"/dashboard{only}", browser, notes)
