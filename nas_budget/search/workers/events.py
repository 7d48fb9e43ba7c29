"""Events of a search, for whoever follows it."""

from __future__ import annotations

from dataclasses import dataclass

from nas_budget.arch.spec import AnySpec
from nas_budget.records.finalists import FinalistRun
from nas_budget.records.trials import EpochResult, TrialRecord


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
    """No more trials begin, and why. It does not come where as many as were asked for have ended.

    `is_complete` is false where trials are left that others train.
    """

    reason: str
    is_complete: bool = True


@dataclass(frozen=True)
class WorkerLost:
    """A worker process ended unexpectedly; another worker resumes its trial."""

    worker: int
    exit_code: int


Event = TrialStarted | TrialEpoch | TrialNote | TrialFinished | FinalistFinished | SearchEnded | WorkerLost
