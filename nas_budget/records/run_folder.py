"""What lies in the folder of runs: studies and full trainings, recognized and summarized by a few small files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

from nas_budget.arch.budget import FORMATS, LIMITS, Budget
from nas_budget.errors import InputError, NasBudgetError, QuantityError
from nas_budget.records.field_table import is_strange
from nas_budget.records.finalists import FinalistRun, read_finalists
from nas_budget.records.paths import (
    FINALISTS_TABLE,
    JOURNAL,
    METRICS,
    RESULT,
    RUN_SETTINGS,
    STUDY_SETTINGS,
    TRIALS_TABLE,
    WEIGHTS,
)  # fmt: skip
from nas_budget.records.training_run import read_metrics, read_result
from nas_budget.records.trials import STATES, read_columns
from nas_budget.untrusted import printable, read_json, read_text

STUDY, RUN = "study", "run"
CHANGING = (TRIALS_TABLE, FINALISTS_TABLE, JOURNAL, RESULT, METRICS, RUN_SETTINGS)
"""Files whose time tells when a folder last changed."""
LONGEST_PROBLEM = 300
"""Characters of what is wrong with a folder; what stands in its files can be longer."""
COLUMNS = (
    "state",
    "accuracy",
    "params",
    "proxy",
    "of",
    "validation_images",
    "data",
    *FORMATS,
    *(f"budget_{name}" for name in LIMITS),
)


@dataclass(frozen=True)
class Entry:
    """One folder, in short.

    Attributes:
        name: Of the folder.
        path: Where it lies.
        kind: "study" of `search` or "run" of `train`.
        changed: When it last changed, in seconds since 1970.
        trials: Of a study, how many trials are "complete", "pruned" and "failed"; empty of a run.
        seeds: Of a run, how many trainings have ended.
        epoch: Of a run that has not ended, the last epoch of its seed; None otherwise.
        epochs: Epochs of each of its trainings.
        accuracy: Of a study the best on validation images (the mean where there are finalists), of a run the mean
            on test images, 0 to 1; None where none is known.
        images: How many images that is of.
        params: Trainable parameters of that network.
        proxy: What the network's widths were multiplied by when that accuracy was measured; 1 of the network itself.
        budget: Limits that are set, by name, and the format of their weights; empty where none are known.
        data: Name of the data set.
        problem: Why the folder cannot be read; empty when it can.
    """

    name: str
    path: Path
    kind: str
    changed: float
    trials: dict[str, int] = field(default_factory=dict)
    seeds: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    accuracy: float | None = None
    images: int = 0
    params: int | None = None
    proxy: float = 1.0
    budget: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    problem: str = ""


def entries(runs: Path) -> list[Entry]:
    """Every study and run in a folder of runs, the last changed first; damaged ones say so.

    Raises:
        InputError: The folder cannot be read.
    """
    found = [entry_of(folder, kind) for folder in folders(runs) if (kind := kind_of(folder))]
    return sorted(found, key=lambda entry: (-entry.changed, entry.name))


def folders(runs: Path) -> list[Path]:
    """The folders in a folder; none where it is not there.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return [path for path in runs.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{runs}: cannot be read as a folder of runs ({error.strerror})") from None


def kind_of(folder: Path) -> str:
    """What a folder holds: "study", "run", or nothing where it is neither."""
    if any(is_file(folder / name) for name in (TRIALS_TABLE, JOURNAL)):
        return STUDY
    return RUN if any(is_file(folder / name) for name in (RESULT, RUN_SETTINGS)) else ""


def has_weights(run: Path) -> bool:
    """Whether a run of train has ended and its weights are still there."""
    return is_file(run / RESULT) and is_file(run / WEIGHTS)


def is_file(path: Path) -> bool:
    """Whether there is such a file; none where one may not look, or where no file can have that name."""
    try:
        return path.is_file()
    except OSError:
        return False


def entry_of(folder: Path, kind: str) -> Entry:
    """The entry of a folder of this kind."""
    summed_up: Callable[[Path], dict[str, Any]] = _study if kind == STUDY else _run
    try:
        about = summed_up(folder)
    except (NasBudgetError, OSError, ValueError, KeyError, TypeError) as error:
        words = " ".join(str(error).split())[:LONGEST_PROBLEM] or type(error).__name__
        about = {"problem": f"{words} is unknown" if isinstance(error, KeyError) else words}
    return Entry(printable(folder.name.replace("\n", "?")), folder, kind, _changed(folder), **about)


def _changed(folder: Path) -> float:
    times = []
    for path in (folder, *(folder / name for name in CHANGING)):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times[1:] or times, default=0.0)


