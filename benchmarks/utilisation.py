"""How much of their time workers train, as they become many: ours against plain Optuna, trainings replaced by sleep.

    python benchmarks/utilisation.py ray journal postgres optuna-journal optuna-postgres --workers 1,4,16,64

A trial sleeps for about `--trial` seconds, in eight epochs that it reports. Networks differ in size, and trials in
their time, by up to `--spread`; with 0 workers that began together ask together, and wait for each other. Workers are
threads of a few processes, so that many fit on one machine; proposals, judgements and what is written are the real
ones. Once every worker has begun, they are watched for `--window` seconds: utilisation is the part of it in which
they slept. On a cluster every worker has a processor to propose on, here all share this machine's. The ways:

    ray              search --engine ray: one coordinator proposes for all, on a journal; as many Ray nodes as processes
    journal          search --workers N: each worker proposes for itself, on a journal
    postgres         worker: the same on PostgreSQL
    optuna-journal   ask and tell of Optuna's own sampler (TPE) with as many coordinates, on Optuna's journal
    optuna-postgres  the same on PostgreSQL
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, cast

import optuna
from harness import machine, print_table
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from overhead import settings_of

sys.path.insert(0, str(Path(__file__).parents[1]))

from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StoppedError
from nas_budget.records.trials import EpochResult
from nas_budget.search.cluster.coordinator import Calls, RemoteScheduler
from nas_budget.search.cluster.ray_engine import HEAD, CoordinatorActor, RayCalls
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.sampler import distribution
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import open_study
from nas_budget.search.storage.tables import versions
from nas_budget.search.workers.part import SearchPart
from nas_budget.search.workers.scheduler import Assignment, NoMoreTrials, Scheduler
from nas_budget.search.workers.trainer import CandidateTraining, Kept
from nas_budget.search.workers.trial_runner import run_trials
from nas_budget.train.engine.process import child_environment

EPOCHS = 8
CREWS = 2
"""Processes whose threads are the workers: as many as this machine has cores."""
MOST_TRIALS = 1_000_000
WAYS = ("ray", "journal", "postgres", "optuna-journal", "optuna-postgres")


@dataclass
class Log:
    """What a worker did, by the machine's clock.

    Attributes:
        slept: When each epoch began and ended.
        asked: Seconds of each proposal.
        tried: The networks.
        pace: How long the present trial takes, as a multiple of most.
    """

    slept: list[tuple[float, float]] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    pace: float = 1.0


class Crew:
    """The workers of one process, as threads, until the file `stop` is there."""

    def __init__(self, stop: Path, epoch_s: float, spread: float) -> None:
        self.stop, self.epoch_s, self.spread, self.random = stop, epoch_s, spread, Random(0)

    def begin(self, log: Log, tried: str) -> None:
        """Begin a trial."""
        log.tried.append(tried)
        log.pace = 1 + self.random.uniform(-self.spread, self.spread)

    def work(self, n: int, job: Callable[[Crew, int, Log], None]) -> list[Log]:
        """Do the job with each index up to `n`; what the workers did."""
        quiet_optuna()
        logs = [Log() for _ in range(n)]
        with ThreadPoolExecutor(n) as pool:
            for done in [pool.submit(self._one, job, index, log) for index, log in enumerate(logs)]:
                done.result()
        return logs

    def _one(self, job: Callable[[Crew, int, Log], None], index: int, log: Log) -> None:
        try:
            job(self, index, log)
        except StoppedError:
            return

    def sleep(self, log: Log) -> None:
        """Train an epoch."""
        if self.stop.exists():
            raise StoppedError("the window is over")
        if not log.slept:
            (self.stop.parent / f"began-{os.getpid()}-{id(log)}").touch()
        start = time.monotonic()
        time.sleep(self.epoch_s * log.pace)
        log.slept.append((start, time.monotonic()))


class Sleeper:
    """A trainer of networks that sleeps."""

    device = precision = "none"

    def __init__(self, crew: Crew, log: Log) -> None:
        self.crew, self.log = crew, log

    def latency_s(self, spec: ResNetSpec) -> None:
        """Nothing runs that could be timed."""

    def train(self, candidate: Candidate, seeds: Sequence[int], kept: Kept | None = None) -> CandidateTraining:
        """Epochs of nothing, with an accuracy that follows the widths."""
        del seeds, kept
        best = min(0.99, sum(candidate.spec.channels) / 4_000)
        self.crew.begin(self.log, str(candidate))
        return CandidateTraining(self._epochs(best))

    def _epochs(self, best: float) -> Iterator[EpochResult]:
        for epoch in range(1, EPOCHS + 1):
            self.crew.sleep(self.log)
            yield EpochResult(epoch, 1 + 1 / epoch - best, best * epoch / (epoch + 1), 1.0, 0.0, self.crew.epoch_s)

    def release(self) -> None:
        """Nothing is held."""


class Timed:
    """A scheduler whose proposals are timed."""

    def __init__(self, scheduler: Scheduler, log: Log) -> None:
        self.scheduler, self.log = scheduler, log

    def suggest(self) -> Assignment | NoMoreTrials:
        """What the scheduler suggests."""
        start = time.monotonic()
        found = self.scheduler.suggest()
        self.log.asked.append(time.monotonic() - start)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scheduler, name)


def train_all(scheduler: Scheduler, crew: Crew, log: Log) -> None:
    """Train what a scheduler suggests until the window is over."""
    for _ in run_trials(cast(Scheduler, Timed(scheduler, log)), Sleeper(crew, log)):
        pass


@dataclass(frozen=True)
class ByThemselves:
    """Each worker has a scheduler of its own, on one storage."""

    part: SearchPart
    first: int = 0

    def __call__(self, crew: Crew, index: int, log: Log) -> None:
        """Be the worker of this index."""
        scheduler = self.part.scheduler({"worker_index": self.first + index, "device": "none"}, crew.stop.exists)
        train_all(scheduler, crew, log)


@dataclass(frozen=True)
class ByCoordinator:
    """The workers ask a coordinator."""

    coordinator: Any
    first: int = 0

    def __call__(self, crew: Crew, index: int, log: Log) -> None:
        """Be the worker of this index."""
        number = self.first + index
        about = {"device": "none", "versions": versions(), "worker_index": number, "host": "one"}
        train_all(RemoteScheduler(cast(Calls, RayCalls(self.coordinator)), f"worker-{number}", about), crew, log)


@dataclass(frozen=True)
class ByOptuna:
    """Workers as Optuna's manual has them: each asks and tells on a study in one storage."""

    settings: StudyConfig
    storage: str
    first: int = 0

    def __call__(self, crew: Crew, index: int, log: Log) -> None:
        """Be a worker."""
        sampler = optuna.samplers.TPESampler(seed=self.first + index)
        study = optuna.load_study(study_name="plain", storage=plain_storage(self.storage), sampler=sampler)
        kinds = {each.name: distribution(each) for each in self.settings.space.dimensions()}
        while True:
            start = time.monotonic()
            trial = study.ask(kinds)
            log.asked.append(time.monotonic() - start)
            crew.begin(log, str(trial.params))
            for epoch in range(1, EPOCHS + 1):
                crew.sleep(log)
                trial.report(epoch / (epoch + 1), epoch)
            study.tell(trial, sum(value for value in trial.params.values() if isinstance(value, float)))


