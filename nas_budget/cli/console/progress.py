"""How far something has come that takes more than a moment: a bar on a terminal, a line per 30 seconds elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from nas_budget.cli.console.output import log
from nas_budget.records.formatting import seconds_in_words

T = TypeVar("T")

PLAIN_EVERY_S = 30.0

Tell = Callable[[float], None]
"""Takes the share that is done, 0 to 1."""


@contextmanager
def progress(what: str, quiet: bool = False) -> Iterator[Tell]:
    """Show how far something has come, with the time left; what is yielded is told the share that is done."""
    if quiet:
        yield _nothing
    elif sys.stderr.isatty():
        with _bar(what) as tell:
            yield tell
    else:
        yield _Lines(what).tell


@contextmanager
def busy(what: str, quiet: bool = False) -> Iterator[None]:
    """Show that something goes on of which nobody knows how long it takes, with the time it has taken."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        with _spinner(what):
            yield
    else:
        with _every_30_s(what):
            yield


def each(items: Sequence[T], tell: Tell, first: float = 0.0, last: float = 1.0) -> Iterator[T]:
    """The items one by one; after each, the share of the whole is told, which they take from `first` to `last`."""
    for n, item in enumerate(items, start=1):
        yield item
        tell(first + (last - first) * n / len(items))


def plain_downloads(quiet: bool) -> None:
    """Have torchvision's downloads say their progress as everything here does; read when its bar is loaded."""
    if quiet:
        os.environ.setdefault("TQDM_DISABLE", "1")
    elif not sys.stderr.isatty():
        line = "download: {percentage:.0f}% of {total_fmt}B, {remaining} left\n"
        for name, value in ("MININTERVAL", "30"), ("MAXINTERVAL", "60"), ("BAR_FORMAT", line):
            os.environ.setdefault(f"TQDM_{name}", value)


class _Lines:
    """A line when 30 seconds have gone by since the last, or since the beginning."""

    def __init__(self, what: str) -> None:
        self.what, self.start = what, time.monotonic()
        self.last = self.start

    def tell(self, share: float) -> None:
        now = time.monotonic()
        if now - self.last >= PLAIN_EVERY_S and share > 0:
            self.last = now
            left = seconds_in_words((now - self.start) * (1 - share) / share)
            log(f"{self.what}: {share:.0%} done, about {left} left")


@contextmanager
def _bar(what: str) -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = "{task.description}", BarColumn(), TaskProgressColumn(), TimeRemainingColumn(elapsed_when_finished=True)
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=1.0)
        yield lambda share: shown.update(task, completed=share)


@contextmanager
def _spinner(what: str) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    columns = SpinnerColumn(), "{task.description}", TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(what, total=None)
        yield


@contextmanager
def _every_30_s(what: str) -> Iterator[None]:
    ended, start = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(PLAIN_EVERY_S):
            log(f"{what}: {seconds_in_words(time.monotonic() - start)} so far")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _nothing(_share: float) -> None:
    """Show nothing."""
