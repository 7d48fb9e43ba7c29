"""The studies and full trainings of a folder as a table, narrower where the terminal is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nas_budget.arch.budget import WORDS
from nas_budget.arch.latency import milliseconds
from nas_budget.cli.console.output import show, table
from nas_budget.records.formatting import ago_in_words, factor_in_words, in_short, percent
from nas_budget.records.run_folder import STUDY, Entry

GAP = 3
"""Columns between those of a table."""
N_STEPS = 9
"""Steps in which columns give way."""
SHORT = (24, 12)
"""Columns that a name keeps at least: while columns can still be dropped, and at last."""


@dataclass(frozen=True)
class _Column:
    """A column, and what it holds; `dropped` and `shortened` say when it gives way (first of all: 1)."""

    title: str
    cell: Callable[[Entry], str]
    left: bool = False
    dropped: int = 99
    short: Callable[[Entry], str] | None = None
    shortened: int = 99


def print_entries(found: Sequence[Entry], now: float, width: int) -> None:
    """Print the table; a narrow terminal gets fewer and shorter columns, then shorter names."""
    layouts = [_layout(found, now, width, step) for step in range(N_STEPS)]
    name = max(len(text) for text in ("name", *(entry.name for entry in found)))
    whole = [layout for layout in layouts[:4] if layout.left >= name]
    usable = [layout for step, layout in enumerate(layouts) if layout.left >= min(name, SHORT[step >= 6])]
    chosen = (whole or usable or layouts[-1:])[0]
    rows = [[middle(row[0], max(SHORT[True], chosen.left)), *row[1:]] for row in chosen.cells]
    left = [place for place, column in enumerate(chosen.columns) if column.left]
    show(table([column.title for column in chosen.columns], rows, left))


class _Layout(NamedTuple):
    """Columns and their cells, and what is left for names."""

    columns: Sequence[_Column]
    cells: list[list[str]]
    left: int


def _layout(found: Sequence[Entry], now: float, width: int, step: int) -> _Layout:
    """The table after so many steps of giving way."""
    columns = [column for column in _columns(now) if column.dropped > step]
    cells = [[(c.short if c.short and c.shortened <= step else c.cell)(e) for c in columns] for e in found]
    widths = [max(len(c.title), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]
    return _Layout(columns, cells, width - sum(widths[1:]) - GAP * (len(columns) - 1))


def _columns(now: float) -> tuple[_Column, ...]:
    return (
        _Column("name", lambda e: e.name, left=True),
        _Column("kind", lambda e: e.kind, left=True, dropped=2),
        _Column("done", _done, left=True, short=partial(_done, short=True), shortened=1),
        _Column("accuracy", _accuracy),
        _Column("params", lambda e: "" if e.params is None else f"{e.params:,}", dropped=8,
                short=lambda e: in_short(e.params) if e.params else "", shortened=3),
        _Column("budget", lambda e: ", ".join(_limits(e)), dropped=6,
                short=lambda e: ", ".join(_limits(e)[:1]), shortened=1),  # that of parameters, if it is set
        _Column("data", lambda e: Path(e.data).name, left=True, dropped=5),
        _Column("changed", lambda e: ago_in_words(now - e.changed), dropped=7),
    )  # fmt: skip


def middle(text: str, width: int) -> str:
    """A text of at most `width` characters, its middle left out where it is longer."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def _accuracy(entry: Entry) -> str:
    """The accuracy, and at which share of the width where it is a proxy's."""
    if entry.accuracy is None:
        return ""
    return percent(entry.accuracy, entry.images) + (f" at {factor_in_words(entry.proxy)}" if entry.proxy < 1 else "")


def _done(entry: Entry, short: bool = False) -> str:
    if entry.problem:
        return "damaged"
    if entry.kind == STUDY and short:
        return _plural(entry.trials["complete"] + entry.trials["pruned"], "trial")
    if entry.kind == STUDY:
        return ", ".join(f"{n} {state}" for state, n in entry.trials.items() if n) or "no trials yet"
    if entry.epoch is None:
        return _plural(entry.seeds or 0, "seed")
    return f"epoch {entry.epoch}/{entry.epochs}"


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _limits(entry: Entry) -> list[str]:
    limits = {name: limit for name, limit in entry.budget.items() if name in WORDS}
    words = {**WORDS, "latency_ns": "ms"}
    return [f"{_short(name, limit)}{'' if name == 'params' else ' ' + words[name]}" for name, limit in limits.items()]


def _short(name: str, limit: int) -> str:
    return milliseconds(limit) if name == "latency_ns" else in_short(limit)


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry, for a program."""
    changed = datetime.fromtimestamp(entry.changed, UTC).isoformat(timespec="seconds")
    ago = ago_in_words(time.time() - entry.changed)
    return asdict(entry) | {"path": str(entry.path), "changed": changed, "ago": ago}