def plain_storage(place: str) -> BaseStorage:
    """Optuna's storage in a database or in a file."""
    return RDBStorage(place) if "://" in place else JournalStorage(JournalFileBackend(place))


def crew_of(crew: Crew, n: int, job: Callable[[Crew, int, Log], None]) -> list[Log]:
    """What the workers of a process did; called in that process."""
    return crew.work(n, job)


@contextmanager
def ray_crews(part: SearchPart, n_crews: int) -> Iterator[tuple[Any, Any]]:
    """A cluster of so many nodes beside its head: the coordinator, and what starts a crew on a node of its own."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(n_crews):
        cluster.add_node(num_cpus=1, resources={"crew": 1})
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": dict(child_variables())})
    try:
        actor = ray.remote(CoordinatorActor)
        coordinator = actor.options(resources=HEAD, num_cpus=0, max_restarts=-1, max_task_retries=-1).remote(part)
        ray.get(coordinator.look.remote(stop=False))
        yield coordinator, ray.remote(crew_of).options(resources={"crew": 1})
    finally:
        ray.shutdown()
        cluster.shutdown()


def child_variables() -> dict[str, str]:
    """What the processes of Ray need to find this file and the package."""
    here = Path(__file__).parent
    return {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])}


def measure(way: str, n: int, given: argparse.Namespace, database: Any) -> tuple[str, ...]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder, stop = Path(place), Path(place) / "stop"
        url = database.url(f"{way}-{n}") if database else ""
        changes = {"search.storage": url or "journal", "recipe.epochs": EPOCHS}
        settings = settings_of(MOST_TRIALS, given.sampler, changes)
        work = Crew(stop, given.trial / EPOCHS, given.spread)
        shares = [n // CREWS + (i < n % CREWS) for i in range(min(n, CREWS))]
        firsts = [sum(shares[:i]) for i in range(len(shares))]
        watched: list[float] = []
        watch = Thread(target=lambda: watched.append(window(folder, stop, n, given.window)))
        watch.start()
        part = SearchPart(settings, folder, None, level=0)
        quiet_optuna()
        if way == "ray":
            open_study(settings, folder, versions())
            with ray_crews(part, len(shares)) as (coordinator, crew):
                import ray

                jobs = [ByCoordinator(coordinator, first) for first in firsts]
                started = [crew.remote(work, share, job) for share, job in zip(shares, jobs, strict=True)]
                logs = sum(ray.get(started), list[Log]())
        else:
            if way.startswith("optuna"):
                where = url or str(folder / "plain.journal")
                optuna.create_study(study_name="plain", storage=plain_storage(where), direction="maximize")
                job: Any = ByOptuna(settings, where)
            else:
                open_study(settings, folder, versions())
                job = ByThemselves(part)
            with child_environment(), ProcessPoolExecutor(len(shares), get_context("spawn")) as pool:
                found = [
                    pool.submit(crew_of, work, share, replace(job, first=first))
                    for share, first in zip(shares, firsts, strict=True)
                ]
                logs = sum((each.result() for each in found), list[Log]())
        watch.join()
        return row(way, n, logs, watched[0], given.window)


def window(folder: Path, stop: Path, n: int, window_s: float) -> float:
    """Wait until all have begun, let them work, and stop them; when the window began."""
    while len([*folder.glob("began-*")]) < n:
        time.sleep(0.1)
    began = time.monotonic()
    time.sleep(window_s)
    stop.touch()
    return began


def row(way: str, n: int, logs: Sequence[Log], began: float, window_s: float) -> tuple[str, ...]:
    """What the workers came to."""
    end = began + window_s
    slept = sum(max(0.0, min(b, end) - max(a, began)) for log in logs for a, b in log.slept)
    asked = sorted(1e3 * seconds for log in logs for seconds in log.asked)
    tried = [network for log in logs for network in log.tried]
    return (
        way, str(n), f"{100 * slept / (n * window_s):.1f}", f"{statistics.median(asked):.0f}",
        f"{asked[int(0.95 * (len(asked) - 1))]:.0f}", f"{len(tried)}", f"{len(tried) - len({*tried})}",
    )  # fmt: skip


def main() -> int:
    """Measure what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", nargs="*", default=WAYS, help=", ".join(WAYS))
    parser.add_argument("--workers", default="1,4,16,64", help="how many, such as 1,4,16")
    parser.add_argument("--trial", type=float, default=10.0, help="seconds of a trial")
    parser.add_argument("--spread", type=float, default=0.25, help="share by which it is longer or shorter at most")
    parser.add_argument("--window", type=float, default=30.0, help="seconds in which workers are watched")
    parser.add_argument("--sampler", default="bayes", help="of ours")
    given = parser.parse_args()
    rows = []
    for n in map(int, given.workers.split(",")):
        for way in given.way:
            with postgres() if way.endswith("postgres") else nullcontext() as database:
                rows.append(measure(way, n, given, database))
            print(*rows[-1], file=sys.stderr, flush=True)
    about = f"Trials of {given.trial:g} s, {given.spread:.0%} more or less, watched for {given.window:g} s."
    print(about, machine("optuna", "sqlalchemy", "ray"))
    print_table(("", "workers", "utilisation %", "proposal ms", "of 20 the slowest", "trials", "twice"), rows)
    return 0


@contextmanager
def postgres() -> Iterator[Any]:
    """A PostgreSQL of its own."""
    from tests.postgres import PASSWORD, running

    os.environ["PGPASSWORD"] = PASSWORD
    with running() as server:
        yield server


if __name__ == "__main__":
    sys.exit(main())
