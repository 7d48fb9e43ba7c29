"""A search whose processes are killed all the time, and what must hold of it in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import optuna
import psutil
from optuna.storages import RDBStorage

from nas_budget.records.paths import JOURNAL, TRIAL_EPOCHS
from nas_budget.records.trials import read_trials
from nas_budget.search.storage.journal import journal_storage

NAME = "storm"
SEARCH = (
    "search", "--data", "shapes", "--images", "1000", "--budget", "30k", "--epochs", "4", "--workers", "2",
    "--pruner", "none", "--proxy", "none", "--sampler", "random", "--seed", "0", "--name", NAME,
)  # fmt: skip
PARENTS = 0.25
"""Share of the kills that strike the parent, which ends the whole search until it is started again."""
PATIENCE_S = 600.0
"""Without an epoch for so long the search hangs."""


@dataclass(frozen=True)
class Database:
    """Where the study lies, if not in a journal.

    Attributes:
        url: Its address.
        restart: Ends the server and starts it again; called once, when half of the trials have begun.
    """

    url: str
    restart: Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """What a storm came to.

    Attributes:
        kills: Processes killed, parents among them.
        parents: How many of these were parents.
        repeated: Epochs trained again, by the seconds that they took and what an epoch takes.
        given_up: Trials that lost two workers in one epoch, and failed for that; others took their places.
        problems: What should not be, one line each.
        restarts: How often the database was started again.
    """

    kills: int
    parents: int
    seconds: float
    repeated: float
    given_up: int
    problems: tuple[str, ...]
    restarts: int = 0

    def __str__(self) -> str:
        """In a sentence."""
        return (
            f"{self.kills} kills, {self.parents} of them of the parent, in {self.seconds:.0f} s; "
            f"{self.repeated:.1f} epochs trained again; {self.given_up} trials given up; "
            f"{self.restarts} restarts of the database; {len(self.problems)} problems"
        )


def storm(
    runs: Path,
    n_trials: int,
    every_s: float,
    seed: int = 0,
    options: Sequence[str] = (),
    database: Database | None = None,
) -> Outcome:
    """Search, and kill one of its processes some seconds after each sign of progress, until it ends by itself."""
    random, began = Random(seed), time.monotonic()
    where = ["--trials", str(n_trials), "--runs-dir", str(runs)]
    command = [sys.executable, "-m", "nas_budget", *SEARCH, *where, *options]
    env = {**os.environ, **({"NAS_BUDGET_STORAGE": database.url} if database else {})}
    restarts = 0
    kills = parents = 0
    while True:
        with (runs / "storm.err").open("ab") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, env=env)
        while process.poll() is None:
            if not _comes_further(runs / NAME, process):
                break
            if database and not restarts and _n_begun(runs / NAME) >= n_trials / 2:
                restarts += 1
                database.restart()
            time.sleep(random.uniform(0, 2 * every_s))
            victims = _workers(process)
            if process.poll() is not None or not victims:
                continue
            kills += 1
            if random.random() < PARENTS:
                parents += 1
                process.send_signal(signal.SIGKILL)
                process.wait()
            else:
                random.choice(victims).kill()
        if process.returncode != -signal.SIGKILL:
            break
    process.kill()
    repeated, given_up, problems = _judge(
        runs / NAME, n_trials, process.wait(), (runs / "storm.err").read_text(errors="replace"), database
    )
    return Outcome(kills, parents, time.monotonic() - began, repeated, given_up, problems, restarts)


def _n_begun(folder: Path) -> int:
    return len([*folder.glob(f"trials/*/{TRIAL_EPOCHS}")])


def _n_epochs(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"trials/*/{TRIAL_EPOCHS}"))


def _comes_further(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Wait for another epoch; whether there was one, or the search ended."""
    before, deadline = _n_epochs(folder), time.monotonic() + PATIENCE_S
    while process.poll() is None and _n_epochs(folder) == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that train."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def _judge(
    folder: Path, n_trials: int, exit_code: int, said: str, database: Database | None
) -> tuple[float, int, tuple[str, ...]]:
    """Epochs trained again, trials given up, and what should not be."""
    last = said.rstrip().rpartition("\n")[2]
    problems = [] if exit_code == 0 else [f"it ended with exit code {exit_code}: {last}"]
    problems += ["a traceback"] if "Traceback" in said else []
    rows = read_trials(folder)
    complete = [row for row in rows if row.state == "complete"]
    given_up = [row for row in rows if row.reason.startswith("its worker was lost 2 times")]
    if [row.number for row in rows] != [*range(len(rows))] or len(complete) != n_trials:
        problems.append(f"{len(complete)} of {n_trials} trials complete, numbers {[row.number for row in rows]}")
    others = [row for row in rows if row not in complete and row not in given_up]
    problems += [f"trial {row.number} is {row.state}: {row.reason}" for row in others]
    if len({row.spec for row in rows}) != len(rows):
        problems.append("a network was trained twice")
    repeated = 0.0
    for row in complete:
        if row.epochs != row.max_epochs or len(row.curve.split()) != row.epochs:
            problems.append(f"trial {row.number} has {len(row.curve.split())} of {row.max_epochs} epochs")
    for row in rows:
        repeated += row.repeated_seconds / max(row.seconds / max(row.epochs, 1), 1e-9)
    storage = RDBStorage(database.url) if database else journal_storage(folder / JOURNAL)
    study = optuna.load_study(study_name=NAME, storage=storage)
    problems += [f"trial {t.number} is {t.state.name}" for t in study.get_trials() if not t.state.is_finished()]
    return repeated, len(given_up), tuple(problems)
