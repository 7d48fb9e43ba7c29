"""Who trained the trials of a study: the rows of `workers.csv`, from what is noted with each trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter

from optuna.trial import FrozenTrial, TrialState

from nas_budget.records.workers import WorkerRecord
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.leases import heard
from nas_budget.search.storage.optuna_adapter import WORKER


@dataclass
class _Worker:
    """One worker, and all trials that bear its name."""

    name: str
    host: str
    index: int
    trials: list[FrozenTrial] = field(default_factory=list)

    @property
    def began(self) -> datetime:
        """When its first trial began. One that it resumed began long before, elsewhere: of such alone nobody knows."""
        own = [_moment(trial.datetime_start) for trial in self.trials if not trial.user_attrs.get("resumed")]
        return min(own, default=datetime.max.replace(tzinfo=UTC))

    @property
    def ended(self) -> datetime | None:
        """When its last trial ended; None where one is under way."""
        ends = [trial.datetime_complete for trial in self.trials]
        return None if None in ends else max(map(_moment, ends))


def worker_rows(trials: Iterable[FrozenTrial], last_epoch: Callable[[FrozenTrial], str]) -> list[WorkerRecord]:
    """A row for each place where trials were trained, by host and number, of several alike from the first to begin.

    Args:
        trials: Of the study and of its finalists, that nas-budget made.
        last_epoch: When the last epoch of a running trial was stored, in UTC; empty where that is not known.
    """
    workers: dict[str, _Worker] = {}
    for trial in trials:
        known = trial.user_attrs
        if name := known.get(WORKER):  # a trial that was given back is nobody's
            worker = workers.setdefault(name, _Worker(name, known.get("host", ""), known.get("worker_index", 0)))
            worker.trials.append(trial)
    rows: list[_Worker] = []
    for worker in sorted(workers.values(), key=attrgetter("began")):
        before = next((row for row in rows if _goes_on(row, worker)), None)
        if before:
            before.name, before.trials = worker.name, before.trials + worker.trials
        else:
            rows.append(worker)
    return [_row(worker, last_epoch) for worker in sorted(rows, key=attrgetter("host", "index", "began"))]


def _goes_on(before: _Worker, after: _Worker) -> bool:
    """Whether a worker took the place of another, that was gone."""
    is_same_place = (before.host, before.index) == (after.host, after.index)
    return is_same_place and before.ended is not None and before.ended <= after.began


def _row(worker: _Worker, last_epoch: Callable[[FrozenTrial], str]) -> WorkerRecord:
    done = [trial for trial in worker.trials if trial.state.is_finished()]
    now = next((trial for trial in worker.trials if trial.state == TrialState.RUNNING), None)
    seen = max(_text(now.datetime_start), heard(now), last_epoch(now)) if now else _text(worker.ended)
    return WorkerRecord(
        worker=worker.name,
        host=worker.host,
        index=worker.index,
        device=worker.trials[-1].user_attrs.get("device", ""),
        trials=" ".join(str(trial.number) for trial in done if not _is_finalist(trial)),
        finalist_runs=sum(map(_is_finalist, done)),
        seconds=round(sum(trial.user_attrs.get("seconds", 0.0) for trial in done), 3),
        trains=f"{'finalist run' if _is_finalist(now) else 'trial'} {now.number}" if now else "",
        epoch=len(now.intermediate_values) if now else 0,
        epochs=Candidate.from_dict(now.user_attrs).recipe.epochs if now else 0,
        heard=seen,
    )


def _is_finalist(trial: FrozenTrial) -> bool:
    """Whether it is a run of a finalist: those alone have a seed of their own."""
    return "seed" in trial.user_attrs


def _moment(moment: datetime | None) -> datetime:
    """A moment as Optuna has it, with its zone."""
    return (moment or datetime.fromtimestamp(0)).astimezone(UTC)


def _text(moment: datetime | None) -> str:
    return _moment(moment).isoformat(timespec="seconds")
