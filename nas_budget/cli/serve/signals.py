"""Ctrl-C, SIGTERM and a terminal that is closed, while something trains."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nas_budget.cli.console.output import mute
from nas_budget.errors import StoppedError

HANG_UP = getattr(signal, "SIGHUP", None)
"""What a terminal sends that is closed; Windows has none."""


class Interrupt:
    """A signal handler: it stops at once, or, while `wait_for_step` is set, between two steps.

    The first signal that waits for a step sets `stop`; a second one stops at once.

    Attributes:
        number: The first signal that came; 0 before it.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.wait_for_step = False
        self.number = 0
        self.terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def __call__(self, number: int, *_: object) -> None:
        """Take a signal."""
        is_again, self.number = bool(self.number), self.number or number
        if number == HANG_UP:
            for stream in self.terminals:
                mute(stream)  # whatever is still said would be an error
            if is_again:
                return  # a shell sends it as well as the system
        if is_again or not self.wait_for_step:
            raise KeyboardInterrupt
        self.stop.set()


@contextmanager
def signals() -> Iterator[Interrupt]:
    """Handle SIGINT, SIGTERM and SIGHUP by an `Interrupt` inside the block; `nohup` keeps SIGHUP away.

    Raises:
        StoppedError: A signal ended the block; its exit code is that of the signal.
    """
    handler = Interrupt()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if HANG_UP is not None and signal.getsignal(HANG_UP) != signal.SIG_IGN:
        numbers.append(HANG_UP)
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield handler
    except (StoppedError, KeyboardInterrupt) as error:
        stopped = error if isinstance(error, StoppedError) else StoppedError("interrupted")
        stopped.exit_code = 128 + (handler.number or signal.SIGINT)
        raise stopped from None
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        if handler.number:  # all that is left is to leave, in which Ctrl-C would only be a traceback
            signal.signal(signal.SIGINT, signal.SIG_IGN)
