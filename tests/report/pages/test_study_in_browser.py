"""The page of studies in a browser: what a person does with it works, and nothing else happens."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from nas_budget import ResNetSpec, cost
from nas_budget.records.trials import COLUMNS, write_table
from nas_budget.report.pages.study import write_page
from nas_budget.report.tables.studies import read_studies
from tests.report.browsing import Open, overlapping_ticks, scroll_through
from tests.report.trials import EVIL, many, mixed, record

RESULTS = Path(__file__).parents[3] / "studies" / "results"

pytestmark = pytest.mark.browser


def made(folder: Path, records: list[Any], name: str = "report.html") -> str:
    """The address of the page of some trials."""
    write_table(folder / "trials.csv", records)
    write_page(read_studies([folder]), folder / name)
    return (folder / name).as_uri()


def numbers(window: Any, column: str) -> list[float]:
    return [float(text.replace(",", "")) for text in window.locator(f"#table td.of-{column}").all_inner_texts()]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of 1,000 trials of real networks."""
    return made(tmp_path_factory.mktemp("thousand"), many(1_000))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_evil_texts_are_shown_as_they_are(open_page: Open, tmp_path: Path, scheme: str) -> None:
    window = open_page(made(tmp_path, mixed(channels=EVIL, spec=EVIL, data=EVIL)), scheme)
    assert (
        window.locator("#tradeoff .scatterlayer .point").count() == 1 + 2 + 3 + 1
    )  # pruned, complete, on the front, and a ring
    dark_ink = "getComputedStyle(document.querySelector('#tradeoff .xtitle')).fill == 'rgb(51, 65, 85)'"
    assert window.evaluate(dark_ink) == (scheme == "light")
    assert EVIL in window.locator("h1").inner_text()
    scroll_through(window)
    window.locator("#table tbody tr").first.click()
    assert EVIL in window.locator("#trial-body").inner_text()


def test_every_figure_of_a_thousand_trials_is_drawn_and_the_axis_chosen(open_page: Open, thousand: str) -> None:
    window = open_page(thousand)
    scroll_through(window)
    drawn = {place.get_attribute("id") for place in window.locator(".figure").all()}
    names = "tradeoff", "progress", "predictions", "curves", "importance", "parallel", "ledger", "timeline"
    assert {*names, "shares-params", "shares-macs", "slice-parameters", "slice-MACs"} <= drawn
    assert len([name for name in drawn if name.startswith("slice-")]) == 6
    options = window.locator("#axis option").all_inner_texts()
    assert options == ["parameters", "MACs", "bytes of weights", "latency", "device seconds"]
    for value, title in ("macs", "MACs of one image"), ("latency", "latency of one image (ms)"):
        window.select_option("#axis", value)
        window.wait_for_function(f"document.querySelector('#tradeoff .xtitle').textContent === '{title}'")
        assert window.locator("#tradeoff .scatterlayer .point").count() > 900


def test_an_accuracy_has_the_same_digits_wherever_it_stands(open_page: Open, tmp_path: Path) -> None:
    window = open_page(made(tmp_path, [record(0, accuracy=0.6425, validation_images=2_000)]))
    assert window.locator(".headline b").inner_text() == "64.2%"
    assert " 64.2% with" in window.locator(".trial-title").inner_text()
    assert window.locator("#table td.of-accuracy").inner_text() == "64.2%"


@pytest.mark.parametrize("width", [1400, 390])
def test_titles_of_axes_keep_clear_of_their_ticks(open_page: Open, thousand: str, width: int) -> None:
    window = open_page(thousand, width=width)
    scroll_through(window)
    for name in "tradeoff", "trial-curve", "progress", "curves", "predictions":
        title = window.locator(f"#{name} .ytitle").bounding_box()
        ticks = [tick.bounding_box()["x"] for tick in window.locator(f"#{name} .yaxislayer-above .ytick text").all()]
        assert title["x"] + title["width"] + 4 <= min(ticks), name


def test_curves_and_progress_are_switched_and_the_address_remembers(open_page: Open, tmp_path: Path) -> None:
    address = made(tmp_path, many(60))
    titles = {"curves": "training loss", "progress": "trials, complete or pruned"}
    window = open_page(address)
    for switched in False, True:
        scroll_through(window)
        for name, axis in ("curves", "ytitle"), ("progress", "xtitle"):
            shown = window.locator(f"#{name} .{axis}").text_content()
            assert (shown == titles[name]) != switched
        if not switched:
            window.select_option("#curve", "accuracy")
            window.select_option("#over", "time")
            window = open_page(window.evaluate("location.href"))
    assert window.locator("#curves .ytitle").text_content() == "accuracy on validation images"


