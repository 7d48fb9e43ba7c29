"""The figures of a run: what they show of its numbers."""

from __future__ import annotations

import colorsys
import re
from dataclasses import replace
from math import isnan, nan

import pytest

from nas_budget.arch.cost import cost
from nas_budget.report.assets import asset
from nas_budget.report.figures.style import COLOURS, DARK
from nas_budget.report.figures.training_run import (
    accuracy_figure,
    architecture_figure,
    confusion_figure,
    loss_figure,
    rate_figure,
)
from nas_budget.report.pages.training_run import run_page
from tests.report.browsing import words
from tests.report.runs import RECIPE, SPEC, as_paper, epochs, of_many_classes, result


def test_the_confusion_is_per_cent_of_each_true_class() -> None:
    wrong, right = confusion_figure(result()).data
    assert [right.z[i][i] for i in range(3)] == [70, 60, 100]
    assert (wrong.z[0][1], wrong.z[0][2], wrong.z[1][2], wrong.zmax) == (20, 10, 40, 40)
    assert isnan(wrong.z[2][0])
    assert isnan(wrong.z[1][1])
    assert isnan(right.z[1][2])
    assert wrong.customdata[1][2] == "<b>dog</b> predicted as <b>emu</b>:<br>8 of 20"


@pytest.mark.parametrize(("n", "written"), [(3, True), (20, True), (21, False), (100, False)])
def test_cells_have_texts_where_there_is_room(n: int, written: bool) -> None:
    figure = confusion_figure(result() if n == 3 else of_many_classes(n))
    assert all((trace.texttemplate is not None) == written for trace in figure.data)
    assert len(figure.layout.xaxis.ticktext) <= 20


def test_each_seed_has_a_thin_line_and_their_mean_a_bold_one() -> None:
    four, five, mean = loss_figure(epochs(seeds=(4, 5))).data
    assert list(four.y) == [5, 4.5, 4 + 1 / 3]
    assert list(five.y) == [6, 5.5, 5 + 1 / 3]
    assert list(mean.y) == pytest.approx([5.5, 5, 4.5 + 1 / 3])
    assert four.line.color == five.line.color == mean.line.color
    assert four.line.width < mean.line.width
    (alone,) = loss_figure(epochs()).data
    assert list(alone.y) == list(four.y)


def test_what_is_missing_or_no_number_is_a_gap() -> None:
    rows = epochs(seeds=(4, 5))
    rows[1] = replace(rows[1], accuracy=None, train_loss=nan)
    _, five, mean = loss_figure(rows).data
    assert isnan(mean.y[1])
    assert five.y[1] == 5.5
    rows = [rows[0], replace(rows[1], train_loss=float("inf")), rows[2]]
    for draw in loss_figure, accuracy_figure:
        (line,) = draw(rows).data
        assert [isnan(value) for value in line.y] == [False, True, False]


def test_the_loss_has_a_log_axis_only_where_it_falls_far() -> None:
    assert loss_figure(epochs()).layout.yaxis.type is None
    rows = [replace(row, train_loss=3 / row.epoch**3) for row in epochs()]
    assert loss_figure(rows).layout.yaxis.type == "log"
    assert loss_figure([replace(row, train_loss=0.0) for row in rows]).layout.yaxis.type is None


def test_ema_weights_have_a_line_of_their_own() -> None:
    last, ema = accuracy_figure(epochs(ema_accuracy=0.9)).data
    assert list(last.y) == pytest.approx([0.1, 0.6 - 1 / 3, 0.35])
    assert list(ema.y) == [0.9] * 3
    assert last.line.color != ema.line.color


def test_one_epoch_is_a_point() -> None:
    for draw in loss_figure, accuracy_figure, rate_figure:
        (trace,) = draw(epochs(1)).data
        assert trace.mode == "markers"
    assert "1 epoch, " in words(run_page(result(recipe={**RECIPE, "epochs": 1}), epochs(1)))


HUES = {"green": (90, 165), "blue": (205, 250), "orange": (15, 40)}
"""Of the colours that texts name, in degrees."""


def test_colours_that_a_page_names_are_those_that_are_drawn() -> None:
    said = words(run_page(as_paper(), epochs()))
    assert {*re.findall(rf"\bin ({'|'.join(HUES)})\b", said, re.IGNORECASE)} == {*HUES}
    assert "In green the reference paper's own run" in said
    assert "right in blue, mistakes in orange" in said
    paper = loss_figure(epochs(), epochs()).data[0]
    wrong, right = confusion_figure(result()).data
    drawn = {"green": paper.line.color, "blue": right.colorscale[-1][1], "orange": wrong.colorscale[-1][1]}
    for name, light in drawn.items():
        for colour in light, DARK[light]:
            red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
            low, high = HUES[name]
            assert low <= 360 * colorsys.rgb_to_hsv(red, green, blue)[0] <= high, (name, colour)


def test_parameters_and_macs_have_a_colour_each_wherever_they_stand() -> None:
    params, macs = (trace for trace in architecture_figure(SPEC).data if trace.type == "bar" and trace.yaxis != "y")
    light = {name: COLOURS[name][0] for name in ("accent", "macs")}
    assert [params.marker.color, macs.marker.color] == [*light.values()]
    style = asset("style.css")
    assert re.search(r"\.share \.fill \{[^}]*var\(--accent\)", style)
    assert re.search(r"\.share \.fill\.macs \{[^}]*var\(--macs\)", style)
    titles = [note.text for note in architecture_figure(SPEC).layout.annotations]
    assert titles == ["<b>maps, to scale</b>", "<b>parameters</b>", "<b>MACs of one image</b>"]


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


def test_the_first_epochs_of_a_long_run_do_not_take_the_height() -> None:
    rows = [replace(row, accuracy=0.1 if row.epoch <= 10 else 0.9) for row in epochs(100)]
    assert accuracy_figure(rows).layout.yaxis.range[0] > 0.8
    assert accuracy_figure(epochs(3)).layout.yaxis.range[0] < 0.1
