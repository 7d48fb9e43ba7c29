"""Labelled lines of text no wider than eighty columns."""

from __future__ import annotations

import shlex
from textwrap import wrap

from nas_budget.cli.console.output import out, terminal_width

WIDEST = 80


def field(label: str, text: str, indent: int = 9) -> None:
    """Print a text behind its label, or behind as much space where there is none, on as many lines as it needs."""
    width = max(indent + 20, min(WIDEST, terminal_width()))
    lines = wrap(text, width - indent, break_long_words=False, break_on_hyphens=False) or [""]
    for place, line in enumerate(lines):
        out(f"{label if place == 0 else '':<{indent}}{line}".rstrip())


def commands(lines: list[str], indent: int = 9) -> None:
    """Print commands to go on with; a long one goes on behind a backslash, so that it can be copied as it is."""
    width = max(indent + 20, min(WIDEST, terminal_width())) - indent
    for place, line in enumerate(lines):
        parts = _broken(line.split(" --"), width)
        for part, text in enumerate(parts):
            label = "next" if place == part == 0 else ""
            out(f"{label:<{indent}}{'  ' if part else ''}{text}")


def command(*words: object) -> str:
    """A `nas-budget` command, quoted as a shell needs it."""
    return shlex.join(["nas-budget", *map(str, words)])


def _broken(options: list[str], width: int) -> list[str]:
    """A command and its options in lines of this width, each but the last ending in a backslash."""
    lines = [options[0]]
    for option in options[1:]:
        if len(lines[-1]) + len(option) + 7 > width:
            lines[-1] += " \\"
            lines.append(f"--{option}")
        else:
            lines[-1] += f" --{option}"
    return lines