@pytest.mark.parametrize(("width", "barred"), [(1280, True), (390, False)])
def test_on_a_phone_only_the_front_has_error_bars(open_page: Open, tmp_path: Path, width: int, barred: bool) -> None:
    window = open_page(made(tmp_path, many(200)), width=width)
    n_complete = sum(r.state == "complete" for r in many(200))
    n_bars = window.locator("#tradeoff .yerror").count()
    assert (n_bars == n_complete) == barred
    assert n_bars > 2


def test_the_trade_off_shows_the_front_or_all_and_is_coloured_by_a_column(open_page: Open, tmp_path: Path) -> None:
    bad = [record(100 + i, accuracy=0.02, params=400_000 + i, data="cifar10") for i in range(2)]
    address = made(tmp_path, [*many(60, data="cifar10"), *bad])
    window = open_page(address)
    lowest = "document.getElementById('tradeoff').layout.yaxis.range[0]"
    assert window.evaluate(lowest) > 0.02
    assert "2 of 22 complete trials are below" in window.locator("#tradeoff .annotation").all_text_contents()[-1]
    window.select_option("#part", "all")
    assert window.evaluate(lowest) < 0.02
    window.select_option("#part", "published")
    window.wait_for_function("document.getElementById('tradeoff').layout.yaxis.range[1] > 0.93")
    colours = "new Set([...document.querySelectorAll('#tradeoff .point')].map((one) => one.style.fill)).size"
    before = window.evaluate(colours)
    columns = window.locator("#colour option").all_inner_texts()
    assert {"what became of it", "macs", "channels", "latency (s)", "state"} <= {*columns}
    for column, ticks in ("macs", "M"), ("kernels", "others"), ("state", "complete"):
        window.select_option("#colour", column)
        window.wait_for_function(f"document.querySelector('#tradeoff .infolayer').textContent.includes('{ticks}')")
    window.select_option("#colour", "macs")
    assert window.evaluate(colours) > before + 10
    again = open_page(window.evaluate("location.href"))
    assert (again.locator("#colour").input_value(), again.locator("#part").input_value()) == ("macs", "published")


def test_pointing_at_a_trial_shows_its_network_and_a_click_pins_it(open_page: Open, tmp_path: Path) -> None:
    window = open_page(made(tmp_path, mixed()))
    assert window.locator(".trial-title").inner_text().startswith("trial 5 · 75.3%")
    window.locator("#tradeoff .xtitle").scroll_into_view_if_needed()
    box = window.locator("#tradeoff .scatterlayer .trace:has(.yerror)").nth(1).locator(".point").first.bounding_box()
    window.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    window.wait_for_selector("#tradeoff .hoverlayer .hovertext", timeout=60_000)
    shown = window.locator("#tradeoff .hoverlayer").text_content()
    assert "40.0%" in shown
    assert "5,000 parameters" in shown
    window.mouse.down()
    window.mouse.up()
    window.wait_for_function("document.querySelector('.trial-title').innerText.startsWith('trial 1 ')", timeout=60_000)
    assert "trial=1" in window.evaluate("location.hash")
    assert window.locator("#table tr.pinned td").first.inner_text() == "1"
    window.locator("#trial-body .copy").first.click()
    window.wait_for_function("document.querySelector('#trial-body .copy').textContent === 'copied'")


def test_two_trials_are_set_side_by_side_and_differences_marked(open_page: Open, tmp_path: Path) -> None:
    changes = {"channels": "8-20", "params": 15_000, "accuracy": 0.6, "curve": "0.3 0.5 0.6"}
    window = open_page(made(tmp_path, [record(0), record(1, **changes), record(2, accuracy=0.3)]))
    window.locator("#table tbody tr[data-id='0'] .compare").click()
    assert window.locator("#trial h2").inner_text() == "Two trials"
    shown = {
        row[0]: row[1:] for row in (line.split("\t") for line in window.locator(".side-by-side tr").all_inner_texts())
    }
    assert shown["channels"][:2] == ["8-20", "8-16"]
    assert shown["Parameters"] == ["15,000", "10,000", "−33 %"]
    assert shown["Accuracy"][2] == "−10.0 points"
    marked = {text.split("\t")[0] for text in window.locator(".side-by-side tr.differs").all_inner_texts()}
    assert marked == {"channels", "Parameters", "Accuracy"}
    window.wait_for_selector("#trial-curve .main-svg")
    assert window.locator("#trial-curve .legendtext").all_text_contents() == ["trial 1", "trial 0"]
    assert window.locator("#table tr.pinned").count() == 2
    again = open_page(window.evaluate("location.href"))
    assert again.locator("#trial .trial-title b").all_inner_texts() == ["trial 1", "trial 0"]
    again.click("#alone")
    assert again.locator("#trial h2").inner_text() == "One trial"
    assert "with=" not in again.evaluate("location.hash")


