"""What Ctrl-C and a polite kill do while something trains."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Signals:
    """Stop at once, or, while training goes on, between two steps; a second one at once."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.wait_for_step = False

    def __call__(self, *_: object) -> None:
        """Take a signal."""
        if self.asked.is_set() or not self.wait_for_step:
            raise KeyboardInterrupt
        self.asked.set()


@contextmanager
def signals() -> Iterator[Signals]:
    """Have SIGINT and SIGTERM go through a `Signals` while it lasts."""
    handler = Signals()
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
