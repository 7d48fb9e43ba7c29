"""The notebook for Colab and Kaggle, run as its reader runs it, with small numbers."""

from __future__ import annotations

import csv
import os
import sys
import time
import tomllib
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from psutil import Process, wait_procs

from nas_budget import Budget, cost
from nas_budget.arch.spec import spec_from_json
from nas_budget.records.training_run import read_result
from nas_budget.records.trials import TrialRecord, read_trials

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "colab.ipynb"
COLAB = "https://colab.research.google.com/github/"
N_TRIALS = 6


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a notebook's process finds: our command, and folders of its own."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


def notebook(until: str = "", **values: str) -> Any:
    """The notebook up to this cell, with other values in a cell behind that of its own."""
    read = nbformat.read(NOTEBOOK, as_version=4)
    read.cells = read.cells[: [cell.id for cell in read.cells].index(until) + 1 if until else None]
    (first,) = (i for i, cell in enumerate(read.cells) if "parameters" in cell.metadata.get("tags", ()))
    given = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    read.cells.insert(first + 1, nbformat.v4.new_code_cell(given))
    return read


def client_of(cells: Any, folder: Path) -> Any:
    """What runs them in a folder."""
    return nbclient.NotebookClient(cells, timeout=None, resources={"metadata": {"path": folder}})


def trials(runs: Path) -> list[TrialRecord]:
    """Those of the search that have ended."""
    table = runs / "search" / "trials.csv"
    return read_trials(table) if table.exists() else []


def kill_when(client: Any, ready: Any) -> None:
    """Kill the notebook's process and all that it started once something is ready, as a service does."""
    while not ready():
        time.sleep(0.05)
    kernel = Process(client.km.provisioner.process.pid)
    running = [*kernel.children(recursive=True), kernel]
    for process in running:
        process.kill()
    wait_procs(running)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_reader_gets_a_network_and_a_submission_and_a_disconnect_costs_one_trial(
    npz: Path, tmp_path: Path, environment: None
) -> None:
    runs = tmp_path / "drive"
    values = {
        "DATA": str(npz),
        "BUDGET": "20k",
        "SEARCH_TIME": "10min",  # the trials end the search: on any machine all of them fit
        "TRAIN_TIME": "10s",
        "SEARCH_OPTIONS": f"--trials {N_TRIALS} --epochs 4 --device cpu --set space.blocks=1",
        "TRAIN_OPTIONS": "--device cpu",
        "RUNS": str(runs),
    }

    session = client_of(notebook(**values), tmp_path)
    end = Thread(target=kill_when, args=(session, lambda: trials(runs)), daemon=True)
    end.start()
    with pytest.raises(nbclient.exceptions.DeadKernelError):
        session.execute()
    end.join()
    before = trials(runs)
    assert 0 < len(before) < N_TRIALS

    run = notebook(**values)
    client_of(run, tmp_path).execute()
    after = trials(runs)
    assert len(after) == N_TRIALS
    assert after[: len(before)] == before  # resumed, not trained again

    spec = spec_from_json((runs / "search" / "best.json").read_text())
    assert Budget(params=20_000).check(spec).fits
    result = read_result(runs / "final")
    assert result.params == cost(spec).params
    with (runs / "submission.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["ID"] for row in rows] == [str(i) for i in range(100)]
    assert {row["Labels"] for row in rows} <= {*result.classes}
    pages = [output for cell in run.cells for output in cell.get("outputs", ()) if "data" in output]
    assert ["<iframe" in output.data["text/html"] for output in pages] == [True, True]


def test_results_of_an_earlier_session_are_copied_once(tmp_path: Path, environment: None) -> None:
    earlier, runs = tmp_path / "input" / "nas-budget", tmp_path / "working" / "nas-budget"
    earlier.mkdir(parents=True)
    (earlier / "a-run").write_text("then")
    for _ in range(2):
        client_of(notebook("setup", EARLIER=str(earlier), RUNS=str(runs)), tmp_path).execute()
        assert (runs / "a-run").read_text() == "then"
        (earlier / "a-run").unlink(missing_ok=True)


def test_the_notebook_is_stored_as_it_was_written() -> None:
    read = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(read)
    assert [cell.id for cell in read.cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_the_badge_opens_the_notebook_in_colab_once_the_project_has_an_address() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    place = urls.get("Repository", "").removeprefix("https://github.com/")
    assert f"]({COLAB}{place and f'{place}/blob/main/docs/colab.ipynb'})" in (ROOT / "README.md").read_text()