def test_networks_for_devices_are_to_scale_and_compared_in_all_they_are(open_page: Open, tmp_path: Path) -> None:
    usual = ResNetSpec((8, 16), blocks=(1, 2), strides=(1, 2), pool=8, block="inverted")
    device = replace(usual, stem_stride=2, activation="hard-swish", expansions=(4, 6))
    rows = [
        record(
            number, accuracy=0.5 + number / 10, block="inverted", pool=8, params=cost(spec).params,
            macs=cost(spec).macs, spec=json.dumps(spec.to_dict()), predicted_latency_s=0.0012,
        )
        for number, spec in enumerate((usual, device))
    ]  # fmt: skip
    window = open_page(made(tmp_path, rows))
    maps = [text.split("\n")[0] for text in window.locator(".network-drawing td.shape").all_inner_texts()]
    assert maps == ["8 × 16×16", "8 × 16×16", "16 × 8×8", "10 × 1×1"]
    window.locator("#table tbody tr[data-id='0'] .compare").click()
    shown = dict(line.split("\t", 1) for line in window.locator(".side-by-side tr.differs").all_inner_texts())
    for name, both in (
        ("activation", "hard-swish\tas usual"),
        ("expansions", "4-6\tas usual"),
        ("stem stride", "2\tas u"),
    ):
        assert shown[name].startswith(both)
    room = window.evaluate("document.querySelector('#table').parentElement.clientWidth")
    assert window.evaluate("document.querySelector('#table').scrollWidth") <= room


def test_the_address_remembers_what_is_looked_at(open_page: Open, thousand: str) -> None:
    window = open_page(f"{thousand}#axis=macs&trial=7&sort=params&show=pareto&filter=params%3E10k")
    assert window.locator("#axis").input_value() == "macs"
    assert window.locator(".trial-title").inner_text().startswith("trial 7 ")
    sizes = numbers(window, "params")
    assert sizes == sorted(sizes)
    assert min(sizes) > 10_000


def test_trials_are_sorted(open_page: Open, thousand: str) -> None:
    window = open_page(thousand)
    for name in "params", "number", "seconds":
        before = None
        for _ in range(2):
            window.locator(f"#table th[data-name={name}] button").click()
            values = numbers(window, name)
            down = window.locator(f"#table th[data-name={name}]").get_attribute("aria-sort") == "descending"
            assert len(values) == 50
            assert values == sorted(values, reverse=down)
            assert values != before
            before = values


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("params<20k", lambda r: r.params < 20_000),
        ("accuracy>=40% params<=100k", lambda r: (r.accuracy or 0) >= 0.4 and r.params <= 100_000),
        ("latency<1 seconds>=8.5s", lambda r: (r.latency_s or 1) < 0.001 and r.seconds >= 8.5),
        ("params < 100,000", lambda r: r.params < 100_000),
        ("state=failed", lambda r: r.state == "failed"),
        ("kernels 3-5-5", lambda r: r.kernels == "3-5-5"),
        ("no such thing", lambda r: False),
    ],
)
def test_trials_are_filtered(open_page: Open, thousand: str, asked: str, known: Any) -> None:
    window = open_page(thousand)
    window.fill("#filter", asked)
    n = sum(map(known, many(1_000)))
    shown = window.locator("#shown").inner_text()
    assert shown.startswith(f"{n} of 1,000 trials")
    assert ("Filter:" in shown) == (not n)


@pytest.mark.parametrize(
    ("asked", "said", "n"),
    [
        ("size<100k params<100k", "“size” is no column; there are parameters, trial,", None),
        ("params<few", "“few” in “params<few” is no number.", 1_000),
        ("5-5-5 fussy", "no trial has “fussy” in its text.", 0),
    ],
)
def test_the_filter_says_which_word_it_does_not_know(
    open_page: Open, thousand: str, asked: str, said: str, n: int | None
) -> None:
    window = open_page(thousand)
    window.fill("#filter", asked)
    shown = window.locator("#shown").inner_text()
    n = sum(r.params < 100_000 for r in many(1_000)) if n is None else n
    assert shown.startswith(f"{n:,} of 1,000 trials")
    assert said in shown


