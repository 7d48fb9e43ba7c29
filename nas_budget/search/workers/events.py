"""Events of a search, for whoever follows it."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from nas_budget.arch.spec import AnySpec
from nas_budget.records.finalists import FinalistRun
from nas_budget.records.trials import EpochResult, TrialRecord

SPOILED_EXIT = 70
"""Exit code of a worker that can use its GPU no more."""


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins to train: `resumed` where it had been interrupted, `finalist` where a finalist trains."""

    number: int
    spec: AnySpec
    params: int
    resumed: bool
    finalist: bool = False


@dataclass(frozen=True)
class TrialEpoch:
    """A trial has trained one more epoch."""

    number: int
    result: EpochResult
    finalist: bool = False


@dataclass(frozen=True)
class TrialNote:
    """Something to know of a trial that trains, such as that its checkpoint could not be used."""

    number: int
    text: str
    finalist: bool = False


@dataclass(frozen=True)
class TrialFinished:
    """A trial is complete, pruned or failed."""

    record: TrialRecord


@dataclass(frozen=True)
class FinalistFinished:
    """A training of a finalist has ended: the run of this number, of this trial; `run` is None where it failed."""

    number: int
    trial: int
    run: FinalistRun | None
    reason: str


@dataclass(frozen=True)
class SearchEnded:
    """No more trials begin, and why. It does not come where as many as were asked for have ended."""

    reason: str


@dataclass(frozen=True)
class WorkerLost:
    """A worker process ended unexpectedly. Whoever is free first resumes its trial.

    Attributes:
        worker: Its index.
        exit_code: Of the process: where a signal killed it, the signal's number with a minus.
        trial: Number of the trial that it trained; None where it trained none.
        finalist: Whether that was a finalist's training.
        is_replaced: Whether another takes its place.
    """

    worker: int
    exit_code: int
    trial: int | None = None
    finalist: bool = False
    is_replaced: bool = True

    @property
    def cause(self) -> str:
        """How it ended, in words, such as "killed by signal 9 (out of memory?)"."""
        if self.exit_code == SPOILED_EXIT:
            return "could use its GPU no more"
        if self.exit_code >= 0:
            return f"ended with exit code {self.exit_code}"
        hint = "out of memory?" if self.exit_code == -signal.SIGKILL else "a crash in native code"
        known = {signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}
        return f"killed by signal {-self.exit_code}" + (f" ({hint})" if -self.exit_code in known else "")

    @property
    def place(self) -> str:
        """The trial in words, with a space before it; empty where there was none."""
        return "" if self.trial is None else f" in {'training' if self.finalist else 'trial'} {self.trial}"


Event = TrialStarted | TrialEpoch | TrialNote | TrialFinished | FinalistFinished | SearchEnded | WorkerLost
