"""`WorkerPool`: a job done in this process, or by several at once, as one stream of events."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes import c_bool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeAlias

from nas_budget.errors import NasBudgetError, SpoiledDeviceError, StoppedError, TrainingError
from nas_budget.memory import free_bytes
from nas_budget.search.workers.events import (
    SPOILED_EXIT,
    Event,
    FinalistFinished,
    TrialEpoch,
    TrialFinished,
    TrialStarted,
    WorkerLost,
)
from nas_budget.train.engine.process import child_environment, end_first, keep_freed_memory

Job: TypeAlias = Callable[[int, Callable[[], bool]], Iterator[Event]]
"""What a worker does: its index from 0 and what tells it to stop, to events. It must be picklable."""

LOOK_S = 0.2
PATIENCE_S = 30.0
"""How long workers may take to stop before they are ended."""
MOST_REPLACED = 5
"""How often another takes the place of a worker that ends no trial: more says that its GPU is broken."""
WORKER_BYTES = 700 * 1024**2
"""Memory that must be free for another to take the place of one that was killed, while others still work."""
MOST_LOST = 3
"""How often all workers may be lost in a row before the fault is taken for one that strikes every trial."""

Environment: TypeAlias = Callable[[int], Mapping[str, str]]
"""By a worker's index, variables of its own, such as the GPUs that it sees."""


@dataclass(frozen=True)
class Failed:
    """A worker's error."""

    error: NasBudgetError


class WorkerPool:
    """Does a job in worker processes. Where one is lost the others go on, and another takes its place.

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
        """What happens in any of the workers, in the order of each (`run_processes`)."""
        return run_processes(job, self.n_workers, self.should_stop, self.environment)


class _Deaths:
    """Counts workers that were lost, until trials end well again; each epoch that one trains pays for one loss."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self.trials: dict[int, TrialStarted] = {}
        self.in_a_row: Counter[int] = Counter()

    def follow(self, worker: int, event: Event) -> None:
        """Take in what a worker told: which trial it trains, that it comes further, and that one has ended well."""
        if isinstance(event, TrialStarted):
            self.trials[worker] = event
        elif isinstance(event, TrialEpoch):
            self.in_a_row[worker] = max(self.in_a_row[worker] - 1, 0)
        elif isinstance(event, TrialFinished | FinalistFinished):
            self.trials.pop(worker, None)
            if event.run if isinstance(event, FinalistFinished) else event.record.state != "failed":
                self.in_a_row.clear()

    def lost(self, worker: int, exit_code: int, n_left: int) -> WorkerLost:
        """The event of a worker that is gone, while `n_left` others work."""
        self.in_a_row[worker] += 1
        lacks_memory = n_left > 0 and exit_code == -signal.SIGKILL and free_bytes() < WORKER_BYTES
        is_replaced = self.in_a_row[worker] <= MOST_REPLACED and not lacks_memory
        trial = self.trials.pop(worker, None)
        if trial is None:
            return WorkerLost(worker, exit_code, is_replaced=is_replaced)
        return WorkerLost(worker, exit_code, trial.number, trial.finalist, is_replaced)

    def verdict(self, last: WorkerLost, n_left: int) -> TrainingError | None:
        """Why the study ends after this one; None where it goes on."""
        n = self.in_a_row.total()
        if n < MOST_LOST * self.n_workers and (n_left or last.is_replaced):
            return None
        return TrainingError(
            f"{n} workers were lost in a row, the last {last.cause}{last.place}; nothing finished is lost; "
            "run the same command again, with fewer --workers if memory is short"
        )


def run_processes(
    job: Job, n: int, should_stop: Callable[[], bool], environment: Environment = lambda _: {}
) -> Iterator[Event]:
    """Run the job in `n` processes and yield what happens in any of them.

    A process that is killed, or whose GPU it can use no more, gives `WorkerLost`. Another takes its place once
    whoever listens has seen that, unless there is no memory for it, and the others go on.

    Raises:
        StoppedError: `should_stop` said so, and every worker has stopped between two steps.
        NasBudgetError: What a worker raised; the others are stopped first.
        TrainingError: Workers were lost again and again, more often than epochs were trained, and no trial ended well.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.RawValue(c_bool, False)  # without a lock, which a worker that is killed could take with it
    with _processes(job, n, stop, context, environment) as (workers, start):
        failure: NasBudgetError | None = None
        deaths = _Deaths(n)
        while workers:
            if should_stop():
                failure = failure or StoppedError("stopped between two steps")
            stop.value = failure is not None
            for channel in _ready([*workers]):
                message = _received(channel)
                if isinstance(message, Failed):
                    failure = failure or message.error
                elif isinstance(message, logging.LogRecord):
                    logging.getLogger(message.name).handle(message)  # all workers together say a thing once
                elif message is not None:
                    deaths.follow(workers[channel][0], message)
                    yield message
                else:
                    number, process = workers.pop(channel)
                    process.join(PATIENCE_S)
                    if process.exitcode:
                        yield (lost := deaths.lost(number, process.exitcode, len(workers)))
                        failure = failure or deaths.verdict(lost, len(workers))
                        if not failure and lost.is_replaced:
                            start(number)
        if failure:
            raise failure


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
        given = (job, number, theirs, stop, os.getpid())
        process = context.Process(target=_work, name=f"worker {number}", args=given, daemon=True)
        with child_environment(environment(number)):
            process.start()
        end_first(process.pid or 0)
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
