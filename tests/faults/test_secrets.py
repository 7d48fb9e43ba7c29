"""A password in the address of a database reaches no file, page, message, traceback or list of processes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from nas_budget.cli import main
from nas_budget.records.trials import write_table
from tests import postgres
from tests.cli.processes import start, wait_until
from tests.conftest import sets
from tests.report import trials
from tests.train.builders import SPEC

pytestmark = pytest.mark.slow
PASSWORD = "Geh/eim 42%"  # noqa: S105 - one that an address has to have encoded
FORMS = (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD))
"""The password as it is, and as an address has it."""
NOWHERE = (
    f"postgresql+psycopg://me:{FORMS[1]}@127.0.0.1:1/name",
    f"postgresql+psycopg://me@127.0.0.1:1/name?password={FORMS[1]}",
    f"postgresql+psycopg://me:{FORMS[1]}@127.0.0.1:1/name?options={FORMS[1]}&sslpassword={FORMS[1]}",
    f"nosql://me:{FORMS[1]}@127.0.0.1:1/name",
    f"sqlite://me:{FORMS[1]}@127.0.0.1/trials.db",
    f"sqlite:////nowhere/trials.db?password={FORMS[1]}",
    f"postgresql+psycopg://me:{FORMS[1]}",
    f"postgresql+psycopg://me:{FORMS[1]}@127.0.0.1:port/name",
)
"""Addresses at which nothing answers, or that are none."""
COMMANDS: dict[str, list[object]] = {
    "search": ["search", "--data", "small.npz", "--name", "a", "--trials", 1],
    "worker": ["worker", "a"],
    "dashboard": ["dashboard", "--no-open", "--port", 0],
    "show": ["show", "shown"],
    "report": ["report", "shown"],
    "ls": ["ls", "."],
    "doctor": ["doctor", "shown"],
}
SMALL = (
    "--images", "200", "--budget", "20k", "--epochs", "1", "--pruner", "none",
    *sets("space.stages=[2,3] space.width=[4,16] space.blocks=1 data.validation_images=100 recipe.batch_size=50"),
)  # fmt: skip
ASKING = ("search", "worker", "dashboard")
"""Commands that ask a database; the others are given its address in the environment all the same."""


def no_password_in(text: str) -> bool:
    return not any(form in text for form in FORMS)


def files_with_it(folder: Path) -> list[str]:
    """Files below a folder that hold the password in some form, and names that do."""
    return [
        str(path)
        for path in folder.rglob("*")
        if not no_password_in(str(path)) or (path.is_file() and not no_password_in(path.read_bytes().decode("latin-1")))
    ]


@pytest.fixture
def runs(tmp_path: Path, npz: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs, of which one can be shown; it is where commands run."""
    write_table(tmp_path / "shown" / "trials.csv", [trials.record(0, spec=SPEC.to_json())])
    (tmp_path / "small.npz").symlink_to(npz)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "address"),
    [(name, address) for name in COMMANDS for address in NOWHERE[: None if name in ASKING else 1]],
    ids=lambda given: str(NOWHERE.index(given)) if given in NOWHERE else given,
)
def test_it_is_in_no_message_traceback_or_file(
    name: str, address: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [*map(str, COMMANDS[name])]
    arguments += [*SMALL] if name == "search" else []
    arguments += ["--runs-dir", str(runs)] if arguments[0] in ("search", "worker") else []
    ways = [arguments] + [[*arguments, "--storage", address]] * (name in ASKING)
    monkeypatch.setenv("NAS_BUDGET_STORAGE", address)
    for given in ways:
        for debug in [], ["--debug"]:
            try:
                code = main([*debug, *given])
            except Exception as error:
                code = 1
                sys.excepthook(type(error), error, error.__traceback__)
                # What another tool would print that shows local variables is no message of ours, but chains are.
                traceback.print_exception(error)
            out, err = capfd.readouterr()
            assert no_password_in(out + err), err
            assert "No such option" not in err
            assert (code == 0) == (arguments[0] in ("show", "report", "ls", "doctor")), err
    assert files_with_it(runs) == []


@pytest.fixture
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


def test_it_is_in_no_file_and_no_list_of_processes_of_a_search(
    server: postgres.Postgres, quick: list[object], tmp_path: Path
) -> None:
    secret = quote(postgres.PASSWORD)
    address = server.url("trials").replace(f"{postgres.USER}@", f"{postgres.USER}:{secret}@")
    forms = (postgres.PASSWORD, secret)
    command = [*quick, "--trials", 4, "--workers", 2, "--name", "a", "--pruner", "none"]
    seen: set[str] = set()
    with start(*command, NAS_BUDGET_STORAGE=address) as process:

        def is_under_way() -> bool:
            for one in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):  # one that ends just now
                    seen.add(" ".join(one.cmdline()))
            return (tmp_path / "a" / "trials" / "1").exists()

        wait_until(is_under_way)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert len(seen) >= 2
    assert not [text for text in (out, err, *seen) for form in forms if form in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"trials.csv", "report.html", "settings.json"} <= {path.name for path in files}
    assert not [path for path in files for form in forms if form.encode() in path.read_bytes()]
