"""The page of a run: from its folder alone, complete, and safe whatever the folder says."""

from __future__ import annotations

import csv
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import ModelError, StorageError
from nas_budget.report.pages.training_run import commands, figures_of_run, run_page, write_run_page
from tests.report.browsing import fetches, json_of, words
from tests.report.runs import MISTAKE, RECIPE, SEEDS, SPEC, as_paper, epochs, of_many_classes, result, write
from tests.report.trials import EVIL

ONE_SEED = f"""\
72% ± 12% on 50 test images with {cost(SPEC).params:,} parameters
One seed, of one forward pass with the last weights; ± is half of the 95 % interval that so many images leave.
Network: {SPEC}; {cost(SPEC).macs:,} MACs. Recipe: own, 3 epochs, 1 min 1 s of training.
With mirror images 73% ± 12%
With EMA weights 74% ± 12%
With both 75% ± 12%
On validation images 71.0% ± 2.5%
Most frequent: dog predicted as emu (8 of 20); cat predicted as dog (2 of 10)
dog 60% 38.7–78.1% 20 emu (40%)
31 dog emu 98.8%"""
TWO_SEEDS = """\
74% ± 12% on 50 test images
Mean of 2 seeds, between which the standard deviation is 3%, of one forward pass
2 min 3 s of training in all
With both 77% ± 11% deviation of seeds 3%
On validation images 73.0% ± 2.5% deviation of seeds 2.8%
5 76% 77% 78% 79% 75.0% 1.3500 1 min 2 s digest-of-five
Repeated after interruptions 30 s"""
TRAINING = """\
Device a machine
Precision fp32
Deterministic algorithms only yes
Versions torch 2.13.0
animals: 4,000 images trained on, 1,234 for validation, 50 to test
Micro-batches 2 for each batch, as memory did not suffice
Weight decay 0.0003
Trivial augment yes
digest-of-four"""
NO_MISTAKES = {"confusion": ((5, 0, 0), (0, 5, 0), (0, 0, 0)), "mistakes": ()}


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, ONE_SEED, "paper"),
        ({"seeds": SEEDS}, TWO_SEEDS, "One seed"),
        ({"micro_batches": 2}, TRAINING, "paper"),
        (NO_MISTAKES, "No test image was misclassified.", "Most confident mistakes"),
        ({"confusion": ((0, 0, 0),) * 3}, "No test image was misclassified.", "Class by class"),
    ],
)
def test_the_page_says(changes: dict[str, Any], said: str, unsaid: str) -> None:
    run = result(**changes)
    text = words(run_page(run, epochs(seeds=[seed.seed for seed in run.seeds])))
    assert [line for line in said.splitlines() if line not in text] == []
    assert unsaid not in text


def test_what_was_not_measured_is_not_shown() -> None:
    bare = replace(SEEDS[0], validation_accuracy=None, ema=None, ema_flipped=None)
    html = run_page(result(seeds=(bare,), validation_images=0), epochs(accuracy=None, validation_loss=None))
    seen = words(html)
    assert "With mirror images 73%" in seen
    assert "EMA weights" not in seen
    assert "No image was set aside for validation: the network was trained on all 4,000" in seen
    assert 'id="accuracy"' not in html
    assert 'id="loss"' in html


def test_a_page_of_many_epochs_is_not_much_larger_than_plotly() -> None:
    assert len(run_page(result(seeds=SEEDS), epochs(1_000, seeds=(4, 5)))) < 7e6


def test_of_many_classes_the_worst_are_open() -> None:
    html = run_page(of_many_classes(30), epochs())
    assert "The other 10 classes" in words(html)
    assert html.count('class="dot"') == 30


def test_names_are_shown_as_they_are() -> None:
    evil = (EVIL, '<b>"it"</b> & co', "x" * 200)
    run = result(classes=evil, name=EVIL, device=EVIL, recipe={**RECIPE, "name": EVIL, EVIL: EVIL}, data=EVIL)
    html = run_page(run, epochs())
    assert EVIL not in html
    wrong = "&lt;script&gt;alert(1)&lt;/script&gt; predicted as &lt;b&gt;&#34;it&#34;&lt;/b&gt; &amp; co"
    assert f"{wrong} (2 of 10)" in html
    ticks = json_of(html, "page-data")["figures"]["confusion"]["layout"]["xaxis"]["ticktext"]
    assert ticks[1] == '&lt;b&gt;"it"&lt;/b&gt; &amp; co'
    assert ticks[2] == "x" * 15 + "…"