def test_the_front_alone_can_be_shown_and_more_on_demand(open_page: Open, thousand: str) -> None:
    window = open_page(thousand)
    window.click("#more")
    assert window.locator("#table tbody tr").count() == 200
    window.select_option("#state", "pareto")
    front = window.locator("#table td.of-accuracy").all_inner_texts()
    assert 2 < len(front) < 50
    assert set(window.locator("#table td.of-state").all_inner_texts()) == {"complete"}
    assert not window.locator("#more").is_visible()


def test_what_is_shown_is_downloaded_as_the_table_it_is(open_page: Open, thousand: str, tmp_path: Path) -> None:
    window = open_page(thousand)
    window.select_option("#state", "failed")
    with window.expect_download() as download:
        window.click("#download")
    download.value.save_as(tmp_path / "some.csv")
    with (tmp_path / "some.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    failed = {r.number: r for r in many(1_000) if r.state == "failed"}
    assert tuple(rows[0]) == COLUMNS
    assert {int(row["number"]) for row in rows} == set(failed)
    for row in rows:
        known = failed[int(row["number"])]
        assert (int(row["params"]), row["spec"], row["reason"]) == (known.params, known.spec, known.reason)


def test_of_ten_thousand_trials_only_the_shown_rows_are_made(open_page: Open, tmp_path: Path) -> None:
    window = open_page(made(tmp_path, many(10_000)))
    rows_made = """(() => {
        const create = document.createElement.bind(document);
        let n = 0;
        document.createElement = (tag) => { n += tag === "tr"; return create(tag); };
        document.querySelector("#table th[data-name=params] button").click();
        document.createElement = create;
        return n;
    })()"""
    assert window.evaluate(rows_made) == window.locator("#table tbody tr").count() == 50
    assert numbers(window, "params") == sorted((r.params for r in many(10_000)), reverse=True)[:50]
    window.fill("#filter", "params>100k 5-5-5")
    n = sum(r.params > 100_000 and r.kernels == "5-5-5" for r in many(10_000))
    assert f"{n:,} of 10,000 trials" in window.locator("#shown").inner_text()


def test_studies_are_compared_on_the_same_axes(open_page: Open, tmp_path: Path) -> None:
    for name, records in ("a", many(60, study="first")), ("b", many(90, study=f"second {EVIL}")):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name / "trials.csv", records)
    write_page(read_studies([tmp_path / "a", tmp_path / "b"]), tmp_path / "both.html")
    window = open_page((tmp_path / "both.html").as_uri())
    scroll_through(window)
    legend = window.locator("#tradeoff .legendtext").all_text_contents()
    assert "first" in legend
    assert any(EVIL in text for text in legend)
    window.fill("#filter", "first")
    assert "60 of 150 trials" in window.locator("#shown").inner_text()


def test_the_table_of_several_studies_needs_no_scrolling_on_a_usual_screen(open_page: Open, tmp_path: Path) -> None:
    studies = [RESULTS / name for name in ("cifar10-150k-bayes", "laptop-5m")]
    write_page(read_studies(studies), tmp_path / "both.html")
    window = open_page((tmp_path / "both.html").as_uri(), width=1400)
    scroll_through(window)
    room = window.evaluate("document.querySelector('#table').parentElement.clientWidth")
    assert window.evaluate("document.querySelector('#table').scrollWidth") <= room
    title = window.locator("#tradeoff .ytitle").text_content()
    assert title == "accuracy on validation images, trained at different widths"


@pytest.mark.parametrize(
    "records",
    [
        many(40, data="cifar10"),
        many(40, data="cifar10", study="a_long_name_of_a_study_" * 4),
        [record(curve="0.5", epochs=1, max_epochs=1)],
    ],
    ids=["demo", "long", "one trial"],
)
def test_nothing_is_wider_than_a_phone(open_page: Open, tmp_path: Path, records: list[Any]) -> None:
    window = open_page(made(tmp_path, records), width=390)
    scroll_through(window)
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    assert window.locator("#tradeoff .main-svg").first.bounding_box()["width"] <= 390


def test_all_figures_are_on_paper_in_light_colours(open_page: Open, tmp_path: Path) -> None:
    window = open_page(made(tmp_path, many(40)), "dark")
    window.emulate_media(media="print")
    window.evaluate("dispatchEvent(new Event('beforeprint'))")
    window.wait_for_function("[...document.querySelectorAll('.figure')].every((p) => p.querySelector('.main-svg'))")
    assert window.evaluate("getComputedStyle(document.querySelector('#tradeoff .xtitle')).fill") == "rgb(51, 65, 85)"
    window.evaluate("dispatchEvent(new Event('afterprint'))")
    window.wait_for_function("document.querySelector('#tradeoff .main-svg').getBoundingClientRect().width > 900")


