"""Pages and images of studies and runs, from the command line; a page that follows a study."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from nas_budget.records.trials import write_table
from tests.cli.processes import fetch, interrupt, served
from tests.cli.runs import write_unfinished
from tests.conftest import Run
from tests.report import runs
from tests.report.browsing import CHROMIUM
from tests.report.trials import many


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the table of 30 trials, in the working folder."""
    write_table(tmp_path / "study" / "trials.csv", many(30))
    monkeypatch.chdir(tmp_path)
    return Path("study")


@pytest.mark.slow
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
    assert run("report", "study", "--quiet").out == "page: study/report.html\n"


def test_a_name_in_runs_is_enough(run: Run, study: Path) -> None:
    shutil.move(study, "runs/mine")
    assert run("report", "mine", "--quiet").out == "page: runs/mine/report.html\n"


def test_several_studies_make_one_page(run: Run, study: Path) -> None:
    write_table(Path("other/trials.csv"), many(20, study="other"))
    ran = run("report", study, "other")
    assert ran.code == 0
    assert "page: comparison.html" in ran.out
    assert "2 studies side by side" in Path("comparison.html").read_text()
    assert run("report", study, "other", "--json").json["trials"] == 50


def test_damaged_predictions_are_one_line_and_the_page_is_written(run: Run, study: Path) -> None:
    (study / "predictions.csv").write_text("no table")
    ran = run("report", study)
    assert ran.code == 0
    assert [line for line in ran.err.splitlines() if "predictions" in line] == ran.err.splitlines() != []
    assert (study / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("nowhere", 2, "nowhere"),
        ("empty", 2, "empty"),
        ("notes.txt", 2, "notes.txt"),
        ("nowhere --watch --no-open", 2, "no such folder or table"),
        ("begun", 2, "has not ended; see how far it is with nas-budget show"),
        ("begun --watch", 2, "has not ended; see how far it is with nas-budget show"),
        ("study run", 2, "a page of its own"),
        ("run --watch", 2, "follows"),
        ("study --watch --json", 2, "writes nothing"),
        ("study --watch --image front.svg", 2, "writes nothing"),
        ("study --watch --output page.html", 2, "writes nothing"),
        ("study --image a.svg --json", 2, "--image writes an image and nothing else"),
        ("study --image a.svg -o x", 2, "--image writes an image and nothing else"),
        ("study --figure curves", 2, "--figure goes with --image"),
        ("study --image front.bmp", 2, "unknown image format; end it in .svg, .png, .pdf"),
        ("study --image front.svg --figure nothing", 2, "no such figure; there are tradeoff-params"),
    ],
)
def test_mistakes_are_one_line(run: Run, study: Path, arguments: str, code: int, said: str) -> None:
    write_unfinished(Path("begun"))
    runs.write(Path("run"), runs.result(), runs.epochs())
    Path("empty").mkdir()
    Path("notes.txt").write_text("No table.\n")
    assert run("report", *arguments.split()).refused(code, said)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        ("study --image front.svg", b"<svg"),
        ("study --image front.png --figure tradeoff-macs", b"\x89PNG"),
        ("study --image front.pdf --figure curves", b"%PDF"),
        ("run --image loss.svg --figure loss", b"mean cross-entropy"),
    ],
)
def test_a_figure_becomes_an_image(run: Run, study: Path, arguments: str, holds: bytes) -> None:
    runs.write(Path("run"), runs.result(), runs.epochs())
    name = arguments.split()[2]
    ran = run("report", *arguments.split())
    assert ran.out == f"image: {name}\n", ran.err
    assert holds in Path(name).read_bytes()
    assert not (study / "report.html").exists()


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (RuntimeError("Image export requires the Kaleido package, v1.0"), "pip install 'nas-budget[images]'"),
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
    assert run("report", study, "--image", "front.svg").refused(1, said)


def test_a_page_follows_its_study_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    with served("report", folder, "--watch") as (process, server):
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
        assert interrupt(process)


@pytest.mark.slow
@pytest.mark.browser
def test_a_page_in_the_browser_is_renewed_when_the_table_grows(browser: Any, study: Path) -> None:
    with served("report", study, "--watch") as (_, server):
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
