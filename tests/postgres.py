"""A PostgreSQL server that the tests start themselves, as a user that is not root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

PASSWORD = "a secret of the tests"  # noqa: S105
USER = "searcher"


def programs() -> Path | None:
    """The folder of the server's programs; None where it is not installed."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@dataclass
class Postgres:
    """A server that runs.

    Attributes:
        folder: Of its data.
        port: That it listens on.
        process: The server.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """The address of a database, without a password, which is made."""
        import psycopg

        with psycopg.connect(self._address("postgres"), password=PASSWORD, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self._address(database).replace("postgresql", "postgresql+psycopg")

    def _address(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", self.folder]
        home = programs()
        assert home
        command = [home / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **_as_nobody())
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with socket.socket() as trying:
                if not trying.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End the server at once, with all its connections."""
        if self.process:
            self.process.send_signal(2)  # what PostgreSQL calls a fast shutdown
            self.process.wait(120)


def _as_nobody() -> dict[str, Any]:
    """The server refuses to run as root: the user that its package makes, where the tests are root's."""
    return {"user": "postgres", "group": "postgres", "cwd": "/"} if os.geteuid() == 0 else {}


@contextmanager
def running() -> Iterator[Postgres]:
    """A server with a data folder of its own, until the end of the block."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if not (home := programs()):
        pytest.skip("there is no PostgreSQL")
    folder = Path(mkdtemp(prefix="nas-budget-postgres-"))
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:
        for path in folder, folder / "password":
            shutil.chown(path, "postgres", "postgres")
    made = ["-D", folder / "data", "-U", USER, f"--pwfile={folder}/password", "-A", "scram-sha-256", "-N"]
    subprocess.run([home / "initdb", *made], check=True, capture_output=True, **_as_nobody())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Postgres(folder, free.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
