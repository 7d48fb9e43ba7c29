"""Where a study may live, in words that hold no password; light enough for a command that loads no torch."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy.exc
from sqlalchemy.engine import URL, make_url

from nas_budget.errors import NasBudgetError, StorageError, StudyError, UsageError

FULL = ("too many clients", "remaining connection slots are reserved")
"""What PostgreSQL says where it takes no more connections."""
ADDRESSES = "sqlite:///trials.db or postgresql+psycopg://user@host/name"


def parse_address(address: str) -> URL:
    """The parts of a database's address.

    Raises:
        UsageError: It is no address; what may be a password is not repeated.
    """
    kind, separator, _rest = address.partition("://")
    try:
        parsed = make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        given = f"{kind}://..." if separator else repr(address)
        raise UsageError(f"storage: {given} is no address of a database; write such as {ADDRESSES}") from None
    if parsed.get_backend_name() != "sqlite" and "@" in f"{parsed.host}{parsed.database}":
        raise UsageError(f"storage: {kind}://... has an @ too many; within a password write it as %40")
    return parsed


def shown(address: str) -> str:
    """The address as it may be shown: without password and options.

    Raises:
        UsageError: It is no address.
    """
    return parse_address(address).set(query={}).render_as_string(hide_password=True)


def database_file(address: str) -> Path | None:
    """The file of an SQLite database; None of a server.

    Raises:
        UsageError: It is no address.
    """
    parsed = parse_address(address)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def trouble(error: BaseException) -> str:
    """What a database said, without the wrapping of Optuna and SQLAlchemy."""
    wrapped = error.__cause__ or error
    said = next(iter(str(getattr(wrapped, "orig", None) or wrapped).splitlines()), type(error).__name__)
    is_full = any(words in said for words in FULL)
    return f"{said}; each worker takes one connection: raise max_connections of the server" if is_full else said


def failure(error: BaseException) -> type[NasBudgetError]:
    """What an error of a database is: `StudyError` where its content is at fault, else `StorageError`."""
    found = error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error.__cause__
    is_passing = isinstance(found, sqlalchemy.exc.OperationalError)  # no connection, a lock, a full disk
    return StudyError if isinstance(found, sqlalchemy.exc.DatabaseError) and not is_passing else StorageError
