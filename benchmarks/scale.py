"""What a study costs as it grows: to join it, in statements of a database, and with many workers.

    python benchmarks/scale.py join 20000 [journal] [sqlite] [--sampler bayes] [--rounds 1]

`join` makes a study of so many trials of the default space, of eight epochs each, and joins it as a worker does, in a
process of its own: it reads the trials, learns from them, and proposes one more. Seconds are of the processor, as other
work on the machine changes the others.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, print_table
from optuna.distributions import distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from overhead import settings_of

from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace
from nas_budget.search.samplers.factory import make_candidate_sampler
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import open_study
from nas_budget.search.storage.tables import figures_of
from nas_budget.search.workers.part import SearchPart
from nas_budget.train.engine.process import child_environment

EPOCHS, RUNGS = 8, (3, 5)
N_POINTS = 200
"""Trials that have coordinates of their own; the others repeat them, as these are slow to compute and any will do."""
STORAGES = ("journal", "sqlite")


def made_trials(settings: StudyConfig, n: int) -> Iterator[FrozenTrial]:
    """Trials as a search leaves them: different networks, seven of ten complete and the others pruned."""
    space, rng = CandidateSpace(settings.networks(), settings.recipes), np.random.default_rng(0)
    sampler, chance = make_candidate_sampler("random", space, 0), random.Random(0)
    points, seen = list[dict[str, Any]](), set[Candidate]()
    while len(seen) < n:
        rows = space.random(min(2_000, 2 * n), rng)
        for i in range(len(rows["pool"])):
            candidate = space.candidate(rows, i)
            if len(seen) == n or candidate in seen:
                continue
            seen.add(candidate)
            if len(points) < N_POINTS:
                points.append(sampler.coordinates(candidate))
            yield _made(settings, candidate, points[len(seen) % len(points)], sampler.distributions, chance)


def _made(
    settings: StudyConfig, candidate: Candidate, point: dict[str, Any], distributions: Any, chance: random.Random
) -> FrozenTrial:
    is_complete = chance.random() < 0.7
    last, best = EPOCHS if is_complete else chance.choice(RUNGS), chance.uniform(0.5, 0.9)
    curve = {epoch: best * epoch / (epoch + 1) for epoch in range(1, last + 1)}
    losses = {f"train_loss_{epoch}": 1 / epoch + 1 - best for epoch in RUNGS if epoch <= last}
    known = figures_of(candidate.spec, settings.budget) | {"proxy": settings.proxy} | candidate.to_dict()
    about = {"versions": "0", "worker": "0-0", "host": "one", "device": "a CPU", "worker_index": 0, "latency_s": 0.001}
    ended = {"seconds": 10.0, "train_losses": [1 / epoch for epoch in curve]} | ({} if is_complete else {"reason": "x"})
    trial = create_trial(
        state=TrialState.COMPLETE if is_complete else TrialState.PRUNED, value=curve[last], params=point,
        distributions=distributions, user_attrs=known | about | losses | ended, intermediate_values=curve,
    )  # fmt: skip
    trial.datetime_start = trial.datetime_complete = datetime.now(UTC)
    return trial


class Lines(BaseJournalBackend):
    """The records of a journal in memory, to be written at once."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The records from this one on."""
        yield from self.records[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records."""
        self.records += json.loads(json.dumps(logs))


def fill_journal(folder: Path, settings: StudyConfig, trials: Iterator[FrozenTrial]) -> None:
    """Write the trials as a search does: one record makes a trial, and one more for whatever becomes known later."""
    open_study(settings, folder, "0")
    path = folder / "study.journal"
    lines = Lines([json.loads(line) for line in path.read_text().splitlines()])
    storage = JournalStorage(lines)
    for trial in trials:
        begun = create_trial(
            state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions,
            user_attrs={name: each for name, each in trial.user_attrs.items() if not _is_later(name)},
        )  # fmt: skip
        begun.datetime_start = trial.datetime_start
        number = storage.create_new_trial(0, begun)
        for name in filter(_is_later, trial.user_attrs):
            storage.set_trial_user_attr(number, name, trial.user_attrs[name])
        for epoch, accuracy in trial.intermediate_values.items():
            storage.set_trial_intermediate_value(number, epoch, accuracy)
        storage.set_trial_state_values(number, trial.state, [trial.value or 0.0])
    path.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in lines.records))


def _is_later(name: str) -> bool:
    return name in ("latency_s", "seconds", "train_losses", "reason") or name.startswith("train_loss_")


def fill_sqlite(folder: Path, settings: StudyConfig, trials: Iterator[FrozenTrial]) -> None:
    """Write the rows that Optuna would write, many at once."""
    open_study(settings, folder, "0")
    put = {
        "trials": "(number, study_id, state, datetime_start, datetime_complete) values (?, 1, ?, ?, ?)",
        "trial_values": "(trial_id, objective, value, value_type) values (?, 0, ?, 'FINITE')",
        "trial_params": "(trial_id, param_name, param_value, distribution_json) values (?, ?, ?, ?)",
        "trial_user_attributes": "(trial_id, key, value_json) values (?, ?, ?)",
        "trial_intermediate_values":
            "(trial_id, step, intermediate_value, intermediate_value_type) values (?, ?, ?, 'FINITE')",
    }  # fmt: skip
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in put}
    now = str(datetime.now(UTC).replace(tzinfo=None))
    for number, trial in enumerate(trials):
        rows["trials"].append((number, trial.state.name, now, now))
        rows["trial_values"].append((number + 1, trial.value))
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            rows["trial_params"].append((number + 1, name, kind.to_internal_repr(value), distribution_to_json(kind)))
        rows["trial_user_attributes"] += [(number + 1, k, json.dumps(v)) for k, v in trial.user_attrs.items()]
        rows["trial_intermediate_values"] += [(number + 1, *each) for each in trial.intermediate_values.items()]
    with sqlite3.connect(folder / "trials.db") as connection:
        for table, columns in put.items():
            connection.executemany(f"insert into {table} {columns}", rows[table])


FILL: dict[str, Callable[[Path, StudyConfig, Iterator[FrozenTrial]], None]] = {
    "journal": fill_journal, "sqlite": fill_sqlite
}  # fmt: skip


def join(folder: Path, settings: StudyConfig) -> tuple[int, list[float]]:
    """How many trials a study has, and what each step of joining it takes in processor seconds; then gigabytes."""
    quiet_optuna()
    times = [time.process_time()]
    part = SearchPart(settings, folder, None, level=0)
    scheduler = part.scheduler({"device": "none", "worker_index": 0})
    n_trials = scheduler.store.n_trials
    times.append(time.process_time())
    scheduler.look()
    times.append(time.process_time())
    scheduler.suggest()
    times.append(time.process_time())
    scheduler.store.release()
    spent = [after - before for before, after in pairwise(times)]
    return n_trials, [*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]


def measure_join(n: int, storages: tuple[str, ...], sampler: str, rounds: int) -> None:
    """Print what it takes to join studies of so many trials."""
    quiet_optuna()
    print(f"Joining a study of {n:,} trials of {EPOCHS} epochs, sampler {sampler}, best of {rounds}. {MACHINE}")
    rows = []
    for storage in storages:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            settings = _settings(n + 1, sampler, "journal" if storage == "journal" else f"sqlite:///{place}/trials.db")
            FILL[storage](folder, settings, made_trials(settings, n))
            found = [_apart(join, folder, settings) for _ in range(rounds)]
        if any(known < n for known, _ in found):
            raise SystemExit(f"{storage}: the study does not hold {n} trials")
        read, learn, ask, memory = map(min, zip(*(each for _, each in found), strict=True))
        shown = (f"{read:.2f}", f"{learn:.2f}", f"{ask:.2f}", f"{read + learn:.2f}", f"{1e3 * (read + learn) / n:.2f}")
        rows.append((storage, *shown, f"{memory:.2f}"))
    print_table(("", "read s", "learn s", "first proposal s", "read and learn s", "ms a trial", "GB at most"), rows)


def _settings(n_trials: int, sampler: str, storage: str) -> StudyConfig:
    given = {"search.storage": storage, "recipe.epochs": EPOCHS, "search.pruner": "front"}
    return settings_of(n_trials, sampler, given)


def _apart(work: Callable[..., Any], *given: Any) -> Any:
    """What a function gives in a new process."""
    with child_environment(), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


MACHINE = machine("optuna", "sqlalchemy", "numpy")


def main() -> int:
    """Measure what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    joining = kinds.add_parser("join")
    joining.add_argument("n", type=int)
    joining.add_argument("storage", nargs="*", default=STORAGES)
    joining.add_argument("--sampler", default="bayes")
    joining.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    measure_join(given.n, tuple(given.storage), given.sampler, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
