"""`WorkerPool`: a job done in this process, or by several at once, as one stream of events."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_bool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeAlias

from nas_budget.errors import NasBudgetError, StoppedError, StudyError
from nas_budget.search.workers.events import Event, WorkerLost
from nas_budget.train.engine.process import child_environment, keep_freed_memory

Job: TypeAlias = Callable[[int, Callable[[], bool]], Iterator[Event]]
"""What a worker does: its index from 0 and what tells it to stop, to events. It must be picklable."""

LOOK_S = 0.2
PATIENCE_S = 30.0
"""How long workers may take to stop before they are ended."""
ROUNDS = 3
"""How often workers are started again after some were lost: the others may have left before that."""


@dataclass(frozen=True)
class Failed:
    """A worker's error."""

    error: NasBudgetError


class WorkerPool:
    """Does a job in worker processes, and starts them again where some were lost.

    Args:
        n_workers: Processes at once.
        should_stop: Asked several times a second; the workers then stop between two steps.
    """

    def __init__(self, n_workers: int, should_stop: Callable[[], bool]) -> None:
        self.n_workers, self.should_stop = n_workers, should_stop

    def events(self, job: Job) -> Iterator[Event]:
        """What happens in any of the workers, in the order of each.

        Raises:
            StoppedError: `should_stop` said so.
            StudyError: Workers were lost in each of several rounds.
            NasBudgetError: What a worker raised; the others are stopped first.
        """
        for _ in range(ROUNDS):
            lost = 0
            for event in run_processes(job, self.n_workers, self.should_stop):
                lost += isinstance(event, WorkerLost)
                yield event
            if not lost:
                return
        raise StudyError(
            f"workers were lost in {ROUNDS} rounds, by lack of memory perhaps; nothing finished is lost; "
            "resume with fewer --workers"
        )


def run_processes(job: Job, n: int, should_stop: Callable[[], bool]) -> Iterator[Event]:
    """Run the job in `n` processes and yield what happens in any of them.

    A process that is killed gives `WorkerLost`, and the others go on.

    Raises:
        StoppedError: `should_stop` said so, and every worker has stopped between two steps.
        NasBudgetError: What a worker raised; the others are stopped first.
        StudyError: No worker is left.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.RawValue(c_bool, False)  # without a lock, which a worker that is killed could take with it
    with _processes(job, n, stop, context) as workers:
        failure: NasBudgetError | None = None
        lost = 0
        while workers:
            if should_stop():
                stop.value = True
                failure = failure or StoppedError("stopped between two steps")
            for channel in _ready([*workers]):
                message = _received(channel)
                if isinstance(message, Failed):
                    failure = failure or message.error
                    stop.value = True
                elif message is not None:
                    yield message
                else:
                    number, process = workers.pop(channel)
                    process.join(PATIENCE_S)
                    if process.exitcode:
                        lost += 1
                        yield WorkerLost(number, process.exitcode)
        if failure:
            raise failure
        if lost == n:
            raise StudyError(
                f"all {n} workers ended unexpectedly; nothing finished is lost, run the same command again"
            )


def _ready(channels: list[Connection]) -> list[Connection]:
    """The channels on which there is something, or whose worker is gone; none after a while."""
    ready: list[Any] = wait(channels, LOOK_S)
    return ready


def _received(channel: Connection) -> Event | Failed | None:
    """The next message; None when the worker is gone."""
    try:
        message: Event | Failed = channel.recv()
        return message
    except (EOFError, OSError):
        return None


@contextmanager
def _processes(
    job: Job, n: int, stop: Any, context: multiprocessing.context.SpawnContext
) -> Iterator[dict[Connection, tuple[int, SpawnProcess]]]:
    """Workers by the channel they talk on; however this ends, none is left running."""
    workers: dict[Connection, tuple[int, SpawnProcess]] = {}
    started: list[SpawnProcess] = []
    try:
        for number in range(n):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, number, theirs, stop, os.getpid()), daemon=True)
            with child_environment():
                process.start()
            theirs.close()
            started.append(process)
            workers[ours] = number, process
        yield workers
    finally:
        stop.value = True
        for process in started:
            process.join(PATIENCE_S if not workers else LOOK_S)
            if process.is_alive():
                process.terminate()
                process.join()


def _work(job: Job, number: int, channel: Connection, stop: Any, parent: int) -> None:
    """A worker's whole life."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent decides what it means
    try:
        for event in job(number, lambda: stop.value or os.getppid() != parent):
            channel.send(event)
    except StoppedError:
        pass
    except NasBudgetError as error:
        channel.send(Failed(error))
    except BrokenPipeError:
        pass  # the parent is gone, and with it whoever would look
    finally:
        channel.close()
