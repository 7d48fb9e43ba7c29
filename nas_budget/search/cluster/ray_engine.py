"""`RayWorkers`: the workers of a search as actors of Ray, on one machine or on a cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event as Flag
from threading import Thread, current_thread, main_thread
from typing import Any, cast

from nas_budget.errors import DataError, NasBudgetError, StoppedError, StudyError, UsageError
from nas_budget.search.cluster.coordinator import Calls, Coordinator, RemoteScheduler
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.storage.optuna_adapter import clear_errors, quiet_optuna
from nas_budget.search.storage.tables import versions
from nas_budget.search.workers.events import Event, WorkerLost
from nas_budget.search.workers.part import SearchPart

HEAD = {"node:__internal_head__": 0.001}
"""What Ray calls the machine that holds the study: the coordinator runs there and nowhere else."""
LOOK_S = 0.2
BEAT_S = 1.0
PATIENCE_S = 30.0
"""How long workers may take to stop, and to find a place in the cluster before that is said."""
ANSWER_S = 10.0
"""How long a cluster may take to answer at its address."""
MEASURED_WORKERS = 256
"""So many workers of one coordinator trained 97 % of their time with trials of thirty seconds."""
MOST_REPLACED = 5
"""How often another takes the place of a worker that is gone."""


class CoordinatorActor:
    """A `Coordinator` in a process of its own, with the events of all workers. Ray starts it again where it is lost."""

    def __init__(self, part: SearchPart) -> None:
        quiet_optuna()
        self.storage, self.told, self.called = part.settings.storage, list[Event](), dict[str, float]()
        self.stopping = False
        with clear_errors(self.storage):
            scheduler = part.scheduler({"worker_index": 0})
        self.coordinator = Coordinator(scheduler)

    def ask(self, method: str, *arguments: Any) -> Any:
        """The answer to a call of a worker."""
        with clear_errors(self.storage):
            return getattr(self.coordinator, method)(*arguments)

    def tell(self, event: Event) -> None:
        """Keep an event for whoever follows the search."""
        self.told.append(event)

    def beat(self, worker: str) -> bool:
        """A worker lives; whether it is to stop."""
        self.called[worker] = time.monotonic()
        return self.stopping

    def look(self, *, stop: bool) -> tuple[list[Event], set[str]]:
        """The events since the last look, and the workers that have called; from now on workers stop if `stop`."""
        events, self.told, self.stopping = self.told, [], stop
        return events, {*self.called}


class WorkerActor:
    """Trains what the coordinator gives it, on the GPU or the processors that Ray has set aside for it."""

    def __init__(
        self, name: str, index: int, settings: StudyConfig, made_with: str, data_dir: str | None, usual: str,
        coordinator: Any,
    ) -> None:  # fmt: skip
        self.name, self.index, self.settings, self.made_with = name, index, settings, made_with
        self.data_dir = data_dir or os.environ.get("NAS_BUDGET_DATA", usual)
        self.coordinator = coordinator

    def run(self) -> None:
        """Train until no trial is left or the search is stopped.

        Raises:
            StudyError: This machine has other versions than the search.
            DataError: The images of this machine are not those of the study.
        """
        import ray

        # It has its place in the cluster now; to load torch may take half a minute on a busy machine.
        stop = Flag()
        ray.get(self.coordinator.beat.remote(self.name))
        Thread(target=self._beat, args=(stop,), daemon=True).start()
        import torch

        from nas_budget.search.workers.search_runner import torch_trainer
        from nas_budget.search.workers.trial_runner import run_trials
        from nas_budget.train.data.open import open_recorded
        from nas_budget.train.data.split import split_images
        from nas_budget.train.engine.device import choose_device
        from nas_budget.train.engine.process import keep_freed_memory

        if self.made_with not in ("", found := versions()):  # with torch loaded, which names its build
            raise StudyError(
                f"{socket.gethostname()}: has {found}, and the search {self.made_with}; install those, or add "
                "--any-version"
            )
        keep_freed_memory()
        quiet_optuna()
        settings = self.settings
        device = choose_device(settings.device)
        if device.type == "cpu":
            torch.set_num_threads(settings.threads)
        try:
            data = open_recorded(settings.data_name, settings.data_place, self.data_dir, lambda _: None)
        except DataError as error:
            raise DataError(f"{socket.gethostname()}: {error}") from None
        if data.digest != settings.data_digest:
            raise DataError(f"{socket.gethostname()}: the images of {settings.data_name} are not those of the study")
        images = split_images(data, device, settings.n_train, settings.n_validation)
        trainer = torch_trainer(settings, images, stop.is_set)
        about = {"device": trainer.device, "versions": versions(), "worker_index": self.index}
        scheduler = RemoteScheduler(
            cast(Calls, RayCalls(self.coordinator)), self.name, about | {"host": socket.gethostname()}
        )
        with suppress(StoppedError):
            for event in run_trials(scheduler, trainer):
                self.coordinator.tell.remote(event)

    def _beat(self, stop: Flag) -> None:
        import ray

        while not stop.wait(BEAT_S):
            with suppress(ray.exceptions.RayError):  # a coordinator that is started again answers later
                if ray.get(self.coordinator.beat.remote(self.name)):
                    stop.set()


class RayCalls:
    """`Calls` to a coordinator by Ray, which makes a call again where the coordinator was started again."""

    def __init__(self, coordinator: Any) -> None:
        self.coordinator = coordinator

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """What asks the coordinator this."""
        return lambda *arguments: answer(self.coordinator.ask.remote(method, *arguments))


def answer(ref: Any) -> Any:
    """What a call to an actor gives.

    Raises:
        NasBudgetError: What the actor raised.
        StudyError: The actor is gone.
    """
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NasBudgetError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError:
        raise StudyError("the coordinator of the search is gone; run the same command again") from None


class RayWorkers:
    """The workers of a search as actors of Ray. One coordinator on the head node owns the study.

    Args:
        n_workers: Trainings at once, over all machines; None for as many as the cluster has room for.
        should_stop: Asked several times a second.
        address: Of a cluster that runs, such as "auto"; None for this machine alone.
        gpus: Share of a GPU for each worker; None for 1 where the cluster has GPUs.
        cpus: Processors for each worker.
        data_dir: Folder of the data sets on every machine; None for what `NAS_BUDGET_DATA` says there, and else for the
            folder that it is here.
        on_message: Gets a line for a person.
        any_version: Whether machines with other versions than this one may train.
    """

    def __init__(
        self, n_workers: int | None = None, should_stop: Callable[[], bool] = lambda: False, address: str | None = None,
        gpus: float | None = None, cpus: float = 1.0, data_dir: str | None = None,
        on_message: Callable[[str], None] = lambda _: None, any_version: bool = False,
    ) -> None:  # fmt: skip
        self.n_workers, self.should_stop, self.address = n_workers, should_stop, address
        self.gpus, self.cpus = gpus, cpus
        self.data_dir, self.on_message = data_dir, on_message
        self.made_with = "" if any_version else versions()

    def events(self, part: SearchPart) -> Iterator[Event]:
        """What happens in any of the workers.

        Raises:
            StoppedError: `should_stop` said so, and the workers have stopped between two steps.
            UsageError: No cluster answers at the address.
            StudyError: Workers were lost again and again.
            NasBudgetError: What a worker raised; the others are stopped first.
        """
        with _connected(self.address) as ray:
            actor = ray.remote(CoordinatorActor)
            coordinator = actor.options(resources=HEAD, num_cpus=0, max_restarts=-1, max_task_retries=-1).remote(part)
            answer(coordinator.look.remote(stop=False))
            yield from _Round(self, ray, coordinator, part).events()

    def options(self, ray: Any) -> dict[str, float]:
        """What Ray sets aside for each worker."""
        gpus = float("GPU" in ray.cluster_resources()) if self.gpus is None else self.gpus
        return {"num_gpus": gpus, "num_cpus": self.cpus}

    def n_places(self, ray: Any) -> int:
        """How many workers the cluster has room for now, at least one.

        Raises:
            UsageError: This machine alone has no room for one, and no other can join it.
        """
        there, wanted = ray.cluster_resources(), self.options(ray)
        shares = dict(zip(("GPU", "CPU"), wanted.values(), strict=True))
        for kind, share in shares.items():
            if self.address is None and share > there.get(kind, 0.0):
                raise UsageError(
                    f"--{kind.lower()}s-per-worker {share:g}: this machine has {there.get(kind, 0.0):g}; ask for less, "
                    "or give --ray-address of a cluster that has more"
                )
        places = [there.get(kind, 0.0) / share for kind, share in shares.items() if share]
        return max(1, int(min(places, default=1)))


class _Round:
    """The workers of one part of a search, from the first trial to the last."""

    def __init__(self, about: RayWorkers, ray: Any, coordinator: Any, part: SearchPart) -> None:
        self.about, self.ray, self.coordinator, self.part = about, ray, coordinator, part
        self.actor = ray.remote(WorkerActor).options(**about.options(ray))
        n_places = about.n_places(ray)
        self.n_workers = about.n_workers or n_places
        self.running: dict[Any, tuple[str, int, Any]] = {}
        self.n_replaced = 0
        self.successors: set[str] = set()
        self.failure: NasBudgetError | None = None

    def events(self) -> Iterator[Event]:
        if self.n_workers > MEASURED_WORKERS and self.part.level == 0:
            self.about.on_message(
                f"NOTE: {self.n_workers} workers ask one coordinator; measured are {MEASURED_WORKERS}, which trained "
                "97% of their time with trials of thirty seconds"
            )
        for index in range(self.n_workers):
            self._start(index)
        began, said, called = time.monotonic(), False, set[str]()
        try:
            while self.running:
                stopping = self.failure is not None or self.about.should_stop()
                done, _ = self.ray.wait([*self.running], num_returns=len(self.running), timeout=LOOK_S)
                told, called = answer(self.coordinator.look.remote(stop=stopping))
                yield from told
                for ref in done:
                    yield from self._ended(ref, stopping)
                if stopping and self.failure is None:
                    self.failure = StoppedError("stopped between two steps")
                names = {name for name, *_ in self.running.values()}
                placed = names & called
                if not (placed or names & self.successors) and (called or stopping):
                    break  # all that have found a place are done: those that wait for one are not needed
                if not said and time.monotonic() - began > PATIENCE_S and len(placed) < len(self.running):
                    said = True
                    self.about.on_message(
                        f"{len(placed)} of {len(self.running)} workers have started; the others are slow to, or wait "
                        "for a place in the cluster"
                    )
            told, _ = answer(self.coordinator.look.remote(stop=True))
            yield from told
        finally:
            for *_, worker in self.running.values():
                self.ray.kill(worker)
            self.ray.kill(self.coordinator)
        if self.failure:
            raise self.failure

    def _start(self, index: int) -> str:
        name = f"{index}-{uuid.uuid4().hex[:8]}"
        from nas_budget.train.data.open import data_folder  # loads torch, which the coordinator does without

        folders = self.about.data_dir, str(data_folder().absolute())
        worker = self.actor.remote(name, index, self.part.settings, self.about.made_with, *folders, self.coordinator)
        self.running[worker.run.remote()] = name, index, worker
        return name

    def _ended(self, ref: Any, stopping: bool) -> Iterator[Event]:
        """Take in how a worker ended; another takes the place of one that is gone."""
        name, index, _ = self.running.pop(ref)
        try:
            self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, NasBudgetError):
                raise
            self.failure = self.failure or error.cause
        except self.ray.exceptions.RayError as error:
            answer(self.coordinator.ask.remote("release", name))
            yield WorkerLost(index, 1)
            self.n_replaced += 1
            if not stopping and self.n_replaced > MOST_REPLACED * self.n_workers:
                self.failure = StudyError(
                    f"{self.n_replaced} workers were lost, the last one so: {_cause(error)}; nothing finished is lost"
                )
            elif not stopping:
                self.successors.add(self._start(index))  # for the trial that was under way, though it be the last


def _cause(error: Exception) -> str:
    """What Ray says of a worker that is gone, in a sentence: its last line, without the advice behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].partition(". ")[0]


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster or started here. What was started ends with it.

    Raises:
        UsageError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray: Ray is not installed; pip install 'nas-budget[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    try:
        _check_answers(address)
        with _signals_kept():
            ray.init(
                address="local" if address is None else address,  # or Ray joins any cluster that runs on this machine
                include_dashboard=False if address is None else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except (OSError, ValueError, RuntimeError) as error:
        why = (str(error).splitlines() or [""])[0]
        raise UsageError(
            f"--ray-address {address}: no Ray cluster answers ({why}); start one with ray start --head"
        ) from None
    try:
        yield ray
    finally:
        with _signals_kept():
            ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Leave signals to whoever had them: Ray takes SIGTERM, at which it would abort with a trace."""
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_answers(address: str | None) -> None:
    """Raise an `OSError` where nobody listens at an address of host and port: Ray would try for many minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), ANSWER_S).close()
