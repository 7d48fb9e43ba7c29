"""The page of a run: from its folder alone, complete, and safe whatever the folder says."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import ModelError
from nas_budget.report.run_figures import (
    accuracy_figure,
    architecture_figure,
    confusion_figure,
    loss_figure,
    rate_figure,
    rounded,
)
from nas_budget.report.run_page import confusions, is_reference, paper_curves, run_page, write_run_page
from nas_budget.run_record import METRICS, EpochRow, RunResult, SeedResult, write_result
from tests.report.test_page import CHROMIUM, FLAGS, words
from tests.report.trials import EVIL

SPEC = ResNetSpec((8, 12), blocks=(1, 3), classes=3, pool="global", image_size=16)
REFERENCE = ResNetSpec((32, 64, 96, 128, 185), dropout=0.2)
SEEDS = (
    SeedResult(4, 0.71, 0.72, 0.73, 0.74, 0.75, 1.25, 61.0, 0.0, "digest-of-four"),
    SeedResult(5, 0.75, 0.76, 0.77, 0.78, 0.79, 1.35, 62.0, 30.0, "digest-of-five"),
)
RECIPE = {"name": "own", "optimizer": "muon", "weight_decay": 0.0003, "epochs": 3, "trivial_augment": True}
CONFUSION = ((7, 2, 1), (0, 12, 8), (0, 0, 20))


def result(network: ResNetSpec = SPEC, **changes: Any) -> RunResult:
    """A run of one seed, or one with some fields changed."""
    fields: dict[str, Any] = {
        "name": "mine", "spec": network.to_dict(), "params": cost(network).params, "macs": cost(network).macs,
        "recipe": RECIPE, "data": "animals", "data_digest": "d4ta", "images": 4_000, "held_out": 1_234,
        "test_images": 50, "classes": ("cat", "dog", "emu"), "device": "a machine", "precision": "fp32",
        "deterministic": True, "batches": 1, "versions": "torch 2.13.0", "finished": "2026-05-04T03:02:01+00:00",
        "seeds": SEEDS[:1], "confusion": CONFUSION,
        "mistakes": ({"index": 31, "truth": 1, "told": 2, "probability": 0.9876},),
    }  # fmt: skip
    return RunResult(**fields | changes)


def epochs(n: int = 3, seeds: Sequence[int] = (4,), **changes: Any) -> list[EpochRow]:
    """Rows whose loss is seed + 1 / epoch and whose accuracy is 1 - 0.1 * seed - 1 / (epoch + 1)."""
    return [
        replace(
            EpochRow(seed, i, seed + 1 / i, 1 - 0.1 * seed - 1 / (i + 1), 0.5, None, 0.1 * (1 - i / (n + 1)), 2.0),
            **changes,
        )
        for seed in seeds
        for i in range(1, n + 1)
    ]


def of_many_classes(n: int) -> RunResult:
    confusion = tuple(tuple(90 if i == j else int((i + j) % 7 == 0) for j in range(n)) for i in range(n))
    return result(replace(SPEC, classes=n), classes=tuple(f"kind {i}" for i in range(n)), confusion=confusion)


def write(folder: Path, run: RunResult, rows: Sequence[EpochRow]) -> Path:
    """A run folder, as training leaves it, with its page."""
    folder.mkdir(exist_ok=True)
    write_result(folder, run)
    (folder / METRICS).write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    return write_run_page(folder)


def test_the_headline_is_the_accuracy_on_test_images() -> None:
    html = run_page(result(), epochs())
    assert f"<b>72.00%</b> on 50 test images with {cost(SPEC).params:,} parameters" in html
    seen = words(html)
    for part in (
        "One seed, of one forward pass",
        f"Network: {SPEC}; {cost(SPEC).macs:,} MACs. Recipe: own, 3 epochs, 1 min 1 s of training.",
        "With mirror images 73.00%",
        "With averaged weights 74.00%",
        "With both 75.00%",
        "On held-out images 71.00%",
    ):
        assert part in seen


def test_several_seeds_have_a_mean_and_a_deviation() -> None:
    html = run_page(result(seeds=SEEDS), epochs(seeds=(4, 5)))
    assert "<b>74.00% ± 2.83%</b>" in html
    seen = words(html)
    assert "Mean and standard deviation of 2 seeds" in seen
    assert "2 min 3 s of training in all" in seen
    assert "With both 77.00% ± 2.83%" in seen
    assert "5 76.00% 77.00% 78.00% 79.00% 75.00% 1.3500 1 min 2 s digest-of-five" in seen
    assert "Repeated after interruptions 30 s" in seen


def test_what_was_not_measured_is_not_shown() -> None:
    bare = replace(SEEDS[0], held_out=None, averaged=None, averaged_flipped=None)
    html = run_page(result(seeds=(bare,), held_out=0), epochs(accuracy=None, held_out_loss=None))
    seen = words(html)
    assert "With mirror images 73.00%" in seen
    assert "averaged weights" not in seen
    assert "No image was held out: the network was trained on all 4,000" in seen
    assert 'id="accuracy"' not in html
    assert 'id="loss"' in html


def test_how_it_was_trained_is_told() -> None:
    seen = words(run_page(result(batches=2), epochs()))
    for part in (
        "Device a machine",
        "Precision fp32",
        "Deterministic algorithms only yes",
        "Versions torch 2.13.0",
        "animals: 4,000 images trained on, 1,234 held out, 50 to test",
        "2 parts, as memory did not suffice",
        "Weight decay 0.0003",
        "Trivial augment yes",
        "digest-of-four",
        "31 dog emu 98.76%",
    ):
        assert part in seen


def test_the_most_frequent_confusions_come_first() -> None:
    assert confusions(result()) == [(8, "dog", "emu", 20), (2, "cat", "dog", 10), (1, "cat", "emu", 10)]
    said = "Most frequent: dog told as emu (8 of 20); cat told as dog (2 of 10); cat told as emu (1 of 10)."
    assert said in words(run_page(result(), epochs()))
    perfect = result(confusion=((5, 0, 0), (0, 5, 0), (0, 0, 0)), mistakes=())
    seen = words(run_page(perfect, epochs()))
    assert "No test image was told wrong." in seen
    assert "Most confident mistakes" not in seen


def test_the_confusion_is_per_cent_of_each_true_class() -> None:
    wrong, right = confusion_figure(result()).data
    assert [right.z[i][i] for i in range(3)] == [70, 60, 100]
    assert (wrong.z[0][1], wrong.z[0][2], wrong.z[1][2], wrong.zmax) == (20, 10, 40, 40)
    assert isnan(wrong.z[2][0])
    assert isnan(wrong.z[1][1])
    assert isnan(right.z[1][2])
    assert wrong.customdata[1][2] == "<b>dog</b> told as <b>emu</b>:<br>8 of 20"


@pytest.mark.parametrize(("n", "written"), [(3, True), (20, True), (21, False), (100, False)])
def test_cells_have_texts_where_there_is_room(n: int, written: bool) -> None:
    figure = confusion_figure(result() if n == 3 else of_many_classes(n))
    assert all((trace.texttemplate is not None) == written for trace in figure.data)
    assert len(figure.layout.xaxis.ticktext) <= 20


def test_names_are_shown_as_they_are() -> None:
    evil = (EVIL, '<b>"it"</b> & co', "x" * 200)
    run = result(classes=evil, name=EVIL, device=EVIL, recipe={**RECIPE, "name": EVIL, EVIL: EVIL}, data=EVIL)
    html = run_page(run, epochs())
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; told as &lt;b&gt;&#34;it&#34;&lt;/b&gt; &amp; co (2 of 10)" in html
    ticks = confusion_figure(run).layout.xaxis.ticktext
    assert ticks[1] == '&lt;b&gt;"it"&lt;/b&gt; &amp; co'
    assert ticks[2] == "x" * 15 + "…"


def test_each_seed_has_a_thin_line_and_their_mean_a_bold_one() -> None:
    four, five, mean = loss_figure(epochs(seeds=(4, 5))).data
    assert list(four.y) == [5, 4.5, 4 + 1 / 3]
    assert list(five.y) == [6, 5.5, 5 + 1 / 3]
    assert list(mean.y) == pytest.approx([5.5, 5, 4.5 + 1 / 3])
    assert four.line.color == five.line.color == mean.line.color
    assert four.line.width < mean.line.width
    (alone,) = loss_figure(epochs()).data
    assert list(alone.y) == list(four.y)


def test_a_loss_that_is_no_number_is_a_gap() -> None:
    rows = epochs(seeds=(4, 5))
    rows[1] = replace(rows[1], train_loss=nan)
    _, five, mean = loss_figure(rows).data
    assert isnan(mean.y[1])
    assert five.y[1] == 5.5
    assert "NaN" not in run_page(result(seeds=SEEDS), rows).rpartition('id="loss"')[2]


def test_what_is_missing_or_infinite_is_a_gap() -> None:
    rows = epochs()
    rows[1] = replace(rows[1], accuracy=None, train_loss=float("inf"))
    for draw in loss_figure, accuracy_figure:
        (line,) = draw(rows).data
        assert [isnan(value) for value in line.y] == [False, True, False]


def test_the_loss_has_a_log_axis_only_where_it_falls_far() -> None:
    assert loss_figure(epochs()).layout.yaxis.type is None
    rows = [replace(row, train_loss=3 / row.epoch**3) for row in epochs()]
    assert loss_figure(rows).layout.yaxis.type == "log"
    assert loss_figure([replace(row, train_loss=0.0) for row in rows]).layout.yaxis.type is None


def test_averaged_weights_have_a_line_of_their_own() -> None:
    last, averaged = accuracy_figure(epochs(averaged_accuracy=0.9)).data
    assert list(last.y) == pytest.approx([0.1, 0.6 - 1 / 3, 0.35])
    assert list(averaged.y) == [0.9] * 3
    assert last.line.color != averaged.line.color


def test_one_epoch_is_a_point() -> None:
    for draw in loss_figure, accuracy_figure, rate_figure:
        (trace,) = draw(epochs(1)).data
        assert trace.mode == "markers"
    assert "1 epoch, " in words(run_page(result(recipe={**RECIPE, "epochs": 1}), epochs(1)))


def test_a_seed_that_has_not_ended_is_left_out() -> None:
    html = run_page(result(), epochs(seeds=(4, 99)))
    assert html == run_page(result(), epochs())


def test_without_metrics_there_are_no_curves() -> None:
    html = run_page(result(), [])
    assert "no metrics.jsonl" in words(html)
    assert html.count("plotly.js v") == 1
    assert 'id="rate"' not in html


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"spec": replace(REFERENCE, dropout=0.0).to_dict()}, True),
        ({"spec": replace(REFERENCE, shortcut_kernel=1).to_dict()}, False),
        ({"data": "cifar100"}, False),
        ({"recipe": {**RECIPE, "name": "strong"}}, False),
    ],
)
def test_the_papers_curves_are_behind_its_own_network_alone(changes: dict[str, Any], same: bool) -> None:
    fields: dict[str, Any] = {"data": "cifar10", "recipe": {**RECIPE, "name": "paper"}, "spec": REFERENCE.to_dict()}
    names = tuple(f"kind {i}" for i in range(10))
    run = result(REFERENCE, **fields | changes, classes=names, confusion=of_many_classes(10).confusion)
    assert is_reference(run) == same
    seen = words(run_page(run, epochs()))
    assert ("The paper's own run 93.08%" in seen.replace("&#39;", "'")) == same
    assert ("with dropout and batch statistics on" in seen) == same


def test_the_papers_curves_are_its_own() -> None:
    rows = paper_curves()
    assert [row.epoch for row in rows] == [*range(1, 151)]
    assert (rows[0].train_loss, rows[0].accuracy) == (1.7466, pytest.approx(0.4318))
    assert (rows[-1].train_loss, rows[-1].accuracy) == (0.0168, pytest.approx(0.9136))
    assert rows[-1].learning_rate == pytest.approx(7.76e-7, rel=1e-3)
    behind, ours = loss_figure(epochs(), rows).data
    assert (behind.name, len(behind.x), len(ours.x)) == ("the paper", 150, 3)


def test_the_network_is_drawn_to_scale() -> None:
    figure, parts = architecture_figure(SPEC), cost(SPEC).parts
    boxes = [trace for trace in figure.data if trace.type == "bar" and trace.yaxis == "y"]
    front = boxes[-1]
    assert list(front.y) == [16, 16, 8, 1]
    assert [width / front.width[2] for width in front.width] == pytest.approx([8 / 12, 8 / 12, 1, 3 / 12])
    assert [len(box.x) for box in boxes] == [1, 1, 4]  # stage 2 has three blocks
    params, macs = (trace for trace in figure.data if trace.type == "bar" and trace.yaxis in ("y2", "y3"))
    assert [value for _, value in params.customdata] == [part.params for part in parts]
    assert list(macs.y) == pytest.approx([part.macs / cost(SPEC).macs for part in parts])
    assert f"stage 2 12 8×8 3 {parts[2].params:,}" in words(run_page(result(), epochs()))


@pytest.mark.parametrize(("number", "said"), [(65, "65"), (1_860, "1.86k"), (75_497_472, "75.5M"), (2.1e9, "2.1G")])
def test_counts_are_rounded(number: float, said: str) -> None:
    assert rounded(number) == said


def test_a_network_that_is_none_is_said() -> None:
    with pytest.raises(ModelError, match="the network of mine cannot be read"):
        run_page(replace(result(), spec={"channels": [0]}), epochs())


def test_many_epochs_stay_quick() -> None:
    rows = epochs(1_000, seeds=(4, 5))
    start = time.perf_counter()
    html = run_page(result(seeds=SEEDS), rows)
    assert time.perf_counter() - start < 20
    assert len(html) < 7e6


def test_the_page_and_the_confusions_lie_in_the_folder(tmp_path: Path) -> None:
    run = result(classes=("cat, black", "dog", "emu"))
    path = write(tmp_path, run, epochs())
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == run_page(run, epochs())
    with (tmp_path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["true class", "cat, black", "dog", "emu"]
    assert rows[1:] == [["cat, black", "7", "2", "1"], ["dog", "0", "12", "8"], ["emu", "0", "0", "20"]]
    assert write_run_page(tmp_path, tmp_path / "elsewhere.html").name == "elsewhere.html"


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"result.json: no such file"):
        write_run_page(tmp_path)
    write(tmp_path, result(), epochs())
    with pytest.raises(ModelError, match="cannot be written"):
        write_run_page(tmp_path, tmp_path / "result.json" / "report.html")


def test_nothing_is_asked_of_the_network() -> None:
    html = run_page(result(), epochs())
    assert not re.search(r"<(script|img|link|iframe)[^>]*(src|href)=[\"'](?!data:)", html)
    assert html.count("plotly.js v") == 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=120_000)
        yield opened
        opened.close()


def opened(browser: Any, path: Path, scheme: str = "light", width: int = 1280) -> tuple[Any, list[str]]:
    """The page in a new window, and a list that fills with all that goes wrong or is asked of the network."""
    window, trouble = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900}), []
    window.on("console", lambda message: trouble.append(message.text) if message.type != "log" else None)
    window.on("pageerror", lambda error: trouble.append(str(error)))
    window.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    known = (path.as_uri(), "data:")
    window.on("request", lambda asked: None if asked.url.startswith(known) else trouble.append(asked.url))
    window.goto(path.as_uri(), timeout=120_000)
    window.wait_for_selector("#confusion .hm", timeout=120_000)
    return window, trouble


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_without_an_error_or_a_request(browser: Any, tmp_path: Path, scheme: str, width: int) -> None:
    evil = result(classes=(EVIL, "b" * 90, "<img src=x onerror=alert(2)>"), name="long_name_" * 20, seeds=SEEDS)
    window, trouble = opened(browser, write(tmp_path, evil, epochs(seeds=(4, 5))), scheme, width)
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    for name in "loss", "accuracy", "rate", "architecture", "confusion":
        figure, card = (
            window.locator(at).first.bounding_box() for at in (f"#{name} .main-svg", f"section:has(#{name})")
        )
        assert card["x"] <= figure["x"]
        assert figure["x"] + figure["width"] <= card["x"] + card["width"]
        assert figure["y"] + figure["height"] <= card["y"] + card["height"]
    ink = window.evaluate("getComputedStyle(document.querySelector('#loss .xtitle')).fill")
    assert (ink == "rgb(51, 65, 85)") == (scheme == "light")
    texts = window.locator("#confusion .heatmap-label").all_text_contents()
    shown = ["70", "60", "100", "20", "10", "40"] if width == 390 else ["70.0", "60.0", "100.0", "20.0", "10.0", "40.0"]
    assert sorted(filter(None, texts)) == sorted(shown)
    assert "<script>alert(1" in window.locator("#confusion .ytick text").first.text_content()
    window.close()
    assert trouble == []


@pytest.mark.browser
def test_a_hundred_classes_and_one_epoch_can_be_looked_at(browser: Any, tmp_path: Path) -> None:
    window, trouble = opened(browser, write(tmp_path, of_many_classes(100), epochs(1)), width=390)
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    assert window.locator("#loss .scatterlayer .point").count() == 1
    window.close()
    assert trouble == []


@pytest.mark.browser
def test_pointing_at_a_cell_shows_its_count(browser: Any, tmp_path: Path) -> None:
    window, trouble = opened(browser, write(tmp_path, result(classes=("cat", EVIL, "emu")), epochs()))
    window.locator("#confusion").scroll_into_view_if_needed()
    box = window.locator("#confusion .heatmaplayer").bounding_box()
    window.mouse.move(box["x"] + box["width"] * 5 / 6, box["y"] + box["height"] / 2)
    window.wait_for_selector("#confusion .hoverlayer .hovertext", timeout=60_000)
    shown = window.locator("#confusion .hoverlayer").text_content()
    assert f"{EVIL} told as emu:" in shown
    assert "8 of 20" in shown
    window.close()
    assert trouble == []


@pytest.mark.browser
def test_on_paper_the_figures_are_light_and_fit(browser: Any, tmp_path: Path) -> None:
    window, _ = opened(browser, write(tmp_path, result(), epochs()), "dark")
    window.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert window.locator("#loss .main-svg").first.bounding_box()["width"] == 680
    assert window.evaluate("getComputedStyle(document.querySelector('#loss .xtitle')).fill") == "rgb(51, 65, 85)"
    window.evaluate("dispatchEvent(new Event('afterprint'))")
    window.wait_for_function("document.querySelector('#loss .main-svg').getBoundingClientRect().width > 900")
    assert window.evaluate("getComputedStyle(document.querySelector('#loss .xtitle')).fill") != "rgb(51, 65, 85)"
    window.close()
