"""Finalists: the best trials, trained again with other seeds, to see which differ by more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance

from nas_budget.records.field_table import read_rows, write_rows

CONFIDENCE = 0.95


@dataclass(frozen=True)
class FinalistRun:
    """One training of a finalist; the fields are the columns of `finalists.csv`.

    Attributes:
        trial: Number of the trial that made it a finalist.
        seed: Of this training.
        accuracy: Share of validation images classified correctly after the last epoch, 0 to 1.
        epochs: Epochs trained.
        params: Trainable parameters.
        seconds: Time it took.
        repeated_seconds: Time of earlier attempts at it that were interrupted.
        curve: Accuracy after each epoch, separated by spaces.
        device: Where it ran.
        spec: The whole spec as JSON.
    """

    trial: int
    seed: int
    accuracy: float
    epochs: int
    params: int
    seconds: float
    repeated_seconds: float
    curve: str
    device: str
    spec: str


@dataclass(frozen=True)
class FinalistSummary:
    """Mean and spread of the runs of one finalist.

    Attributes:
        trial: Number of its trial.
        params: Trainable parameters.
        n_runs: Trainings.
        mean: Mean accuracy, 0 to 1.
        deviation: Standard deviation of the accuracy between seeds; None of one run.
        interval: Half of the 95 % interval of the mean by Student's t, its deviation pooled over all finalists;
            None where no finalist has two runs.
        gap_to_best: Mean of the best minus its mean.
        tie: Whether its gap to the best may be chance.
        spec: The whole spec as JSON.
    """

    trial: int
    params: int
    n_runs: int
    mean: float
    deviation: float | None
    interval: float | None
    gap_to_best: float
    tie: bool
    spec: str


def summarize_finalists(runs: Iterable[FinalistRun]) -> list[FinalistSummary]:
    """The finalists, best mean first, of equals the smaller.

    A finalist ties with the best unless the difference of their means is beyond the 95 % interval of
    Student's t, with the variance between seeds pooled over all finalists. Where no finalist has two runs, that
    variance is not known: then all are ties.

    Examples:
        >>> def run(trial, seed, accuracy):
        ...     return FinalistRun(trial, seed, accuracy, 30, 9_000, 60.0, 0.0, "", "a CPU", "{}")
        >>> runs = [run(3, 1, 0.61), run(3, 2, 0.63), run(7, 1, 0.52), run(7, 2, 0.50)]
        >>> for finalist in summarize_finalists(runs):
        ...     print(finalist.trial, f"{finalist.mean:.2f}", f"{finalist.gap_to_best:.2f}", finalist.tie)
        3 0.62 0.00 True
        7 0.51 0.11 False
    """
    groups: dict[int, list[FinalistRun]] = {}
    for run in runs:
        groups.setdefault(run.trial, []).append(run)
    ranked = sorted(groups.values(), key=lambda group: (-_mean(group), group[0].params))
    return [_summary(group, ranked[0], _pooled(ranked)) for group in ranked]


def _summary(
    group: Sequence[FinalistRun], best: Sequence[FinalistRun], pooled: tuple[float, int] | None
) -> FinalistSummary:
    gap_to_best = _mean(best) - _mean(group)
    return FinalistSummary(
        trial=group[0].trial,
        params=group[0].params,
        n_runs=len(group),
        mean=_mean(group),
        deviation=variance([r.accuracy for r in group]) ** 0.5 if len(group) > 1 else None,
        interval=pooled and _quantile(pooled[1]) * (pooled[0] / len(group)) ** 0.5,
        gap_to_best=gap_to_best,
        tie=group is best or pooled is None or gap_to_best <= _least_difference(pooled, len(group), len(best)),
        spec=group[0].spec,
    )


def _mean(group: Sequence[FinalistRun]) -> float:
    return fmean(run.accuracy for run in group)


def _pooled(groups: Sequence[Sequence[FinalistRun]]) -> tuple[float, int] | None:
    """Variance between seeds and its degrees of freedom; None where no finalist has two runs."""
    repeated = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in repeated)
    if not freedom:
        return None
    total = sum(variance([run.accuracy for run in group]) * (len(group) - 1) for group in repeated)
    return total / freedom, freedom


def _least_difference(pooled: tuple[float, int], n: int, n_best: int) -> float:
    """The smallest difference of two means that is more than chance."""
    spread, freedom = pooled
    deviation: float = (spread * (1 / n + 1 / n_best)) ** 0.5
    return _quantile(freedom) * deviation


def _quantile(freedom: int) -> float:
    """How many deviations the 95 % interval reaches."""
    from scipy.stats import t  # a quarter of a second that only finalists need

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def write_finalists(path: Path, runs: Iterable[FinalistRun]) -> None:
    """Write the table of runs to `path`, all of it or nothing."""
    write_rows(path, FinalistRun, runs)


def read_finalists(path: Path) -> list[FinalistRun]:
    """The runs of a `finalists.csv`; none where there is no such file.

    Raises:
        TableError: It cannot be read.
    """
    return read_rows(path, FinalistRun, "finalists")
