"""The page: from a table alone, complete, and safe whatever the table says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas_budget.errors import TableError
from nas_budget.report.page import page, write_page
from nas_budget.report.table import read_table
from nas_budget.trial_table import TrialRecord
from tests.report.trials import EVIL, mixed, record, table_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]


def words(html: str) -> str:
    """What a reader sees, without scripts, styles and tags."""
    seen = re.sub(r"<(script|style).*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", seen))


def test_the_headline_is_the_best_trial(tmp_path: Path) -> None:
    html = page(table_of(tmp_path, mixed()))
    assert "75.31%</b> with 43,210 parameters" in html
    seen = words(html)
    for part in "Trial 5,", "86.42% of the parameter budget", "2,000,000 MACs", "50,000 parameters", "channels 8-16":
        assert part in seen


def test_the_facts_are_counted(tmp_path: Path) -> None:
    seen = words(page(table_of(tmp_path, [*mixed(), record(8, spec=record(1).spec, seconds=3600.0)])))
    for part in (
        "6 complete, 1 stopped early",
        "Failed 2",
        "Networks trained twice 1",
        "1 h 1 min",
        "mine: 4,000 images trained on, 1,000 held out",
        "torch 2.13.0",
        "9 trials: complete, failed, stopped early",
    ):
        assert part in seen


def test_text_of_the_table_is_never_markup(tmp_path: Path) -> None:
    everywhere = {"study": EVIL, "channels": EVIL, "versions": EVIL, "precision": EVIL, "spec": EVIL, "data": EVIL}
    html = page(table_of(tmp_path, mixed(**everywhere)))
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "GPU &lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html


def test_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    html = page(table_of(tmp_path, mixed()))
    assert not re.search(r"<(script|img|link|iframe)[^>]*(src|href)=[\"'](?!data:)", html)


def test_the_page_follows_from_the_file_alone(tmp_path: Path) -> None:
    html = page(table_of(tmp_path, mixed()))
    copied = shutil.copy(tmp_path / "trials.csv", tmp_path / "copy.csv")
    assert page(read_table(Path(copied))) == html


@pytest.mark.parametrize(
    ("data", "said", "unsaid"),
    [
        ("cifar10", "star is the reference paper", "built-in shapes"),
        ("shapes", "built-in shapes", "reference paper"),
        ("mine", "The trade-off", "reference paper"),
    ],
)
def test_what_the_images_are_is_said(tmp_path: Path, data: str, said: str, unsaid: str) -> None:
    seen = words(page(table_of(tmp_path, mixed(data=data))))
    assert said in seen
    assert unsaid not in seen


@pytest.mark.parametrize(
    "records",
    [
        [record(state="pruned", accuracy=0.3)],
        [record(state="pruned", accuracy=None)],
        [record(state="failed", accuracy=None)],
        [record(0, state="failed", accuracy=None), record(1, state="failed", accuracy=None)],
    ],
)
def test_without_a_complete_trial_the_page_says_so(tmp_path: Path, records: list[TrialRecord]) -> None:
    seen = words(page(table_of(tmp_path, records)))
    assert "No trial has been trained to the end yet" in seen
    assert "0 complete" in seen
    assert "nan" not in seen.lower()


def test_one_trial_is_enough(tmp_path: Path) -> None:
    assert "50.00% with 10,000 parameters" in words(page(table_of(tmp_path, [record()])))


def test_every_limit_is_in_the_heading(tmp_path: Path) -> None:
    limits = {"budget_macs": 6_000_000, "budget_weight_bytes": 250_000, "budget_activation_bytes": 64_000}
    seen = words(page(table_of(tmp_path, [record(**limits, weight_format="int8")])))
    every = "50,000 parameters, 6,000,000 MACs, 250,000 bytes of int8 weights, 64,000 bytes of activations"
    assert every in seen
    assert "no limit" in words(page(table_of(tmp_path, [record(budget_params=None)])))


def test_a_page_is_written_as_a_whole(tmp_path: Path) -> None:
    table = table_of(tmp_path, mixed())
    path = tmp_path / "new" / "report.html"
    write_page(table, path)
    assert path.read_text(encoding="utf-8") == page(table)
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, mixed())
    with pytest.raises(TableError, match=r"trials.csv/report.html: cannot be written \([^\n]*\)$"):
        write_page(table, tmp_path / "trials.csv" / "report.html")


def test_nothing_is_left_behind_where_a_folder_is_in_the_way(tmp_path: Path) -> None:
    table = table_of(tmp_path, mixed())
    (tmp_path / "report.html").mkdir()
    with pytest.raises(TableError, match="cannot be written"):
        write_page(table, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "trials.csv"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=120_000)
        yield opened
        opened.close()


@pytest.fixture
def report(tmp_path: Path) -> str:
    """The address of a page of evil text."""
    write_page(table_of(tmp_path, mixed()), tmp_path / "report.html")
    return (tmp_path / "report.html").as_uri()


def opened(browser: Any, address: str, scheme: str = "light", width: int = 1280) -> tuple[Any, list[str]]:
    """The page in a new window, and a list that fills with all that goes wrong or is asked of the network."""
    window, trouble = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900}), []
    window.on("console", lambda message: trouble.append(message.text) if message.type != "log" else None)
    window.on("pageerror", lambda error: trouble.append(str(error)))
    window.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    window.on("request", lambda asked: trouble.append(asked.url) if asked.url not in (address, "data:,") else None)
    window.goto(address, timeout=120_000)
    window.wait_for_selector("#tradeoff .scatterlayer .point", timeout=120_000)
    return window, trouble


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_without_an_error_or_a_request(browser: Any, report: str, scheme: str) -> None:
    window, trouble = opened(browser, report, scheme)
    assert window.locator("#tradeoff .scatterlayer .point").count() == 1 + 5 + 3
    dark_ink = (
        window.evaluate("getComputedStyle(document.querySelector('#tradeoff .xtitle')).fill") == "rgb(51, 65, 85)"
    )
    assert dark_ink == (scheme == "light")
    assert EVIL in window.locator("h1").inner_text()
    window.locator("summary").click()
    assert window.get_by_role("row").count() == (1 + 3) + (1 + 8)
    window.close()
    assert trouble == []


@pytest.mark.browser
def test_pointing_at_a_trial_shows_its_network(browser: Any, report: str) -> None:
    window, trouble = opened(browser, report)
    box = window.locator("#tradeoff .scatterlayer .trace").last.locator(".point").last.bounding_box()
    window.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    window.wait_for_selector(".hoverlayer .hovertext", timeout=60_000)
    shown = window.locator(".hoverlayer").text_content()
    assert "75.31%" in shown
    assert "43,210 parameters" in shown
    window.close()
    assert trouble == []


@pytest.mark.browser
@pytest.mark.parametrize("study", ["demo", "a_long_name_of_a_study_" * 4], ids=["demo", "long"])
def test_nothing_is_wider_than_a_phone(browser: Any, tmp_path: Path, study: str) -> None:
    write_page(table_of(tmp_path, mixed(data="cifar10", study=study)), tmp_path / "report.html")
    window, _ = opened(browser, (tmp_path / "report.html").as_uri(), width=390)
    window.locator("summary").click()
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    assert window.locator("#tradeoff .main-svg").first.bounding_box()["width"] <= 390
    window.close()