def test_what_is_no_number_can_be_read_by_a_browser() -> None:
    rows = [replace(row, train_loss=nan) for row in epochs()]
    figures = json_of(run_page(result(), rows), "page-data")["figures"]
    assert figures["loss"]["data"][0]["y"] == [None, None, None]
    assert list(figures) == ["loss", "accuracy", "rate", "architecture", "confusion"]


def test_a_seed_that_has_not_ended_is_left_out_and_nothing_is_fetched() -> None:
    html, without = run_page(result(), epochs(seeds=(4, 99))), run_page(result(), [])
    assert html == run_page(result(), epochs())
    assert not fetches(html)
    assert html.count('id="plotly"') == without.count('id="plotly"') == 1
    assert "no metrics.jsonl" in words(without)
    assert 'id="rate"' not in without


def test_the_page_and_the_confusions_lie_in_the_folder(tmp_path: Path) -> None:
    run = result(classes=("cat, black", "dog", "emu"))
    path = write(tmp_path, run, epochs())
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == run_page(run, epochs(), tmp_path)
    with (tmp_path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["true class", "cat, black", "dog", "emu"]
    assert rows[1:] == [["cat, black", "7", "2", "1"], ["dog", "0", "12", "8"], ["emu", "0", "0", "20"]]
    assert write_run_page(tmp_path, tmp_path / "elsewhere.html").name == "elsewhere.html"


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the network of mine cannot be read"):
        run_page(replace(result(), spec={"channels": [0]}), epochs())
    with pytest.raises(ModelError, match=r"result.json: no such file"):
        write_run_page(tmp_path)
    write(tmp_path, result(), epochs())
    with pytest.raises(StorageError, match="cannot be written"):
        write_run_page(tmp_path, tmp_path / "result.json" / "report.html")


def test_mistakes_are_shown_as_images(tmp_path: Path) -> None:
    run = result(classes=("cat", EVIL, "emu"), mistakes=(MISTAKE, {**MISTAKE, "index": 7, "predicted": 0}))
    html = write(tmp_path, run, epochs()).read_text(encoding="utf-8")
    sources = re.findall(r'<img class="pixels" src="data:image/png;base64,([^"]+)" [^>]*alt="Test image \d+"', html)
    with Image.open(tmp_path / "mistakes.png") as row:
        for i, source in enumerate(sources):
            thumbnail = np.asarray(Image.open(BytesIO(b64decode(source))))
            assert np.array_equal(thumbnail, np.asarray(row)[:, 16 * i : 16 * i + 16])
    assert len(sources) == 2
    assert EVIL not in html
    assert "predicted as cat 98.8% · #7" in words(html)
    (tmp_path / "mistakes.png").write_bytes(b"no image")
    html = write_run_page(tmp_path).read_text(encoding="utf-8")
    assert "<img" not in html
    assert "98.8%" in words(html)


def test_commands_can_be_copied(tmp_path: Path) -> None:
    assert commands(Path("runs/my best"), ResNetSpec((8, 16))) == [
        "nas-budget evaluate 'runs/my best'",
        "nas-budget export 'runs/my best' --format python --format onnx",
    ]
    html = write(tmp_path / "<b>'&", result(), epochs()).read_text(encoding="utf-8")
    assert "<b>'" not in html
    assert "&lt;b&gt;" in html
    assert html.count('class="copy"') == 2
    assert 'class="copy"' not in run_page(result(), epochs())


def test_the_papers_curves_are_drawn_beside_its_own_training_alone() -> None:
    seen = words(run_page(as_paper(), epochs()))
    assert "In green the reference paper's own run." in seen
    assert "with dropout and batch statistics on" in seen
    assert "The paper's own run 93.08%" in seen
    other = as_paper(recipe={**as_paper().recipe, "epochs": 30})
    seen = words(run_page(other, epochs()))
    assert "its curves are not drawn, as the training is not the same: epochs 30, not 150." in seen
    assert "amber" not in seen


def test_the_figures_can_be_had_alone(tmp_path: Path) -> None:
    write(tmp_path, as_paper(mistakes=()), epochs())
    figures = figures_of_run(tmp_path)
    assert list(figures) == ["loss", "accuracy", "rate", "architecture", "confusion"]
    assert [trace.name for trace in figures["loss"].data] == ["the paper", "training loss"]
