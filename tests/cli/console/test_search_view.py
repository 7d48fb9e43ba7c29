"""A running search on the screen, from its events alone."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console.progress import display
from nas_budget.cli.console.search_view import N_SHOWN, SearchView
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.trials import EpochResult
from nas_budget.search.config.plan import TimeLeft, trial_seconds
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.workers import events
from nas_budget.train.data.dataset import Dataset
from tests.cli.console.test_output import Terminal
from tests.report.trials import by_proxies
from tests.search.config.test_plan import SMALL, SPEED, ended, settings_of

EPOCH = EpochResult(2, 1.0, 0.42, 1.0, 0.1, 1.0)


@pytest.fixture
def settings(dataset: Dataset) -> StudyConfig:
    return settings_of(dataset, search__trials=20)


class Shown:
    """A view that shows nothing, and keeps its messages."""

    def __init__(self, settings: StudyConfig, *before: Any) -> None:
        self.messages: list[str] = []
        self.lines: list[str] = []
        left = TimeLeft(settings, trial_seconds(SPEED, SMALL, settings), SPEED)
        self.view = SearchView(before, settings, left, self.show, self.messages.append)

    def show(self, text: str, share: float | None = None, table: Any = None, now: bool = False) -> None:
        assert share is not None and 0 <= share <= 1
        self.lines.append(text)

    def table(self) -> str:
        console = Console(width=100, file=io.StringIO())
        console.print(self.view.table())
        return console.file.getvalue()


def started(number: int, **changes: Any) -> events.TrialStarted:
    return replace(events.TrialStarted(number, SMALL, 1_234, resumed=False), **changes)


def test_the_time_left_is_that_of_the_fitted_model(settings: StudyConfig) -> None:
    slow, planned = ended(SMALL, settings, 2.0), trial_seconds(SPEED, SMALL, settings)
    shown = Shown(settings, slow)
    shown.view.update(events.TrialFinished(slow))
    assert shown.lines == [shown.view.status()]
    assert shown.lines[0].endswith(f"{seconds_in_words(18 * 2 * planned)} left")


def test_a_split_batch_is_noted_once_a_trial(settings: StudyConfig) -> None:
    shown = Shown(settings)
    shown.view.update(started(3))
    for n_parts in 1, 2, 2, 4:
        shown.view.update(events.TrialEpoch(3, replace(EPOCH, micro_batches=n_parts)))
    said = "NOTE: trial 3 (1,234 parameters) ran out of memory; each of its batches is now computed as {} micro-batches"
    assert shown.messages == [said.format(2), said.format(4)]


def test_steps_that_are_not_replayed_are_noted_once_for_each_reason(settings: StudyConfig) -> None:
    shown = Shown(settings)
    for trial, why in (3, "it waits"), (3, "it waits"), (4, "it waits"), (5, "other numbers"), (6, ""):
        shown.view.update(started(trial))
        shown.view.update(events.TrialEpoch(trial, replace(EPOCH, not_recorded=why)))
    said = (
        "NOTE: trial {} (1,234 parameters) launches its kernels one by one, which is slower: a step cannot be recorded"
    )
    said += " as a CUDA graph ({}); others like it are not listed"
    assert shown.messages == [said.format(3, "it waits"), said.format(5, "other numbers")]


def test_what_happens_once_is_a_message(settings: StudyConfig) -> None:
    shown = Shown(replace(settings, finalists=1, finalist_seeds=2))
    failed = replace(ended(SMALL, settings, state="failed", reason="out of memory"), number=7)
    shown.view.update(events.TrialFinished(failed))
    shown.view.update(events.FinalistFinished(0, 4, None, "no images"))
    shown.view.update(events.SearchEnded("the target is reached"))
    shown.view.update(events.WorkerLost(1, -9, 7))
    shown.view.update(events.WorkerLost(0, -9, is_replaced=False))
    assert shown.messages == [
        "trial 7 failed: out of memory",
        "a run of finalist 4 failed: no images",
        "the search ends: the target is reached",
        "worker 1 was lost: killed by signal 9 (out of memory?) in trial 7; another takes its place",
        "worker 0 was lost: killed by signal 9 (out of memory?); the others go on without it",
    ]
    assert "0/20 trials, 0 pruned, 1 failed, 1/2 runs of finalists" in shown.view.status()


def test_the_table_holds_the_last_trials_and_those_under_way(settings: StudyConfig) -> None:
    shown = Shown(settings, *(replace(ended(SMALL, settings, accuracy=0.5), number=n) for n in range(12)))
    shown.view.update(started(12, resumed=True))
    shown.view.update(started(0, finalist=True))
    shown.view.update(events.TrialEpoch(0, EPOCH, finalist=True))
    text = shown.table()
    assert "resumed" in text
    assert "final 0" in text
    assert "epoch 2, 42%" in text
    assert text.count("complete") == N_SHOWN
    for number in range(20, 30):
        shown.view.update(started(number))
    assert "and 4 more" in shown.table()


def test_a_terminal_gets_a_table_and_everything_else_lines(
    settings: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    drawn: dict[bool, str] = {}
    for stream in Terminal(), io.StringIO():
        monkeypatch.setattr(sys, "stderr", stream)
        with display() as show:
            view = SearchView([], settings, TimeLeft(settings, 1.0, SPEED), show, lambda _: None)
            view.update(started(5, spec=ResNetSpec((8, 16), 1)))
        drawn[stream.isatty()] = stream.getvalue()
    assert "8-16 x 1-1" in drawn[True]
    assert drawn[False] == f"{view.status()}\n"


def test_wider_trainings_are_counted_apart(dataset: Dataset) -> None:
    asked = settings_of(dataset, search__trials=3, search__proxy="1/8", search__ladder=[2, 1], budget__params="5M")
    lines: list[str] = []
    left = TimeLeft(asked, 1.0, ladder_s=(4.0, 16.0))
    view = SearchView((), asked, left, lambda text, *_: lines.append(text), lines.append)
    for row in by_proxies():
        view.update(events.TrialFinished(row))
    assert lines[2].startswith("3/3 trials, 0 pruned, best 45.0% at 1/8 of the width, 4,000,000 params")
    assert lines[-1].startswith("3/3 trials, 0 pruned, 3/3 wider, best 66.0% at 1/2 of the width, 3,000,000")
    assert left.seconds() == 0
    console = Console(width=100, file=io.StringIO())
    console.print(view.table())
    assert "57.0% at 1/4" in console.file.getvalue()
