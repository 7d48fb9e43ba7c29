"""One worker: takes trials, trains them, stops some early, tells how they went; until there are no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas_budget.errors import StudyError
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.storage.storage import clear_errors
from nas_budget.search.workers.events import Event, TrialFinished
from nas_budget.search.workers.scheduler import Begun, Source
from nas_budget.search.workers.trainer import CandidateTrainer
from nas_budget.search.workers.trial_runner import Run

FAILURES_IN_A_ROW = 5


class Worker:
    """Runs the trials of a source: one at a time, or a group side by side.

    The trials of a group are trained to a rung each before any of them is judged there: the first ones
    are so compared with the others of the group, not with the few that happened to come before.

    Args:
        source: Where trials come from.
        trainer: What trains them.
        settings: Of the study.
    """

    def __init__(self, source: Source, trainer: CandidateTrainer, settings: StudyConfig) -> None:
        self.source = source
        self.trainer = trainer
        self.settings = settings

    def events(self) -> Iterator[Event]:
        """Train until the source gives no more, telling what happens.

        Raises:
            StoppedError: The trainer was told to stop; the trials under way are to be trained again.
            StudyError: Several trials in a row failed, or the storage cannot be reached.
        """
        failures = 0
        with clear_errors(self.settings.storage):
            while group := self.source.begin():
                for event in self._train(group):
                    yield event
                    if isinstance(event, TrialFinished):
                        failures = failures + 1 if event.record.state == "failed" else 0
                        if failures == FAILURES_IN_A_ROW:
                            why = event.record.reason
                            raise StudyError(f"{failures} trials failed in a row, the last because: {why}")

    def _train(self, group: Sequence[Begun]) -> Iterator[Event]:
        """Train a group from rung to rung, and tell the study how each trial went."""
        runs = [Run(begun, self.trainer, self.settings, self.source) for begun in group]
        for run in runs:
            yield run.started()
        *rungs, last = self.source.rungs(group)
        for rung in rungs:
            for run in runs:
                yield from run.train(rung)
            for run in runs:
                run.judge(rung)
            for run in [run for run in runs if run.state is not None]:
                yield run.finish()
            runs = [run for run in runs if run.state is None]
        for run in runs:  # nothing is compared at the end: what is done is told at once
            yield from run.train(last)
            run.judge(last)
            yield run.finish()
