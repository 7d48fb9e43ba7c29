"""Pages and images of studies and runs, from the command line; a page that follows a study."""

from __future__ import annotations

import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from nas_budget.records.trials import write_table
from tests.cli.runs import write_unfinished
from tests.cli.servers import process_of
from tests.conftest import Ran
from tests.report import runs
from tests.report.browsing import CHROMIUM
from tests.report.trials import many

Run = Callable[..., Ran]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with the table of 30 trials."""
    write_table(tmp_path / "study" / "trials.csv", many(30))
    return tmp_path / "study"


def test_a_page_is_made_again_from_the_folder_or_from_the_table_alone(
    run: Run, quick: list[object], tmp_path: Path
) -> None:
    run(*quick, "--trials", 3, "--name", "a", "--pruner", "none")
    page = tmp_path / "page.html"
    ran = run("report", tmp_path / "a", "--output", page)
    assert ran.code == 0
    assert str(page) in ran.out
    assert page.read_text() == (tmp_path / "a" / "report.html").read_text()
    table = tmp_path / "elsewhere" / "trials.csv"
    table.parent.mkdir()
    shutil.copy(tmp_path / "a" / "trials.csv", table)
    front = run("report", table, "-o", page, "--json").json["front"]
    assert [row["accuracy"] for row in front] == sorted((row["accuracy"] for row in front), reverse=True)
    assert "nas-budget train --channels" in page.read_text()


def test_quiet_says_only_where_the_page_is(run: Run, study: Path) -> None:
    assert run("report", study, "--quiet").out == f"page: {study / 'report.html'}\n"


def test_several_studies_make_one_page(run: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "other" / "trials.csv", many(20, study="other"))
    monkeypatch.chdir(tmp_path)
    ran = run("report", study, "other")
    assert ran.code == 0
    assert "page: comparison.html" in ran.out
    assert "2 studies side by side" in (tmp_path / "comparison.html").read_text()
    assert run("report", study, "other", "--json").json["trials"] == 50


@pytest.mark.parametrize("source", ["nowhere", "tests", "README.md"])
def test_what_is_no_table_is_said_in_one_line(run: Run, source: str) -> None:
    ran = run("report", source)
    assert ran.code == 1
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("option", [["--json"], ["--image", "front.svg"], ["--output", "page.html"]])
def test_a_page_that_is_served_is_not_written(run: Run, study: Path, option: list[str]) -> None:
    ran = run("report", study, "--watch", *option)
    assert ran.code == 2
    assert "writes nothing" in ran.err


def test_a_run_that_has_not_ended_says_where_to_look(run: Run, tmp_path: Path) -> None:
    write_unfinished(tmp_path / "begun")
    for option in [], ["--watch"]:
        ran = run("report", tmp_path / "begun", *option)
        assert ran.code == 2
        assert "has not ended; see how far it is with nas-budget show" in ran.err


def test_a_name_in_runs_is_enough(run: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study, tmp_path / "runs" / "mine")
    assert run("report", "mine", "--quiet").out == "page: runs/mine/report.html\n"


@pytest.mark.parametrize(
    "options", [["--image", "a.svg", "--json"], ["--image", "a.svg", "-o", "x"], ["--figure", "curves"]]
)
def test_options_that_do_not_go_together_are_refused(run: Run, study: Path, options: list[str]) -> None:
    ran = run("report", study, *options)
    assert ran.code == 2
    assert ran.err.count("\n") == 1


def test_a_run_of_train_is_not_compared(run: Run, study: Path, tmp_path: Path) -> None:
    runs.write(tmp_path / "run", runs.result(), runs.epochs())
    for arguments, said in ((study, tmp_path / "run"), "a page of its own"), ((tmp_path / "run", "--watch"), "follows"):
        ran = run("report", *arguments)
        assert ran.code == 2
        assert said in ran.err
        assert ran.err.count("\n") == 1


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(
    ("name", "begins", "options"),
    [
        ("front.svg", b"<svg", []),
        ("front.png", b"\x89PNG", ["--figure", "tradeoff-macs"]),
        ("front.pdf", b"%PDF", ["--figure", "curves"]),
    ],
)
def test_a_figure_becomes_an_image(
    run: Run, study: Path, tmp_path: Path, name: str, begins: bytes, options: list[str]
) -> None:
    ran = run("report", study, "--image", tmp_path / name, *options)
    assert ran.out == f"image: {tmp_path / name}\n", ran.err
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert not (study / "report.html").exists()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_figure_of_a_run_becomes_an_image(run: Run, tmp_path: Path) -> None:
    runs.write(tmp_path / "run", runs.result(), runs.epochs())
    ran = run("report", tmp_path / "run", "--image", tmp_path / "loss.svg", "--figure", "loss")
    assert ran.code == 0, ran.err
    assert b"mean cross-entropy" in (tmp_path / "loss.svg").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image", "front.bmp"], "unknown image format; end it in .svg, .png, .pdf"),
        (["--image", "front.svg", "--figure", "nothing"], "no such figure; there are tradeoff-params"),
    ],
)
def test_an_image_that_cannot_be_is_said(run: Run, study: Path, options: list[str], said: str) -> None:
    ran = run("report", study, *options)
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            RuntimeError("Image export requires the Kaleido package, v1.0.0 or greater"),
            "pip install 'nas-budget[images]'",
        ),
        (RuntimeError("\nKaleido requires Google Chrome to be installed.\n"), "install Chrome or Chromium"),
        (RuntimeError("the browser\nfell over"), "could not be drawn (the browser)"),
        (PermissionError(13, "Permission denied"), "front.svg: cannot be written (Permission denied)"),
    ],
)
def test_what_images_need_is_said(
    run: Run, study: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise problem

    monkeypatch.setattr(go.Figure, "write_image", fail)
    ran = run("report", study, "--image", "front.svg")
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") == 1


@contextmanager
def watched(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The page of a study as a process serves it, and where."""
    with process_of("report", str(folder), "--watch") as (process, said):
        assert said.startswith("report: http://127.0.0.1:"), said + process.stderr.read()
        yield process, said.removeprefix("report: ").partition(" ")[0]