@pytest.mark.parametrize("width", [1280, 390])
def test_sections_are_reached_by_keyboard(open_page: Open, tmp_path: Path, width: int) -> None:
    window = open_page(f"{made(tmp_path, many(60))}#axis=macs", width=width)
    phone = width < 600
    assert window.locator(".sections li").first.is_visible() != phone
    if phone:
        window.keyboard.press("Tab")
        window.keyboard.press("Enter")  # opens the menu
        window.keyboard.press("Escape")
        assert not window.locator(".sections li").first.is_visible()
        window.keyboard.press("Enter")
    titles = window.locator("section h2").all_inner_texts()
    assert window.locator(".sections a").all_inner_texts() == ["Summary", *titles]
    for _ in range(titles.index("Learning curves") + 2):
        window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.textContent") == "Learning curves"
    window.keyboard.press("Enter")
    near_top = "(() => { const y = document.getElementById('to-learning-curves').getBoundingClientRect().y;"
    window.wait_for_function(f"{near_top} return 0 <= y && y < 120; }})()")
    assert window.evaluate("document.activeElement.id") == "to-learning-curves"
    window.wait_for_function("document.querySelector('.sections [aria-current]').textContent === 'Learning curves'")
    assert "axis=macs" in window.evaluate("location.hash")  # what is looked at is still in the address
    assert window.locator(".sections li").first.is_visible() != phone


def test_figures_are_saved_under_the_names_of_study_and_figure(open_page: Open, tmp_path: Path) -> None:
    window = open_page(made(tmp_path, many(60, study="My study <1>")), "dark")
    window.select_option("#axis", "macs")
    scroll_through(window)
    names = set()
    for button in window.locator(".png").all():
        with window.expect_download() as download:
            button.click()
        names.add(download.value.suggested_filename)
        download.value.save_as(tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as image:
            assert image.getpixel((1, 1))[:3] == (255, 255, 255)
            assert image.width > 500
    shown = {"tradeoff-macs", "trial-curve", "progress-trials", "predictions", "curves-loss", "importance", "parallel"}
    assert {f"my-study-1-{name}.png" for name in {*shown, "slice-parameters", "shares-macs", "ledger"}} <= names
    assert len(names) == window.locator(".figure").count()


def test_a_page_takes_half_of_what_plotly_takes(tmp_path: Path) -> None:
    made(tmp_path, many(60))
    assert (tmp_path / "report.html").stat().st_size < len(get_plotlyjs()) / 2


def test_a_browser_that_cannot_unpack_the_figures_says_so(browser: Any, tmp_path: Path) -> None:
    window = browser.new_page()
    window.add_init_script("delete globalThis.DecompressionStream")
    window.goto(made(tmp_path, many(20)))
    window.wait_for_selector("#tradeoff .warning")
    assert "Figures need a browser of 2023 or later" in window.locator("#tradeoff").inner_text()
    assert "20 of 20 trials" in window.locator("#shown").inner_text()
    window.close()


def test_ticks_and_titles_have_room_on_a_phone(open_page: Open, tmp_path: Path) -> None:
    pause = {"started": "2026-01-03T00:00:00+00:00", "finished": "2026-01-03T00:00:12+00:00"}
    window = open_page(made(tmp_path, [*many(60), record(60, **pause)]), width=390)
    scroll_through(window)
    assert overlapping_ticks(window) == []
    beyond = """[...document.querySelectorAll('.xtitle')].filter((one) => {
        const title = one.getBoundingClientRect(), card = one.closest('section').getBoundingClientRect();
        return title.left < card.left || title.right > card.right;
    }).map((one) => one.textContent)"""
    assert window.evaluate(beyond) == []
    legend, length = (window.locator(f"#timeline {at}").first.bounding_box() for at in (".legend", ".annotation"))
    assert legend["y"] + legend["height"] <= length["y"]


def test_bars_are_kept_on_paper_and_buttons_are_not(open_page: Open, tmp_path: Path) -> None:
    window = open_page(made(tmp_path, many(40)))
    scroll_through(window)
    window.emulate_media(media="print")
    style = "getComputedStyle(document.querySelector('{}')).{}"
    for bar in ".share .fill", ".box":
        assert window.evaluate(style.format(bar, "printColorAdjust")) == "exact"
    for button in ".png", ".sections", ".command .copy", ".filters", ".compare":
        assert not window.locator(button).first.is_visible()
    titles = window.locator("#shares-params .xtitle, #shares-macs .xtitle").all_text_contents()
    assert titles == ["share of parameters", "share of MACs"]
