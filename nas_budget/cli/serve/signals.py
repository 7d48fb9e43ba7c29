"""Ctrl-C and SIGTERM while something trains."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupt:
    """A signal handler: it stops at once, or, while `wait_for_step` is set, between two steps.

    The first signal that waits for a step sets `stop`; a second one stops at once.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.wait_for_step = False

    def __call__(self, *_: object) -> None:
        """Take a signal."""
        if self.stop.is_set() or not self.wait_for_step:
            raise KeyboardInterrupt
        self.stop.set()


@contextmanager
def signals() -> Iterator[Interrupt]:
    """Handle SIGINT and SIGTERM by an `Interrupt` inside the block."""
    handler = Interrupt()
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
