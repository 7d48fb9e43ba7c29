"""How a search looks while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nas_budget.cli.console.progress import PLAIN_EVERY_S
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.trials import TrialRecord, best_of
from nas_budget.search.config.plan import TimeLeft
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.workers.events import (
    Event,
    FinalistFinished,
    SearchEnded,
    TrialEpoch,
    TrialFinished,
    TrialStarted,
)
from nas_budget.train.profile.time_model import TimeModel

N_SHOWN = 8


class View:
    """What is known of a running search; subclasses show it."""

    def __init__(
        self, before: Sequence[TrialRecord], settings: StudyConfig, trial_s: float, log: Callable[[str], None],
        speed: TimeModel | None = None,
    ) -> None:  # fmt: skip
        self.records = list(before)
        self.settings = settings
        self.left = TimeLeft(settings, trial_s, speed)
        for record in before:
            self.left.add(record)
        self.log = log
        self.running: dict[tuple[bool, int], tuple[TrialStarted, str]] = {}
        self.finals = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def show(self, event: Event) -> None:
        """Take in what happened, then show it."""
        if isinstance(event, TrialStarted):
            self.running[event.finalist, event.number] = event, "again" if event.resumed else "beginning"
        elif isinstance(event, TrialEpoch):
            key = event.finalist, event.number
            self.running[key] = self.running[key][0], f"epoch {event.result.epoch}, {event.result.accuracy:.1%}"
        elif isinstance(event, TrialFinished):
            self.running.pop((False, event.record.number), None)
            self.records.append(event.record)
            self.left.add(event.record)
        elif isinstance(event, FinalistFinished):
            self.running.pop((True, event.number), None)
            self.finals += 1
            if event.run is None:
                self.log(f"a run of finalist {event.trial} failed: {event.reason}")
        elif isinstance(event, SearchEnded):
            self.log(f"the search ends: {event.reason}")
        else:
            self.log(f"worker {event.worker} ended unexpectedly (exit code {event.exit_code}); the others go on")
        self.refresh(event)

    def refresh(self, event: Event) -> None:
        """Show the state after an event."""

    def status(self) -> str:
        """One line: done, pruned, best, its parameters, time left."""
        n = {state: sum(r.state == state for r in self.records) for state in ("complete", "pruned", "failed")}
        parts = [f"{n['complete'] + n['pruned']}/{self.settings.trials} trials", f"{n['pruned']} stopped early"]
        if n["failed"]:
            parts.append(f"{n['failed']} failed")
        if self.finals:
            n_runs = self.settings.finalists * self.settings.finalist_seeds
            parts.append(f"{self.finals}/{n_runs} runs of finalists")
        if best := best_of(self.records):
            parts.append(f"best {best.accuracy:.1%} with {best.params:,} params")
        parts.append(f"{seconds_in_words(self.seconds_left())} left")
        return ", ".join(parts)

    def seconds_left(self) -> float:
        """Seconds to the end, judged by the plan and the trials so far."""
        return self.left.seconds(self.finals)


class PlainView(View):
    """A line at most every 30 seconds, and one when a trial fails."""

    last = float("-inf")

    def refresh(self, event: Event) -> None:
        """Say the status when it is time."""
        if isinstance(event, TrialFinished) and event.record.state == "failed":
            self.log(f"trial {event.record.number} failed: {event.record.reason}")
        if isinstance(event, TrialFinished | TrialEpoch) and time.monotonic() - self.last >= PLAIN_EVERY_S:
            self.last = time.monotonic()
            self.log(self.status())


class LiveView(View):
    """A table that stays in place: the last trials, the one that runs, the status."""

    def __enter__(self) -> Self:
        self.live = Live(self.drawn(), console=Console(stderr=True), transient=True, refresh_per_second=4)
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the table away and leave the status."""
        self.live.stop()
        self.log(self.status())

    def refresh(self, event: Event) -> None:  # noqa: ARG002
        """Draw again."""
        self.live.update(self.drawn())

    def drawn(self) -> Group:
        """The table and the status below it."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in "trial", "accuracy", "params", "MACs":
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("network", no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True)
        best = best_of(self.records)
        for r in self.records[-N_SHOWN:]:
            style = "bold green" if best and r.number == best.number else "dim" if r.state != "complete" else ""
            accuracy = "" if r.accuracy is None else f"{r.accuracy:.1%}"
            network = f"{r.channels} x {r.blocks}"
            table.add_row(str(r.number), accuracy, f"{r.params:,}", f"{r.macs:,}", network, r.state, style=style)
        for (is_final, number), (started, state) in sorted(self.running.items())[:N_SHOWN]:
            network = f"{'-'.join(map(str, started.spec.channels))} x {'-'.join(map(str, started.spec.blocks))}"
            name = f"final {number}" if is_final else str(number)
            table.add_row(name, "", f"{started.params:,}", "", network, state, style="cyan")
        if len(self.running) > N_SHOWN:
            table.add_row("", "", "", "", f"and {len(self.running) - N_SHOWN} more", "", style="cyan")
        return Group(table, Text(self.status()))
