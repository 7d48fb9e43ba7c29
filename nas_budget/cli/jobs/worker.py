"""What `nas-budget worker` does: train trials of a study that a search has begun, and say so in lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from nas_budget.cli.console.output import log, logger, out, this_command
from nas_budget.errors import StoppedError
from nas_budget.records.formatting import percent
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.open_study import join_search
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.url import shown
from nas_budget.search.workers.events import (
    Event,
    FinalistFinished,
    SearchEnded,
    TrialFinished,
    TrialNote,
    TrialStarted,
    WorkerLost,
)


def run_worker(study: str, storage: str, should_stop: Callable[[], bool], quiet: bool, **where: Any) -> None:
    """Train until all trials of the study have ended.

    Args:
        study: Its name, or its study file.
        storage: Address of the database.
        should_stop: Asked before every step.
        quiet: Whether progress is not shown.
        where: What else `join_search` takes.

    Raises:
        StoppedError: `should_stop` said so; the trials under way are given back.
    """
    quiet_optuna()
    opened = join_search(study, storage, on_message=log, **where)
    say, name, n_ended = logger(quiet), opened.settings.name, 0
    say(f"worker of study {name} in {shown(storage)}, on {opened.device_name}")
    try:
        with opened.threads(), closing(opened.search(should_stop, joins=True).events()) as events:
            for event in events:
                n_ended += isinstance(event, TrialFinished | FinalistFinished)
                for line in _lines(event, opened.settings):
                    say(line)
    except (StoppedError, KeyboardInterrupt):
        raise StoppedError(
            f"stopped after {n_ended} trials; what was under way is for other workers. "
            f"Join again with: {this_command()}"
        ) from None
    out(f"{name}: {n_ended} trials trained here; no more begin")


def _lines(event: Event, settings: StudyConfig) -> Iterator[str]:
    """What happened, in lines of a log."""
    if isinstance(event, TrialStarted):
        kind, how = "finalist run" if event.finalist else "trial", "resumed" if event.resumed else "started"
        yield f"{kind} {event.number} {how}, {event.params:,} parameters"
    elif isinstance(event, TrialFinished):
        record = event.record
        reached = "" if record.accuracy is None else f", {percent(record.accuracy, settings.n_validation)}"
        yield f"trial {record.number} {record.state}{reached}{f': {record.reason}' if record.reason else ''}"
    elif isinstance(event, FinalistFinished):
        yield f"finalist run {event.number} {'complete' if event.run else f'failed: {event.reason}'}"
    elif isinstance(event, TrialNote):
        yield f"NOTE: trial {event.number}: {event.text}"
    elif isinstance(event, SearchEnded):
        yield f"no more trials begin: {event.reason}"
    elif isinstance(event, WorkerLost):
        yield f"worker {event.worker} was lost: {event.cause}{event.place}"
