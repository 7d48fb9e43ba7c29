"""What `nas-budget dashboard` opens, without changing it, and how it is served."""

from __future__ import annotations

import errno
import os
import threading
import webbrowser
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from nas_budget.cli.output import say
from nas_budget.errors import NasBudgetError, StudyError, UsageError
from nas_budget.search.addresses import ADDRESSES, JOURNAL, database_file, shown, trouble

THIS_MACHINE = ("127.0.0.1", "localhost")
EVERYWHERE = ("", "0.0.0.0")  # noqa: S104


def open_journal(folder: Path) -> BaseStorage:
    """The study of a run's folder; nothing in it is made or changed.

    Raises:
        UsageError: No journal is there.
        StudyError: It cannot be read.
    """
    path = folder / JOURNAL
    if not path.is_file():  # Optuna would make it
        raise UsageError(
            f"{folder}: no {JOURNAL} there; give the folder of a run, such as runs/quickstart, "
            "or --storage and the address of the database that holds the study"
        )
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise StudyError(f"{path}: damaged, or not a journal of Optuna's") from None


def open_database(address: str) -> BaseStorage:
    """The studies of a database that has Optuna's tables; none are made.

    Raises:
        UsageError: The address is none, or that of no file.
        StudyError: The database cannot be used.
    """
    where, file = shown(address), database_file(address)
    if file and not file.is_file():  # SQLite would make it
        raise UsageError(f"storage: {where}: no such file")
    try:
        return RDBStorage(address, engine_kwargs={"pool_pre_ping": True}, skip_table_creation=True)
    except sqlalchemy.exc.NoSuchModuleError:
        raise UsageError(f"storage: no kind of database known here: {where}; write such as {ADDRESSES}") from None
    except ImportError:
        raise StudyError(
            f"storage: the driver of {where} is not installed; for PostgreSQL: pip install 'nas-budget[postgresql]'"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        cause = trouble(error)
        cause = "holds no study of Optuna's yet" if "version_info" in cause else f"cannot be used: {cause}"
        raise StudyError(f"storage: {where} {cause}") from None


def serve(storage: BaseStorage, host: str, port: int, browser: bool) -> None:
    """Serve the dashboard until Ctrl-C.

    Args:
        storage: What to show.
        host: Where to listen.
        port: Where to listen; 0 is any that is free.
        browser: Whether to open one.

    Raises:
        NasBudgetError: optuna-dashboard is not installed, or host and port are not to be had.
    """
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError:
        raise NasBudgetError("optuna-dashboard is not installed: pip install 'nas-budget[dashboard]'") from None
    with _listen(wsgi(storage), host, port) as server:
        address = f"http://{THIS_MACHINE[0] if host in EVERYWHERE else host}:{server.server_port}{_page(storage)}"
        say(f"dashboard: {address} (Ctrl-C ends it)")
        if host not in THIS_MACHINE:
            say("it asks for no password: whoever reaches this port can change and delete studies")
        if browser:  # in a thread: one that runs in the terminal would keep the server from starting
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever()


def _page(storage: BaseStorage) -> str:
    """The page of the only study, or else of their list."""
    names = [study.study_name for study in storage.get_all_studies()]
    return f"/dashboard/studies/{storage.get_study_id_from_name(names[0])}" if len(names) == 1 else "/dashboard"


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a request: a browser that keeps a connection open holds up no other."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would share a port that is in use


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing of a request."""


def _listen(app: Any, host: str, port: int) -> WSGIServer:
    try:
        return make_server(host, port, app, _Server, _QuietHandler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NasBudgetError(f"port {port} is in use; choose another with --port (0 takes any free one)") from None
        raise NasBudgetError(f"{host}:{port}: cannot be listened on ({error.strerror or error})") from None
