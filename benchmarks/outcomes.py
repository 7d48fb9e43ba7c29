"""What a run of the comparison spent and found, and how two methods compare (see comparison.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean
from typing import Any

from usual_study import OVER_BUDGET, spent

from nas_budget import ResNetSpec
from nas_budget.records.time_ledger import trained_before
from nas_budget.records.trials import TrialRecord

SHARES = (25, 50, 75, 100)
"""Percent of the time after which the methods are compared."""


@dataclass(frozen=True)
class Found:
    """A complete trial, and how long the device had worked when it ended."""

    at_s: float
    params: int
    accuracy: float


@dataclass(frozen=True)
class Scale:
    """What areas are measured against: most seconds, sizes from the least to the most, accuracy of guessing."""

    device_time_s: float
    least: float
    most: float
    guessing: float


Figure = Callable[[Sequence[Found], float, Scale], float]
"""How good the networks are that were found until a time."""


def found_in(rows: Sequence[TrialRecord], device_time_s: float) -> list[Found]:
    """The complete trials of a run that ended in time, in the order in which they did."""
    paying = [row for row in rows if row.seconds + row.repeated_seconds]
    complete = [row for row in paying if row.state == "complete" and row.accuracy is not None]
    found = [Found(sum(paid(other, row) for other in paying), row.params, row.accuracy or 0.0) for row in complete]
    return sorted((f for f in found if f.at_s <= device_time_s), key=lambda f: f.at_s)


def paid(other: TrialRecord, row: TrialRecord) -> float:
    """Seconds spent on another trial by the time a trial ended; ours trains several side by side at first."""
    if (other.finished, other.number) <= (row.finished, row.number):
        return other.seconds + other.repeated_seconds
    if other.started >= row.finished:
        return 0.0
    if other.repeated_seconds:
        return other.repeated_seconds  # it was interrupted before, and waits for its turn
    rungs = [int(rung) for rung in row.rungs.split()]
    return other.seconds * max(rungs, default=0) / other.max_epochs  # side by side all reach the last rung first


def accuracy_at(found: Sequence[Found], second: float, _scale: Scale) -> float:
    """The best accuracy until then; 0 before there is any."""
    return max((f.accuracy for f in found if f.at_s <= second), default=0.0)


def area_at(found: Sequence[Found], second: float, scale: Scale) -> float:
    """The area under the front until then, exactly; a network below the least size counts from there on."""
    area, best, edge = 0.0, scale.guessing, log(scale.least)
    for params, accuracy in sorted((f.params, f.accuracy) for f in found if f.at_s <= second):
        if accuracy > best:
            size = log(max(params, scale.least))
            area += (size - edge) * (best - scale.guessing)
            best, edge = accuracy, size
    return (area + (log(scale.most) - edge) * (best - scale.guessing)) / log(scale.most / scale.least)


FIGURES: dict[str, Figure] = {"accuracy": accuracy_at, "area": area_at}


@dataclass(frozen=True)
class Outcome:
    """A run that has ended, and what it found in time."""

    method: str
    seed: int
    rows: Sequence[TrialRecord]
    found: Sequence[Found]

    def to_dict(self, scale: Scale) -> dict[str, Any]:
        """What it spent, proposed and found, as a row of the table."""
        best = max(self.found, key=lambda f: (f.accuracy, -f.params), default=None)
        return {
            "method": self.method,
            "seed": self.seed,
            "seconds": round(spent(self.rows), 1),
            "proposals": len(self.rows),
            "over_budget": sum(row.reason.startswith(OVER_BUDGET) for row in self.rows),
            "repeated": sum(again for _, again in trained_before(self.rows)),
            "trained": sum(row.epochs > 0 for row in self.rows),
            "complete": sum(row.state == "complete" for row in self.rows),
            "best_accuracy": best and best.accuracy,
            "best_params": best and best.params,
            **self.figures(scale),
        }

    def figures(self, scale: Scale) -> dict[str, float]:
        """Every figure after each share of the time."""
        return {
            f"{name}_{share}": round(figure(self.found, scale.device_time_s * share / 100, scale), 5)
            for name, figure in FIGURES.items()
            for share in SHARES
        }


def outcome_of(method: str, seed: int, rows: Sequence[TrialRecord], device_time_s: float) -> Outcome:
    """What the rows of a run say."""
    return Outcome(method, seed, rows, found_in(rows, device_time_s))


def scale_of(sections: Mapping[str, Mapping[str, Any]], rows: Sequence[TrialRecord]) -> Scale:
    """The scale of a study; without a limit on parameters the largest network of the rows stands for it."""
    most = float(rows[0].budget_params or max(row.params for row in rows))
    guessing = 1 / ResNetSpec.from_json(rows[0].spec).classes
    least = most * min(sections["space"]["fill"][0], 0.5)  # a study of nothing but full budgets has a range too
    return Scale(sections["search"]["device_time"], least, most, guessing)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and range of some values."""
    return {"mean": round(fmean(values), 5), "least": min(values), "most": max(values)}


def means(outcomes: Sequence[Outcome], scale: Scale) -> dict[str, dict[str, Any]]:
    """Mean and range over the seeds of every column, by method."""
    found: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        rows = [outcome.to_dict(scale) for outcome in outcomes if outcome.method == method]
        columns = {name: [row[name] for row in rows if row[name] is not None] for name in [*rows[0]][2:]}
        found[method] = {"runs": len(rows)} | {name: spread(values) for name, values in columns.items() if values}
    return found


def reached(outcomes: Sequence[Outcome], scale: Scale) -> dict[str, dict[str, Any]]:
    """For each figure the usual recipe's last value, and after which share of the time ours was there; None: never.

    The mean over the seeds that both have ended against the mean, and each seed against the same of the other.
    """
    runs = {(outcome.method, outcome.seed): outcome.found for outcome in outcomes}
    seeds = [seed for method, seed in runs if method == "ours" and ("usual", seed) in runs]
    found: dict[str, dict[str, Any]] = {}
    for name, figure in FIGURES.items() if seeds else ():
        goals = {seed: figure(runs["usual", seed], scale.device_time_s, scale) for seed in seeds}
        found[name] = {
            "goal": round(fmean(goals.values()), 5),
            "share": share_until(fmean(goals.values()), [runs["ours", seed] for seed in seeds], figure, scale),
            "share_by_seed": {s: share_until(goals[s], [runs["ours", s]], figure, scale) for s in seeds},
        }
    return found


def share_until(goal: float, runs: Sequence[Sequence[Found]], figure: Figure, scale: Scale) -> float | None:
    """The share of the time, 0 to 1, after which the mean of the runs is at least the goal; None when it never is."""
    for second in sorted(f.at_s for found in runs for f in found):
        if fmean(figure(found, second, scale) for found in runs) >= goal:
            return round(second / scale.device_time_s, 4)
    return None
