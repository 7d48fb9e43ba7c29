"""How a study got on, and what its model believed: the figures say what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.report.figures.predictions import predicted_trials, predictions_figure
from nas_budget.report.figures.progress import progress_figure
from tests.report.trials import record, table_of

HOUR = 3_600.0
FIRST, LAST = "2026-01-01T01:00:00+00:00", "2026-01-01T02:00:00+00:00"
TRIALS = [
    record(0, accuracy=0.6, seconds=2 * HOUR, finished=LAST),
    record(1, accuracy=0.5, seconds=HOUR, repeated_seconds=HOUR, finished=FIRST),
    record(2, state="pruned", accuracy=0.9, seconds=HOUR, finished=FIRST),
    record(3, state="failed", accuracy=0.9, seconds=HOUR, finished=FIRST),
    record(4, accuracy=0.4, seconds=HOUR, finished=LAST),
]


@pytest.mark.parametrize(("over", "places"), [("trials", [1, 3, 4]), ("time", [2, 6, 7])])
def test_the_best_so_far_rises_in_the_order_in_which_trials_ended(tmp_path: Path, over: str, places: list[int]) -> None:
    dots, line = progress_figure(table_of(tmp_path, TRIALS), over).data
    assert (list(dots.customdata), list(dots.y)) == ([1, 0, 4], [0.5, 0.6, 0.4])
    assert list(dots.x) == places
    assert list(zip(line.x, line.y, strict=True)) == [*zip(places, (0.5, 0.6, 0.6), strict=True), (places[-1], 0.6)]


def test_each_study_has_a_line_that_begins_with_its_own_first_trial(tmp_path: Path) -> None:
    table = table_of(tmp_path, [record(n, study=study, accuracy=a) for n, study, a in ((0, "a", 0.5), (1, "b", 0.4))])
    lines = [trace for trace in progress_figure(table).data if trace.mode == "lines"]
    assert [(line.name, line.x[0], line.y[0]) for line in lines] == [("a", 1, 0.5), ("b", 1, 0.4)]


def test_predictions_stand_beside_what_came_out(tmp_path: Path) -> None:
    known = {"predicted": 0.5, "predicted_deviation": 0.01}
    table = table_of(
        tmp_path,
        [
            record(0, accuracy=0.519, **known),
            record(1, accuracy=0.521, **known),
            record(2, predicted=None, predicted_deviation=None),
            record(3, state="pruned", **known),
        ],
    )
    assert list(predicted_trials(table)["inside"]) == [True, False]
    _, trials = predictions_figure(table).data
    assert list(zip(trials.x, trials.y, trials.customdata, strict=True)) == [(0.5, 0.519, 0), (0.5, 0.521, 1)]
    assert list(trials.error_x.array) == pytest.approx([1.96 * 0.01] * 2, rel=1e-3)
    assert trials.text[0] == "trial 0: 51.9%<br>predicted 50.0% ± 2.0%"
