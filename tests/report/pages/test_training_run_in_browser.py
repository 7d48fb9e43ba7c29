"""The page of a run as a browser shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_budget.records.training_run import EpochRow, RunResult
from tests.report.browsing import Open, goes_through_sections, lies_in_its_card, overlapping_ticks, scroll_through
from tests.report.runs import MISTAKE, SEEDS, epochs, of_many_classes, result, write
from tests.report.trials import EVIL

pytestmark = pytest.mark.browser


@pytest.fixture
def open_run(open_page: Open, tmp_path: Path) -> Open:
    """Writes a run and opens its page with every figure drawn."""

    def call(run: RunResult, rows: list[EpochRow], *how: Any, folder: str = "run", **more: Any) -> Any:
        window = open_page(write(tmp_path / folder, run, rows).as_uri(), *how, ready="#loss .main-svg", **more)
        scroll_through(window)
        return window

    return call


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_without_an_error_or_a_request(open_run: Open, scheme: str, width: int) -> None:
    evil = result(classes=(EVIL, "b" * 90, "<img src=x onerror=alert(2)>"), name="long_name_" * 20, seeds=SEEDS)
    window = open_run(evil, epochs(seeds=(4, 5)), scheme, width)
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    for name in "loss", "accuracy", "rate", "architecture", "confusion":
        assert lies_in_its_card(window, name)
    ink = window.evaluate("getComputedStyle(document.querySelector('#loss .xtitle')).fill")
    assert (ink == "rgb(51, 65, 85)") == (scheme == "light")
    texts = window.locator("#confusion .heatmap-label").all_text_contents()
    shown = ["70", "60", "100", "20", "10", "40"] if width == 390 else ["70.0", "60.0", "100.0", "20.0", "10.0", "40.0"]
    assert sorted(filter(None, texts)) == sorted(shown)
    assert "<script>alert(1" in window.locator("#confusion .ytick text").first.text_content()


def test_a_hundred_classes_and_one_epoch_can_be_looked_at(open_run: Open) -> None:
    window = open_run(of_many_classes(100), epochs(1), width=390)
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    assert window.locator("#loss .scatterlayer .point").count() == 1


@pytest.mark.parametrize("width", [1280, 390])
def test_sections_are_listed_and_ticks_have_room(open_run: Open, width: int) -> None:
    window = open_run(result(seeds=SEEDS), epochs(120, seeds=(4, 5)), width=width)
    titles = goes_through_sections(window)
    assert titles == ["Summary", *window.locator("section h2").all_text_contents()]
    assert {"Training loss", "The network", "Confusion", "How it was trained"} <= {*titles}
    assert overlapping_ticks(window) == []


def test_figures_are_saved_under_the_names_of_run_and_figure(open_run: Open) -> None:
    window = open_run(result(name="My run"), epochs())
    names = set()
    for button in window.locator(".png").all():
        with window.expect_download() as download:
            button.click()
        names.add(download.value.suggested_filename)
    assert names == {f"my-run-{name}.png" for name in ("loss", "accuracy", "rate", "architecture", "confusion")}


def test_pointing_at_a_cell_shows_its_count(open_run: Open) -> None:
    window = open_run(result(classes=("cat", EVIL, "emu")), epochs())
    window.locator("#confusion").scroll_into_view_if_needed()
    box = window.locator("#confusion .heatmaplayer").bounding_box()
    window.mouse.move(box["x"] + box["width"] * 5 / 6, box["y"] + box["height"] / 2)
    window.wait_for_selector("#confusion .hoverlayer .hovertext", timeout=60_000)
    shown = window.locator("#confusion .hoverlayer").text_content()
    assert f"{EVIL} predicted as emu:" in shown
    assert "8 of 20" in shown


def test_on_paper_the_figures_are_light_and_fit(open_run: Open) -> None:
    window = open_run(result(), epochs(), "dark")
    window.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert window.locator("#loss .main-svg").first.bounding_box()["width"] == 680
    assert window.evaluate("getComputedStyle(document.querySelector('#loss .xtitle')).fill") == "rgb(51, 65, 85)"
    window.evaluate("dispatchEvent(new Event('afterprint'))")
    wide = "document.querySelector('#{} .main-svg').getBoundingClientRect().width"
    window.wait_for_function(f"{wide.format('rate')} > 900 && {wide.format('loss')} < 500", timeout=60_000)
    assert window.evaluate("getComputedStyle(document.querySelector('#loss .xtitle')).fill") != "rgb(51, 65, 85)"
    window.emulate_media(media="print")
    for bar in ".track .interval", ".track .dot":
        assert window.evaluate(f"getComputedStyle(document.querySelector('{bar}')).printColorAdjust") == "exact"
    assert not any(window.locator(button).first.is_visible() for button in (".png", ".sections", ".copy"))


@pytest.mark.parametrize("clipboard", [True, False])
def test_a_command_is_copied_with_and_without_a_clipboard(open_run: Open, tmp_path: Path, clipboard: bool) -> None:
    window = open_run(result(), epochs(), folder="my run")
    keep = "navigator.clipboard.writeText = async (text) => { window.kept = text; }"
    none = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    window.evaluate(keep if clipboard else none)
    window.evaluate("addEventListener('copy', () => { window.kept = document.activeElement.value; })")
    button = window.locator(".copy").first
    button.click()
    window.wait_for_function("window.kept", timeout=60_000)
    assert window.evaluate("window.kept") == f"nas-budget evaluate '{tmp_path / 'my run'}'"
    assert button.text_content() == "copied"
    window.wait_for_function("document.querySelector('.copy').textContent === 'copy'", timeout=60_000)


@pytest.mark.parametrize("width", [1280, 390])
def test_images_are_enlarged_pixel_by_pixel(open_run: Open, width: int) -> None:
    run = result(mistakes=tuple({**MISTAKE, "index": i} for i in range(24)))
    window = open_run(run, epochs(), width=width)
    images = window.locator(".thumbnails img")
    assert images.evaluate_all("(all) => all.filter((one) => one.naturalWidth === 16).length") == 24
    assert images.first.evaluate("(one) => getComputedStyle(one).imageRendering") == "pixelated"
    first, second = images.nth(0).bounding_box(), images.nth(1).bounding_box()
    assert first["width"] == pytest.approx(first["height"], abs=1)
    assert (first["width"] > 90, first["y"]) == (True, second["y"])
    assert window.evaluate("document.documentElement.scrollWidth") <= width
