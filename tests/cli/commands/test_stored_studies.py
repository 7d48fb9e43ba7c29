"""`show` and `report` of a study in a database, on a machine that has no run folder of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.cli.serve.watch import LivePage
from nas_budget.errors import StorageError
from nas_budget.records.trials import write_table
from nas_budget.records.workers import utc_now
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.data.dataset import Dataset
from tests.cli.processes import fetch, interrupt, served, wait_until
from tests.conftest import Run
from tests.report.browsing import words
from tests.report.trials import many
from tests.search.studies import make


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty database; the working folder is one without runs."""
    quiet_optuna()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("NAS_BUDGET_STORAGE", raising=False)
    return f"sqlite:///{tmp_path}/trials.db"


@pytest.fixture
def search(dataset: Dataset, tmp_path: Path, address: str) -> Search:
    """A search of another machine in the database, which has not begun."""
    return make(dataset, tmp_path / "there", search__storage=address, search__pruner="none")


def test_a_study_is_shown_as_its_run_folder_is(
    run: Run, search: Search, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [*search.events()]
    now = utc_now()
    monkeypatch.setattr("nas_budget.cli.console.workers.utc_now", lambda: now)  # both show the same seconds
    there, ran = run("show", tmp_path / "there"), run("show", "s", "--storage", address)
    shown, commands = ran.out.split("next   ")
    assert shown == there.out.split("next   ")[0].replace("there: 4", "s: 4")
    assert "workers: 1, of which 0 have a training under way" in shown  # of a database each is listed
    assert "nas-budget report s" in commands
    assert f"--storage {address}" in commands
    assert "train --study" not in commands  # there is no run folder to train from
    assert ran.err == ""
    front = [row["number"] for row in run("show", tmp_path / "there", "--json").json["front"]]
    found = run("show", "s", "--storage", address, "--json").json
    assert ([row["number"] for row in found["front"]], found["folder"]) == (front, "s")
    one = run("show", "s", 1, "--storage", address)
    assert one.out.startswith("s, trial 1: ")
    assert run("show", "s", 9, "--storage", address).refused(2, "s: no trial 9; there are 0 to 3")


def test_a_run_folder_comes_before_a_database_of_the_environment_but_not_before_one_that_was_typed(
    run: Run, search: Search, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [*search.events()]
    monkeypatch.setenv("NAS_BUDGET_STORAGE", address)
    ran = run("show", "s")
    assert ran.out.startswith("s: 4 trials")
    assert "--storage" not in ran.out
    write_table(Path("runs/s/trials.csv"), many(30))
    Path("runs/s/study.journal").touch()
    assert run("show", "s").out.startswith("s: 30 trials")
    assert run("show", "s", "--storage", address).out.startswith("s: 4 trials")
    assert run("report", "s", "--quiet").out == "page: runs/s/report.html\n"
    assert run("report", "s", "--storage", address, "--quiet").out == "page: s.html\n"


@pytest.mark.slow
def test_a_page_and_a_comparison_are_made_of_it(run: Run, search: Search, tmp_path: Path, address: str) -> None:
    assert [*search.events()]
    ran = run("report", "s", "--storage", address)
    assert ran.out.endswith("page: s.html\n"), ran.err
    shown = words(Path("s.html").read_text())
    assert "4 complete, 0 pruned" in shown
    assert str(tmp_path) not in shown
    assert "nas-budget train --channels" in shown  # what it trains from is not a folder
    write_table(Path("other/trials.csv"), many(20, study="other"))
    assert run("report", "s", "other/trials.csv", "--storage", address).out.endswith("page: comparison.html\n")
    assert "2 studies side by side" in Path("comparison.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("show t", "holds no study t (only s); begin it with nas-budget search"),
        ("report t", "holds no study t (only s); begin it with nas-budget search"),
        ("report s", "study s: no trial has ended yet; report --watch waits for the first"),
        ("show runs/s", "runs/s: no such folder"),
        ("report s --watch --json", "--watch serves the page and writes nothing"),
    ],
)
def test_mistakes_are_one_line(run: Run, search: Search, address: str, arguments: str, said: str) -> None:
    assert run(*arguments.split(), "--storage", address).refused(2, said)
    assert [*Path.cwd().iterdir()] == []


def test_a_database_that_is_not_there_is_one_line(run: Run, address: str) -> None:
    pytest.importorskip("psycopg")
    assert run("show", "s", "--storage", "postgresql+psycopg://me@127.0.0.1:1/nas").refused(1, "cannot be used")


@pytest.mark.slow
def test_a_page_follows_the_study_and_its_workers(search: Search, tmp_path: Path, address: str) -> None:
    left = tmp_path / "temporary"
    left.mkdir()
    with served("report", Path("s"), "--storage", address, "--watch", TMPDIR=str(left)) as (process, page):
        assert "Waiting for the first trial" in fetch(page)
        events = search.events()
        for _ in range(6):
            next(events)  # a trial has ended, another one is under way
        wait_until(lambda: "Waiting" not in fetch(page))
        stamp = fetch(f"{page}stamp")
        assert "1 complete, 0 pruned" in words(fetch(page))
        assert [*events]
        wait_until(lambda: fetch(f"{page}stamp") != stamp)
        assert "4 complete, 0 pruned" in words(fetch(page))
        assert interrupt(process)
    assert [*left.iterdir()] == []


def test_where_the_database_is_gone_the_page_stays_and_says_so(tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", many(30))
    gone: list[str] = []

    def look() -> None:
        if gone:
            raise StorageError(gone[0])

    def get(path: str) -> tuple[str, str]:
        answered: list[str] = []
        return b"".join(app({"PATH_INFO": path}, lambda status, _: answered.append(status))).decode(), answered[0]

    app = LivePage([tmp_path / "trials.csv"], [look])
    known, _ = get("/")
    gone.append("storage: it cannot be used: no route to host")
    assert get("/stamp") == (gone[0], "503 Service Unavailable")
    assert get("/workers")[1] == "503 Service Unavailable"
    assert get("/") == (known, "200 OK")
    gone.clear()
    assert get("/stamp")[1] == "200 OK"