def fetch(address: str | urllib.request.Request) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - an address of ours
        return str(answer.read().decode())


def test_a_page_follows_its_study_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    with watched(folder) as (process, server):
        assert "Waiting for the first trial" in fetch(server)
        before = fetch(f"{server}stamp")
        write_table(folder / "trials.csv", many(20))
        assert fetch(f"{server}stamp") != before
        page = fetch(server)
        assert "all 20</option>" in page
        assert 'src="plotly.js?v=' in page
        assert "plotly.js v" in fetch(f"{server}plotly.js")[:200]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{server}trials.csv")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetch(urllib.request.Request(server, headers={"Host": "evil.example"}))  # noqa: S310 - an address of ours
        (folder / "trials.csv").write_text("damaged\n")
        assert "is no trials table (no column study" in fetch(server)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


@pytest.mark.browser
def test_a_page_in_the_browser_is_renewed_when_the_table_grows(browser: Any, study: Path) -> None:
    with watched(study) as (_, server):
        window = browser.new_page()
        window.goto(server, timeout=120_000)
        window.wait_for_selector("#tradeoff .point", timeout=120_000)
        window.select_option("#axis", "macs")
        assert "30 trials" in window.locator("#shown").inner_text()
        window.wait_for_timeout(2_500)  # it has asked once for the stamp
        write_table(study / "trials.csv", many(40))
        window.wait_for_function("document.getElementById('shown').innerText.includes('40 trials')", timeout=60_000)
        assert window.locator("#axis").input_value() == "macs"
        window.close()


def test_a_folder_that_is_not_there_is_not_watched(run: Run, tmp_path: Path) -> None:
    ran = run("report", tmp_path / "nowhere", "--watch", "--no-open")
    assert ran.code == 2
    assert "no such folder or table" in ran.err
