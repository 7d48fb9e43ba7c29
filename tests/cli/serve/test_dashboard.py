"""The dashboard: served by a process of its own, and what is said when it cannot be."""

from __future__ import annotations

import json
import queue
import socket
import sys
import webbrowser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from nas_budget import Budget, SearchSpace, cost
from nas_budget.cli.serve import server as serving
from nas_budget.optuna import suggest_spec, two_objective_study
from tests.cli.processes import fetch, interrupt, served
from tests.conftest import Run


def add_study(where: Any, name: str = "quick") -> None:
    study = optuna.create_study(study_name=name, storage=where, direction="maximize")
    for accuracy, state in (0.5, TrialState.COMPLETE), (None, TrialState.PRUNED), (None, TrialState.FAIL):
        trial = study.ask()
        trial.suggest_float("growth", 0.5, 2)
        study.tell(trial, accuracy, state)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run with one study of three trials."""
    path = tmp_path / "runs" / "quick"
    path.mkdir(parents=True)
    add_study(JournalStorage(JournalFileBackend(str(path / "study.journal"))))
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[str]:
    """Addresses opened in the browser, by commands that leave instead of serving."""
    addresses: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(webbrowser, "open", addresses.put)
    monkeypatch.setattr(serving._Server, "serve_forever", lambda server: None)
    return addresses


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Everything in a folder; its own time tells of a file that came and went."""
    paths = [folder, *folder.rglob("*")]
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


def asked(address: str, path: str) -> Any:
    """What the dashboard at the page of its first study answers."""
    return json.loads(fetch(address.removesuffix("/dashboard/studies/0") + path))


def test_a_study_is_served_until_ctrl_c_and_left_as_it_was(folder: Path) -> None:
    before = contents(folder)
    with served("dashboard", folder) as (process, address):
        [study] = asked(address, "/api/studies")["study_summaries"]
        trials = asked(address, f"/api/studies/{study['study_id']}")["trials"]
        assert interrupt(process)
    assert study["study_name"] == "quick"
    assert [trial["state"] for trial in trials] == ["Complete", "Pruned", "Fail"]
    assert contents(folder) == before


@pytest.mark.slow
def test_a_search_shows_networks_margins_and_what_its_names_mean(run: Run, quick: list[object], tmp_path: Path) -> None:
    run(*quick, "--trials", 2, "--name", "a", "--pruner", "none", "--max-macs", "2M")
    with served("dashboard", tmp_path / "a") as (_, address):
        study = asked(address, "/api/studies/0")
    shown = [attribute["key"] for attribute in study["union_user_attrs"]]
    assert shown[:4] == ["network", "params", "macs", "activation_bytes"]
    assert shown[4:7] == ["margin_params", "margin_macs", "feasible"]
    for trial in study["trials"]:
        known = {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}
        assert "blocks 1" in known["network"]
        assert int(known["params"]) + int(known["margin_params"]) == 20_000
        assert known["feasible"] == "True"
    assert study["objective_names"] == ["accuracy"]
    for said in "20,000 parameters, 2,000,000 MACs", "`size`", "`growth_N`", "100 validation images":
        assert said in study["note"]["body"]


def test_a_study_of_ones_own_and_its_copy_with_two_objectives_are_shown(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'mine.db'}"
    budget = Budget(params=30_000)
    study = optuna.create_study(study_name="own", storage=address, direction="maximize")
    study.optimize(lambda trial: cost(suggest_spec(trial, SearchSpace(), budget)).depth / 100, n_trials=3)
    two_objective_study(study, storage=address)
    with served("dashboard", "--storage", address) as (_, page):
        api = f"{page.partition('/dashboard')[0]}/api/studies"
        shown = {one["study_name"]: one["study_id"] for one in json.loads(fetch(api))["study_summaries"]}
        both = [json.loads(fetch(f"{api}/{number}")) for number in shown.values()]
    assert {*shown} == {"own", "own front"}
    assert sorted(len(one["directions"]) for one in both) == [1, 2]
    for one in both:
        for trial in one["trials"]:
            known = {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}
            assert int(known["params"]) + int(known["margin_params"]) == 30_000
            assert known["network"]


def test_the_browser_is_opened_at_the_study(run: Run, folder: Path, opened: queue.Queue[str]) -> None:
    ran = run("dashboard", folder, "--port", 0)
    assert (ran.code, ran.err) == (0, f"dashboard: {opened.get(timeout=10)} (Ctrl-C ends it)\n")


def test_a_database_of_several_studies_is_shown_as_a_list(run: Run, tmp_path: Path, opened: queue.Queue[str]) -> None:
    address = f"sqlite:///{tmp_path / 'trials.db'}"
    for name in "first", "second":
        add_study(address, name)
    assert "/dashboard (Ctrl-C" in run("dashboard", "--storage", address, "--port", 0, "--no-open").err
    assert opened.empty()


def test_who_lets_others_in_is_told_what_they_can_do(run: Run, folder: Path, opened: queue.Queue[str]) -> None:
    ran = run("dashboard", folder, "--port", 0, "--host", "0.0.0.0", "--no-open")  # noqa: S104
    assert ran.err.startswith("dashboard: http://127.0.0.1:")
    assert "no password" in ran.err


def test_without_the_extra_it_says_how_to_get_it(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    said = "error: optuna-dashboard is not installed: pip install 'nas-budget[dashboard]'\n"
    assert run("dashboard", folder).refused(1, said)


def test_an_address_that_cannot_be_listened_on_is_said(run: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("dashboard", folder, "--port", port, "--no-open")
    assert ran.refused(1, f"error: port {port} is in use; choose another with --port (0 takes any free one)\n")
    elsewhere = run("dashboard", folder, "--host", "192.0.2.1", "--no-open")
    assert elsewhere.refused(1, "192.0.2.1:8080: cannot be listened on")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give the folder of a run"),
        (["empty", "--storage", "sqlite:///trials.db"], 2, "give the folder of a run"),
        (["nowhere"], 2, "nowhere: no such folder"),
        (["empty"], 2, "empty: holds no study or run"),
        (["damaged"], 2, "line 1 is damaged"),
        (["damaged", "--port", "99999"], 2, "--port"),
        (["--storage", "trials.db"], 2, "'trials.db' is no address"),
        (["--storage", "postgresql://someone:secret"], 2, "postgresql://... is no address"),
        (["--storage", "nosql://someone:secret@host/name"], 2, "nosql://someone:***@host/name"),
        (["--storage", "postgresql+psycopg://someone:sec@secret@host/name"], 2, "%40"),
        (["--storage", "postgresql+psycopg://someone:secret@127.0.0.1:1/name?password=secret"], 1, "someone:***@"),
        (["--storage", "sqlite:///nowhere.db"], 2, "no such file"),
        (["--storage", "sqlite:///empty.db"], 2, "holds no study"),
        (["--storage", "sqlite:///damaged/study.journal"], 2, "not a database"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line_and_nothing_is_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "empty", "damaged":
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "study.journal").write_text("one\ntwo\n")
    (tmp_path / "empty.db").write_text("")
    before = contents(tmp_path)
    ran = run("dashboard", *arguments, "--no-open")
    assert ran.refused(code, said)
    assert "secret" not in ran.err
    assert contents(tmp_path) == before
