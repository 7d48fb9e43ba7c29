"""How commands print: data to stdout, talk to stderr, colour only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def say(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def out(text: str) -> None:
    """A line of data, on stdout."""
    print(text, flush=True)  # noqa: T201


def out_json(values: Any) -> None:
    """Data as JSON, on stdout."""
    out(json.dumps(values, indent=2))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,), total: bool = False
) -> Table:
    """A plain table; columns are right-aligned but for those in `left`; with `total` the last row is ruled off."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place in left else "right", no_wrap=True)
    rows = list(rows)
    for place, row in enumerate(rows):
        made.add_row(*map(Text, row), end_section=total and place == len(rows) - 2)
    return made


def show(table_: Table) -> None:
    """A table on stdout, as wide as it needs when stdout is not a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    with console.capture() as captured:
        console.print(table_)
    out("\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()))


def verdict_line(verdict: bool, text: str) -> None:
    """The verdict on stdout, green or red on a terminal."""
    Console(highlight=False, soft_wrap=True).print(Text(text, style="bold green" if verdict else "bold red"))
