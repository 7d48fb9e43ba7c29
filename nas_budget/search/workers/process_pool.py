"""`WorkerPool`: a job done in this process, or by several at once, as one stream of events."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes import c_bool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeAlias

from nas_budget.errors import NasBudgetError, SpoiledDeviceError, StoppedError, TrainingError
from nas_budget.search.workers.events import Event, WorkerLost
from nas_budget.train.engine.process import child_environment, keep_freed_memory

Job: TypeAlias = Callable[[int, Callable[[], bool]], Iterator[Event]]
"""What a worker does: its index from 0 and what tells it to stop, to events. It must be picklable."""

LOOK_S = 0.2
PATIENCE_S = 30.0
"""How long workers may take to stop before they are ended."""
ROUNDS = 3
"""How often workers are started again after some were lost: the others may have left before that."""
SPOILED_EXIT = 70
"""Exit code of a worker that can use its GPU no more; another takes its place at once."""
MOST_REPLACED = 5
"""How often that may happen to a worker: more says that the GPU is broken."""

Environment: TypeAlias = Callable[[int], Mapping[str, str]]
"""By a worker's index, variables of its own, such as the GPUs that it sees."""


@dataclass(frozen=True)
class Failed:
    """A worker's error."""

    error: NasBudgetError


class WorkerPool:
    """Does a job in worker processes, and starts them again where some were lost.

    Args:
        n_workers: Processes at once.
        should_stop: Asked several times a second; the workers then stop between two steps.
        environment: Variables of each worker's own.
    """

    def __init__(
        self, n_workers: int, should_stop: Callable[[], bool], environment: Environment = lambda _: {}
    ) -> None:
        self.n_workers, self.should_stop, self.environment = n_workers, should_stop, environment

    def events(self, job: Job) -> Iterator[Event]:
        """What happens in any of the workers, in the order of each.

        Raises:
            StoppedError: `should_stop` said so.
            TrainingError: Workers were lost in each of several rounds.
            NasBudgetError: What a worker raised; the others are stopped first.
        """
        for _ in range(ROUNDS):
            lost = 0
            for event in run_processes(job, self.n_workers, self.should_stop, self.environment):
                lost += isinstance(event, WorkerLost) and event.exit_code != SPOILED_EXIT
                yield event
            if not lost:
                return
        raise TrainingError(
            f"workers were lost in {ROUNDS} rounds, by lack of memory perhaps; nothing finished is lost; "
            "resume with fewer --workers"
        )


def run_processes(
    job: Job, n: int, should_stop: Callable[[], bool], environment: Environment = lambda _: {}
) -> Iterator[Event]:
    """Run the job in `n` processes and yield what happens in any of them.

    A process that is killed gives `WorkerLost`, and the others go on. So does one whose GPU it can use no more, and
    another takes its place.

    Raises:
        StoppedError: `should_stop` said so, and every worker has stopped between two steps.
        NasBudgetError: What a worker raised; the others are stopped first.
        TrainingError: No worker is left.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.RawValue(c_bool, False)  # without a lock, which a worker that is killed could take with it
    with _processes(job, n, stop, context, environment) as (workers, start):
        failure: NasBudgetError | None = None
        ended: list[tuple[int, int]] = []
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
                    yield from _told(message)
                else:
                    number, process = workers.pop(channel)
                    process.join(PATIENCE_S)
                    ended.append((number, process.exitcode or 0))
                    if _is_to_be_replaced(ended, failure):
                        start(number)
                    if process.exitcode:
                        yield WorkerLost(number, process.exitcode)
        if failure:
            raise failure
        if all(dict(ended).values()):
            raise TrainingError(
                f"all {n} workers ended unexpectedly; nothing finished is lost, run the same command again"
            )


def _is_to_be_replaced(ended: list[tuple[int, int]], failure: NasBudgetError | None) -> bool:
    """Whether another takes the place of the worker that ended last, by index and exit code of all that have."""
    return not failure and ended[-1][1] == SPOILED_EXIT and ended.count(ended[-1]) <= MOST_REPLACED


def _ready(channels: list[Connection]) -> list[Connection]:
    """The channels on which there is something, or whose worker is gone; none after a while."""
    ready: list[Any] = wait(channels, LOOK_S)
    return ready


Message: TypeAlias = Event | Failed | logging.LogRecord


def _received(channel: Connection) -> Message | None:
    """The next message; None when the worker is gone."""
    try:
        message: Message = channel.recv()
        return message
    except (EOFError, OSError):
        return None


Workers: TypeAlias = dict[Connection, tuple[int, SpawnProcess]]


@contextmanager
def _processes(
    job: Job, n: int, stop: Any, context: multiprocessing.context.SpawnContext, environment: Environment
) -> Iterator[tuple[Workers, Callable[[int], None]]]:
    """Workers by the channel they talk on, and what starts another; however this ends, none is left running."""
    workers: Workers = {}
    started: list[SpawnProcess] = []

    def start(number: int) -> None:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(job, number, theirs, stop, os.getpid()), daemon=True)
        with child_environment(environment(number)):
            process.start()
        theirs.close()
        started.append(process)
        workers[ours] = number, process

    try:
        for number in range(n):
            start(number)
        yield workers, start
    finally:
        stop.value = True
        for process in started:
            process.join(PATIENCE_S if not workers else LOOK_S)
            if process.is_alive():
                process.kill()
                process.join()


class _ToParent(logging.Handler):
    """Has what a worker logs handled in the process that started it: all workers together say a thing once."""

    def __init__(self, channel: Connection) -> None:
        super().__init__()
        self.channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, as text; nobody reads it where the parent is gone."""
        record.msg, record.args, record.exc_info = self.format(record), None, None
        with suppress(BrokenPipeError):
            self.channel.send(record)


def _told(message: Event | logging.LogRecord) -> Iterator[Event]:
    """The event, or nothing where a worker logged something: it is handled here."""
    if isinstance(message, logging.LogRecord):
        logging.getLogger(message.name).handle(message)
    else:
        yield message


def _work(job: Job, number: int, channel: Connection, stop: Any, parent: int) -> None:
    """A worker's whole life."""
    keep_freed_memory()
    for name in "SIGINT", "SIGTERM", "SIGHUP":  # terminals and job managers send them to all; the parent decides
        if number_of := getattr(signal, name, None):
            signal.signal(number_of, signal.SIG_IGN)
    logging.getLogger("nas_budget").addHandler(_ToParent(channel))
    try:
        for event in job(number, lambda: stop.value or os.getppid() != parent):
            channel.send(event)
    except StoppedError:
        pass
    except SpoiledDeviceError:
        raise SystemExit(SPOILED_EXIT) from None
    except NasBudgetError as error:
        channel.send(Failed(error))
    except BrokenPipeError:
        pass  # the parent is gone, and with it whoever would look
    finally:
        channel.close()
