"""The help of every command on a terminal of eighty columns."""

from __future__ import annotations

import inspect
import re
from functools import cache

import pytest

from nas_budget.cli.app import app
from tests.cli.processes import answer

COMMANDS = {command.callback.__name__: command for command in app.registered_commands if command.callback}
TALKING = ("count", "explore", "search", "train", "evaluate", "predict", "export", "data")
FIGURES = (*TALKING, "fit", "ls", "show", "report")


@cache
def help_of(name: str) -> str:
    return answer(*name.split(), "--help", COLUMNS="80", TERMINAL_WIDTH="80", NO_COLOR="1")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_eighty_columns_cuts_no_word_and_has_examples_of_options_there_are(name: str) -> None:
    text = help_of(name)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "<bool>" not in text
    assert "Examples:" in text
    assert f"nas-budget {name}" in text
    examples = COMMANDS[name].epilog or "" if name else ""
    for option in re.findall(r"--[\w-]+", examples):
        assert f"{option} " in text.replace(",", " "), option


def test_commands_stand_in_order() -> None:
    shown = "count fit explore search worker init ls show report dashboard doctor train evaluate predict export data"
    assert re.findall(r"^│ (\w+)  ", help_of(""), re.MULTILINE) == shown.split()


@pytest.mark.parametrize(
    ("name", "panels"),
    [
        ("", ["Options", "Budget", "Search", "Network", "Data"]),
        ("search", ["Arguments", "Budget", "Search", "Training", "Cluster", "Output"]),
        ("train", ["Arguments", "Network", "Training", "Budget", "Output"]),
        ("count", ["Arguments", "Network", "Budget", "Output"]),
        ("fit", ["Network", "Budget", "Output"]),
    ],
)
def test_many_commands_and_options_stand_in_panels(name: str, panels: list[str]) -> None:
    assert re.findall(r"─ (\w+) ─", help_of(name)) == panels


def test_what_talks_can_be_quiet_and_what_prints_figures_prints_json() -> None:
    for name in TALKING:
        assert "quiet" in inspect.signature(COMMANDS[name].callback or print).parameters, name
    for name in FIGURES:
        assert "as_json" in inspect.signature(COMMANDS[name].callback or print).parameters, name
