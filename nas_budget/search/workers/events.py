"""What happens in a search, as it is told to whoever watches."""

from __future__ import annotations

from dataclasses import dataclass

from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.finalists import FinalistRun
from nas_budget.records.trials import TrialRecord
from nas_budget.train.engine.loop import EpochResult


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins to train; `resumed` when it had been interrupted, `final` when it is a finalist's run."""

    number: int
    spec: ResNetSpec
    params: int
    resumed: bool
    final: bool = False


@dataclass(frozen=True)
class TrialEpoch:
    """A trial has trained one more epoch."""

    number: int
    result: EpochResult
    final: bool = False


@dataclass(frozen=True)
class TrialFinished:
    """A trial is complete, pruned or failed."""

    record: TrialRecord


@dataclass(frozen=True)
class FinalistFinished:
    """A finalist has been trained once more: the run of this number, of this trial."""

    number: int
    trial: int
    run: FinalistRun | None
    reason: str


@dataclass(frozen=True)
class SearchEnded:
    """No more trials begin, and why; not told when there are as many as were asked for."""

    reason: str


@dataclass(frozen=True)
class WorkerLost:
    """A worker process ended unexpectedly; its trial is taken over by the others."""

    worker: int
    exit_code: int


Event = TrialStarted | TrialEpoch | TrialFinished | FinalistFinished | SearchEnded | WorkerLost
