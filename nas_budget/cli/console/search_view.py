"""How a search looks while it runs: the state of its trials, from the events of the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from nas_budget.arch.spec import spec_from_json
from nas_budget.cli.console.progress import Show
from nas_budget.records.formatting import factor_in_words, percent, seconds_in_words, width_in_words
from nas_budget.records.trials import TrialRecord, best_of, proposed_of
from nas_budget.search.config.plan import TimeLeft
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.workers import events
from nas_budget.untrusted import printable

N_SHOWN = 8


class SearchView:
    """Shows a running search: a table of its last trials on a terminal, a line elsewhere.

    `before` are the trials that had ended before. `left` predicts the time left. `show` shows the state, and `log`
    prints what happened once, such as a trial that failed.
    """

    def __init__(
        self, before: Sequence[TrialRecord], settings: StudyConfig, left: TimeLeft, show: Show,
        log: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.records = list(before)
        self.settings, self.left, self.show, self.log = settings, left, show, log
        for record in before:
            self.left.add(record)
        self.running: dict[tuple[bool, int], tuple[events.TrialStarted, str]] = {}
        self.micro_batches: dict[tuple[bool, int], int] = {}
        self.not_recorded: set[str] = set()
        self.n_finalist_runs, self.n_runs = 0, settings.finalists * settings.finalist_seeds

    def update(self, event: events.Event) -> None:
        """Take in what happened, then show the state."""
        if isinstance(event, events.TrialStarted):
            self.running[event.finalist, event.number] = event, "resumed" if event.resumed else "started"
        elif isinstance(event, events.TrialEpoch):
            started, _ = self.running[event.finalist, event.number]
            self._note_split(started, event.result.micro_batches)
            self._note_launches(started, event.result.not_recorded)
            state = f"epoch {event.result.epoch}, {percent(event.result.accuracy, self.settings.n_validation)}"
            self.running[event.finalist, event.number] = started, state
        elif isinstance(event, events.TrialFinished):
            self.running.pop((False, event.record.number), None)
            self.records.append(event.record)
            self.left.add(event.record)
            if event.record.state == "failed":
                self.log(f"trial {event.record.number} failed: {event.record.reason}")
        elif isinstance(event, events.FinalistFinished):
            self.running.pop((True, event.number), None)
            self.n_finalist_runs += 1
            if event.run is None:
                self.log(f"a run of finalist {event.trial} failed: {event.reason}")
        elif isinstance(event, events.TrialNote):
            name = "finalist's training" if event.finalist else "trial"
            self.log(f"NOTE: {name} {event.number}: {event.text}")
        elif isinstance(event, events.SearchEnded):
            self.log(f"the search ends: {event.reason}")
        else:
            then = "another takes its place" if event.is_replaced else "the others go on without it"
            self.log(f"worker {event.worker} was lost: {event.cause}{event.place}; {then}")
        n_ended = sum(record.state != "failed" for record in self.records)
        n_asked = self.settings.trials + sum(self.settings.ladder) + self.n_runs
        share = (n_ended + self.n_finalist_runs) / max(1, n_asked)
        self.show(self.status(), min(1.0, share), self.table)

    def _note_split(self, started: events.TrialStarted, n: int) -> None:
        """Print once a trial that its batches were split because they did not fit into memory."""
        key = started.finalist, started.number
        if n > self.micro_batches.get(key, 1):
            self.micro_batches[key] = n
            self.log(
                f"NOTE: trial {started.number} ({started.params:,} parameters) ran out of memory; "
                f"each of its batches is now computed as {n} micro-batches"
            )

    def _note_launches(self, started: events.TrialStarted, why: str) -> None:
        """Print once for each reason that steps could not be replayed from a CUDA graph."""
        if why and why not in self.not_recorded:
            self.not_recorded.add(why)
            self.log(
                f"NOTE: trial {started.number} ({started.params:,} parameters) launches its kernels one by one, which "
                f"is slower: a step cannot be recorded as a CUDA graph ({why}); others like it are not listed"
            )

    def status(self) -> str:
        """One line: trials that ended, pruned ones, the best, its parameters, time left."""
        base = proposed_of(self.records)
        n, n_ladder = Counter(record.state for record in base), len(self.records) - len(base)
        parts = [f"{n['complete'] + n['pruned']}/{self.settings.trials} trials", f"{n['pruned']} pruned"]
        if n["failed"]:
            parts.append(f"{n['failed']} failed")
        if n_ladder:
            parts.append(f"{n_ladder}/{sum(self.settings.ladder)} wider")
        if self.n_finalist_runs:
            parts.append(f"{self.n_finalist_runs}/{self.n_runs} runs of finalists")
        if best := best_of(self.records):
            width = f" at {width_in_words(best.proxy)}" if best.proxy < 1 else ""
            parts.append(f"best {percent(best.accuracy or 0.0, best.validation_images)}{width}, {best.params:,} params")
        parts.append(f"{seconds_in_words(self.left.seconds(self.n_finalist_runs))} left")
        return ", ".join(parts)

    def table(self) -> Table:
        """The last trials that ended, and those that run."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in "trial", "accuracy", "params", "MACs":
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("network", no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True)
        best = best_of(self.records)
        for r in self.records[-N_SHOWN:]:
            style = "bold green" if best and r.number == best.number else "dim" if r.state != "complete" else ""
            accuracy = "" if r.accuracy is None else percent(r.accuracy, r.validation_images)
            accuracy += f" at {factor_in_words(r.proxy)}" if r.proxy < 1 and accuracy else ""
            network = f"{r.channels} x {r.blocks}" if r.channels else spec_from_json(r.spec).brief
            table.add_row(str(r.number), accuracy, f"{r.params:,}", f"{r.macs:,}", _text(network), r.state, style=style)
        for (is_finalist, number), (started, state) in sorted(self.running.items())[:N_SHOWN]:
            name = f"final {number}" if is_finalist else str(number)
            table.add_row(name, "", f"{started.params:,}", "", _text(started.spec.brief), state, style="cyan")
        if len(self.running) > N_SHOWN:
            table.add_row("", "", "", "", f"and {len(self.running) - N_SHOWN} more", "", style="cyan")
        return table


def _text(network: str) -> Text:
    """The words of a network, whose choices may be anybody's texts."""
    return Text(printable(network))
