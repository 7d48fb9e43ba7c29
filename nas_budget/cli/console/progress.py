"""Progress of what takes more than a moment: drawn in place on a terminal, a line per 30 seconds elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeVar, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from nas_budget.cli.console.output import Messages, log
from nas_budget.records.formatting import seconds_in_words
from nas_budget.untrusted import printable

T = TypeVar("T")

PLAIN_EVERY_S = 30.0
BAR_COLUMNS = 30

Draw = Callable[[], RenderableType]
OnShare = Callable[[float], None]
"""Takes the share that is done, 0 to 1."""


class Show(Protocol):
    """Shows how far something is."""

    def __call__(self, text: str, share: float | None = None, table: Draw | None = None, *, now: bool = False) -> None:
        """Show the state in one line, and the share that is done, 0 to 1, where it is known.

        On a terminal `table` is drawn above the line; elsewhere `now` has the line printed at once.
        """


@contextmanager
def display(quiet: bool = False, first_line_s: float = 0.0) -> Iterator[Show]:
    """Show a state that changes: on a terminal in place, until the end; elsewhere as lines, after `first_line_s`."""
    next_line = time.monotonic() + first_line_s

    def print_line(text: str, *_: object, now: bool = False, **__: object) -> None:
        nonlocal next_line
        if now or time.monotonic() >= next_line:
            next_line = time.monotonic() + PLAIN_EVERY_S
            log(text)

    if quiet:
        yield lambda *_, **__: None
    elif not sys.stderr.isatty():
        yield print_line
    else:
        with Live(console=Console(file=cast(Any, Messages(sys.stderr))), transient=True, refresh_per_second=4) as live:
            yield lambda text, share=None, table=None, **_: live.update(_drawn(text, share, table))


def _drawn(text: str, share: float | None, table: Draw | None) -> RenderableType:
    """The line with a bar before it, or a spinner where no share is known, below the table."""
    line = Table.grid(padding=(0, 1))
    mark = Spinner("dots") if share is None else ProgressBar(total=1.0, completed=share, width=BAR_COLUMNS)
    line.add_row(mark, Text(printable(text)))
    return Group(table(), line) if table else line


@contextmanager
def progress(what: str, quiet: bool = False) -> Iterator[OnShare]:
    """Show how far something is, with the time left; what is yielded takes the share that is done."""
    start = time.monotonic()
    with display(quiet, PLAIN_EVERY_S) as show:

        def on_share(share: float) -> None:
            if share > 0:
                left = seconds_in_words((time.monotonic() - start) * (1 - share) / share)
                show(f"{what}: {share:.0%} done, about {left} left", share)

        yield on_share


@contextmanager
def progress_if_any(what: str, quiet: bool = False) -> Iterator[OnShare]:
    """The same for what often has nothing to do: nothing is shown before the first share that is done."""
    with ExitStack() as shown:
        on_share: OnShare | None = None

        def begin(share: float) -> None:
            nonlocal on_share
            on_share = on_share or shown.enter_context(progress(what, quiet))
            on_share(share)

        yield begin


@contextmanager
def busy(what: str, quiet: bool = False) -> Iterator[None]:
    """Show that something is under way that takes nobody knows how long, with the time that it has taken."""
    ended, start = threading.Event(), time.monotonic()
    with display(quiet, PLAIN_EVERY_S) as show:

        def tick() -> None:
            while not ended.wait(min(1.0, PLAIN_EVERY_S)):
                show(f"{what}: {seconds_in_words(time.monotonic() - start)} so far")

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def each(items: Sequence[T], on_share: OnShare, first: float = 0.0, last: float = 1.0) -> Iterator[T]:
    """The items one by one; `on_share` gets the share of the whole after each, which rises from `first` to `last`."""
    for n, item in enumerate(items, start=1):
        yield item
        on_share(first + (last - first) * n / len(items))


def set_up_downloads(quiet: bool) -> None:
    """Have torchvision's downloads show their progress likewise; it reads these variables when it is loaded."""
    if quiet:
        os.environ.setdefault("TQDM_DISABLE", "1")
    elif not sys.stderr.isatty():
        line = "download: {percentage:.0f}% of {total_fmt}B, {remaining} left\n"
        for name, value in ("MININTERVAL", "30"), ("MAXINTERVAL", "60"), ("BAR_FORMAT", line):
            os.environ.setdefault(f"TQDM_{name}", value)
