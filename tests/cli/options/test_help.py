"""The help of every command on a terminal of eighty columns."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys

import pytest

from nas_budget.cli.app import app

COMMANDS = {command.callback.__name__: command for command in app.registered_commands if command.callback}
TALKING = ("count", "explore", "search", "train", "evaluate", "predict", "export", "data")
FIGURES = (*TALKING, "fit", "ls", "show", "report")


def help_of(*arguments: str, width: int = 80) -> str:
    code = "import sys; from nas_budget.cli import main; raise SystemExit(main(sys.argv[1:]))"
    environment = {**os.environ, "COLUMNS": str(width), "TERMINAL_WIDTH": str(width), "NO_COLOR": "1"}
    command = [sys.executable, "-c", code, *arguments, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, encoding="utf-8").stdout


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_eighty_columns_and_cuts_no_word(name: str) -> None:
    text = help_of(*name.split())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "<bool>" not in text
    assert "Examples:" in text
    assert f"nas-budget {name}" in text


def test_commands_stand_in_panels() -> None:
    text = help_of()
    panels = re.findall(r"─ (\w+) ─", text)
    assert panels == ["Options", "Budget", "Search", "Network", "Data"]
    shown = re.findall(r"^│ (\w+)  ", text, re.MULTILINE)
    assert shown == [
        "count",
        "fit",
        "explore",
        "search",
        "ls",
        "show",
        "report",
        "dashboard",
        "train",
        "evaluate",
        "predict",
        "export",
        "data",
    ]


@pytest.mark.parametrize(
    ("name", "panels"),
    [
        ("search", ["Budget", "Search", "Training", "Output"]),
        ("train", ["Network", "Training", "Budget", "Output"]),
        ("count", ["Network", "Budget", "Output"]),
        ("fit", ["Network", "Budget", "Output"]),
    ],
)
def test_many_options_stand_in_panels(name: str, panels: list[str]) -> None:
    assert re.findall(r"─ (\w+) ─", help_of(name)) == ["Arguments", *panels][name == "fit" :]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_name_options_there_are(name: str) -> None:
    epilog = COMMANDS[name].epilog or ""
    text = help_of(name)
    for option in re.findall(r"--[\w-]+", epilog):
        assert f"{option} " in text.replace(",", " "), option


def test_what_talks_can_be_quiet_and_what_prints_figures_prints_json() -> None:
    for name in TALKING:
        assert "quiet" in inspect.signature(COMMANDS[name].callback or print).parameters, name
    for name in FIGURES:
        assert "as_json" in inspect.signature(COMMANDS[name].callback or print).parameters, name
