"""How commands print: data to stdout, messages to stderr, color only on a terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from textwrap import wrap
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_budget.errors import NoReaderError, StorageError
from nas_budget.untrusted import printable

LABEL = re.compile(r"(?:\S+ {2,}| +)?")
"""A label with the space behind it, or the space that stands for one."""
ENDLESS = 10_000
"""Columns of what is no terminal."""
WIDEST = 80
"""Columns that labelled lines take at most."""


class Messages:
    """A stream for messages that nobody has to read: where it is closed, as a terminal or `tee` may be, they are lost.

    A search that trains for nights does not end by that.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        try:
            return self.stream.write(text)
        except OSError:
            mute(self.stream.fileno())
            return len(text)

    def flush(self) -> None:
        """Hand on what was written, or lose it."""
        try:
            self.stream.flush()
        except OSError:
            mute(self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self.stream, name)


def mute(stream: int) -> None:
    """Have what goes to a stream, by its number, go nowhere, also what waits to be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    os.close(nowhere)


def log(text: str) -> None:
    """Print a message on stderr; a long line is broken between words if that is a terminal."""
    text = printable(text)
    if sys.stderr.isatty():
        text = folded(text, Console(stderr=True).width)
    print(text, file=Messages(sys.stderr), flush=True)


def folded(text: str, width: int) -> str:
    """A text with long lines broken at spaces; what follows a break stands below the line's first word."""
    lines = []
    for line in text.split("\n"):
        label = LABEL.match(line)
        indent = " " * (label.end() if label else 0)
        lines += wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(lines)


def logger(quiet: bool) -> Callable[[str], None]:
    """What prints the messages of a command: `log`, or nothing when it is to be quiet."""
    return (lambda _: None) if quiet else log


def out(text: str) -> None:
    """A line of data, on stdout.

    Raises:
        NoReaderError: Whoever reads it has ended.
        StorageError: It cannot be written, such as to a file on a full disk.
    """
    with _on_stdout():
        print(printable(text), flush=True)  # noqa: T201


@contextmanager
def _on_stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mute(sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise NoReaderError from None
        raise StorageError(f"the output cannot be written ({error.strerror or error})") from None


def out_json(values: Any) -> None:
    """Data as JSON, on stdout."""
    out(json.dumps(_finite(values), indent=2, allow_nan=False))


def _finite(values: Any) -> Any:
    """Values with None for numbers that JSON has no word for, such as the loss of a training that diverged."""
    if isinstance(values, float):
        return values if isfinite(values) else None
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    return [*map(_finite, values)] if isinstance(values, list | tuple) else values


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,), total: bool = False
) -> Table:
    """A plain table.

    Args:
        columns: Their titles.
        rows: Their cells.
        left: Places of the columns that are aligned left; a last one is wrapped where the terminal is too narrow.
        total: Whether the last row is ruled off.
    """
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        wraps = place in left and place == len(columns) - 1
        made.add_column(column, justify="left" if place in left else "right", no_wrap=not wraps, overflow="fold")
    rows = list(rows)
    for place, row in enumerate(rows):
        made.add_row(*(Text(printable(cell)) for cell in row), end_section=total and place == len(rows) - 2)
    return made


def show(drawn: Table | Text) -> None:
    """Print a table on stdout, as wide as it needs where that is no terminal, or a line in color."""
    console = Console(highlight=False, width=terminal_width())
    with _on_stdout():
        with console.capture() as captured:
            console.print(drawn, soft_wrap=isinstance(drawn, Text))
        print("\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()), flush=True)  # noqa: T201


def terminal_width() -> int:
    """Columns of the terminal; a large number where stdout is no terminal."""
    console = Console()
    return console.width if console.is_terminal else ENDLESS


def writes(characters: str) -> bool:
    """Whether stdout can write these characters."""
    try:
        characters.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def verdict_line(verdict: bool, text: str) -> None:
    """Print a verdict on stdout, green or red on a terminal."""
    show(Text(printable(text), style="bold green" if verdict else "bold red"))


def field(label: str, text: str, indent: int = 9) -> None:
    """Print a text behind its label, or behind as much space where there is none, on as many lines as it needs."""
    lines = wrap(text, line_width(indent), break_long_words=False, break_on_hyphens=False) or [""]
    for place, line in enumerate(lines):
        out(f"{label if place == 0 else '':<{indent}}{line}".rstrip())


def line_width(indent: int = 0) -> int:
    """Columns of a labelled line behind its label."""
    return max(20, min(WIDEST, terminal_width()) - indent)


def commands(lines: list[str], indent: int = 9) -> None:
    """Print commands to run next; a long one is broken with backslashes, so that it can be copied."""
    label = "next"
    for line in lines:
        text, *options = line.split(" --")
        for option in options:
            if len(text.lstrip()) + len(option) + 7 > line_width(indent):
                out(f"{label:<{indent}}{text} \\")
                label, text = "", f"  --{option}"
            else:
                text += f" --{option}"
        out(f"{label:<{indent}}{text}")
        label = ""


def images_in_words(data: str, images: int, validation_images: int) -> str:
    """The images of a training and how they are split."""
    return f"{data}: {images:,} images to train, {validation_images:,} for validation"


def left_out_in_words(images: int, batch: int) -> str:
    """A note where more than a tenth of the images fill no batch and are left out of an epoch; else empty.

    Each epoch leaves out others, but it has fewer steps than its images would give.
    """
    n_left_out = images % min(batch, images)
    if 10 * n_left_out <= images:
        return ""
    fitting = next(size for size in range(batch, 0, -1) if 10 * (images % size) <= images)
    return (
        f"NOTE: each epoch leaves out {n_left_out:,} of the {images:,} images, which fill no batch of {batch}; "
        f"--set recipe.batch_size={fitting} leaves out {images % fitting or 'none'}"
    )


def command(*words: object) -> str:
    """A `nas-budget` command, quoted as a shell needs it."""
    return shlex.join(["nas-budget", *map(str, words)])


def this_command() -> str:
    """The command as it was typed, unless it may hold a password."""
    if any("://" in argument for argument in sys.argv):
        return "the same command"
    return shlex.join(["nas-budget", *sys.argv[1:]])