def _study(folder: Path) -> dict[str, Any]:
    """The figures of a study; of one without a table no trial has ended yet."""
    counts = dict.fromkeys(STATES, 0)
    table = folder / TRIALS_TABLE
    rows = [*zip(*read_columns(table, COLUMNS).values(), strict=True)] if table.exists() else []
    best: tuple[float, float, int] | None = None
    for state, accuracy, params, proxy, of, *_ in rows:
        counts[state] += not of
        if accuracy and not 0 <= float(accuracy) <= 1:
            raise ValueError(f"an accuracy is {accuracy}, not from 0 to 1")
        if state == "complete" and accuracy:
            best = max(best or (0.0, 0.0, 0), (float(proxy), float(accuracy), -int(params or 0)))
    finals = read_finalists(folder / FINALISTS_TABLE)
    if finals and best:
        best = (best[0], *max((mean, -size) for mean, size in means(finals)))
    about: dict[str, Any] = {"trials": counts}
    if best:
        about |= {"proxy": best[0], "accuracy": best[1], "params": -best[2]}
    if rows:
        images, data, *others = rows[0][5:]
        formats, limits = others[: len(FORMATS)], others[len(FORMATS) :]
        budget = {name: int(limit) for name, limit in zip(LIMITS, limits, strict=True) if limit}
        about |= {"images": int(images), "data": data, "budget": budget | dict(zip(FORMATS, formats, strict=True))}
    if strange := [value for value in (*about.values(), *about.get("budget", {}).values()) if is_strange(value)]:
        raise ValueError(f"a number is {strange[0]!r:.60}")
    return about


def means(runs: Iterable[FinalistRun]) -> list[tuple[float, int]]:
    """Mean accuracy and parameters of each finalist."""
    rows = sorted((run.trial, run.params, run.accuracy) for run in runs)
    return [(fmean(row[2] for row in group), params) for (_, params), group in groupby(rows, key=itemgetter(0, 1))]


def _run(folder: Path) -> dict[str, Any]:
    """The figures of a run, or how far one has come that has not ended."""
    if not (folder / RESULT).exists():
        return unfinished(folder)
    result = read_result(folder)
    about = {"seeds": len(result.seeds), "params": result.params, "epochs": result.recipe["epochs"]}
    about |= {"accuracy": result.mean(), "images": result.test_images}
    return about | {"data": result.data, "budget": _set_limits(result.limits)}


def unfinished(folder: Path) -> dict[str, Any]:
    """How far a run has come that has not ended, as fields of an entry."""
    held = read_json(read_text(folder / RUN_SETTINGS))
    rows = read_metrics(folder)
    done = {row.seed for row in rows if row.epoch == held["recipe.epochs"]}
    last = rows[-1].epoch if rows and rows[-1].seed not in done else 0
    about = {"seeds": len(done), "epoch": last, "epochs": held["recipe.epochs"], "data": held["data"]}
    return about | {"budget": _set_limits(limits_of(held))}


def recorded_limits(folder: Path) -> Budget | None:
    """The limits of the study or run in a folder; None where there is neither, or it recorded none.

    Raises:
        InputError: Its settings cannot be read.
    """
    kind = kind_of(folder)
    path = folder / (STUDY_SETTINGS if kind == STUDY else RUN_SETTINGS)
    if not kind or not is_file(path):
        return None
    try:
        held = read_json(read_text(path))
        if kind == RUN:
            return limits_of(held)
        limits: dict[str, Any] = {key: None if value == "none" else value for key, value in held["budget"].items()}
        return Budget(**limits)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, QuantityError) as error:
        raise InputError(f"{path}: its limits cannot be read ({type(error).__name__}: {error})") from None


def limits_of(held: Mapping[str, Any]) -> Budget | None:
    """The limits among the settings of a run; None where it recorded none."""
    limits = {key.removeprefix("budget."): value for key, value in held.items() if key.startswith("budget.")}
    return Budget(**limits) if limits else None


def _set_limits(limits: Budget | None) -> dict[str, Any]:
    return (
        {name: value for name, value in limits.to_dict().items() if value is not None and name != "latency_model"}
        if limits
        else {}
    )
