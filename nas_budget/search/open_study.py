"""From a study file, or keys given instead of one, to a study ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nas_budget.arch.latency_table import LatencyTable
from nas_budget.arch.spec import AnySpec, ResNetSpec
from nas_budget.errors import DataError, StudyError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import LATENCIES
from nas_budget.search.config.build import recorded_config
from nas_budget.search.config.latency import Timing, given_table, is_measured, measured_table
from nas_budget.search.config.plan import Plan, make_plan
from nas_budget.search.config.resolve import resolve, space_in
from nas_budget.search.config.sections import absolute_place
from nas_budget.search.config.settings import StudyConfig, study_name
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.storage.checkpoint_place import check_place
from nas_budget.search.storage.storage import check_folder, recorded_attributes, recorded_study, strained_by
from nas_budget.search.storage.tables import versions
from nas_budget.search.workers.apart import apart
from nas_budget.search.workers.search_runner import Search, Workers, visible_gpus
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset, open_recorded
from nas_budget.train.data.split import LabelledImages, SplitImages, channel_statistics, split_images
from nas_budget.train.engine.device import (
    choose_device,
    choose_precision,
    describe_device,
    has_gpus,
    inference_precision,
    torch_threads,
    why_unusable,
)
from nas_budget.train.engine.trainer import Graph
from nas_budget.train.optim.recipe import Recipe
from nas_budget.train.profile.layer_timing import network_s
from nas_budget.train.profile.step_memory import room_for_steps
from nas_budget.train.profile.time_model import TimeModel, calibrate
from nas_budget.untrusted import check_name

N_NOISE = 2_048
"""Images that steps are timed on."""


@dataclass(frozen=True)
class Opened:
    """A study ready to start or to resume. Nothing is written yet.

    Attributes:
        settings: Of the study.
        dataset: Where its images come from.
        images: The images on the device; on the CPU where GPUs are dealt out to workers.
        found: Where it trains.
        data_dir: Folder of the data sets.
        folder: Where its files go.
        exists: Whether it was started before.
        latencies: Timed layers, as they were read or measured; None where nothing is limited by them, or the study has
            recorded what follows from them.
        limits_own_latency: Whether the limit on latency is one of the device that trains.
    """

    settings: StudyConfig
    dataset: Dataset
    images: SplitImages
    found: FoundDevice
    data_dir: str | None
    folder: Path
    exists: bool
    latencies: LatencyTable | None = None
    limits_own_latency: bool = False

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.found.device

    @property
    def device_name(self) -> str:
        """Where it trains, in words."""
        return self.found.name if self.is_dealt_out else describe_device(self.device)

    def threads(self) -> AbstractContextManager[None]:
        """Torch uses the study's count of threads within it, where it trains on a CPU; the caller's comes back."""
        return torch_threads(self.settings.threads if self.device.type == "cpu" else None)

    def search(
        self, should_stop: Callable[[], bool] | None = None, workers: Workers | None = None, joins: bool = False
    ) -> Search:
        """The search; its study is created or resumed. `workers` train in place of this machine.

        With `joins` this machine only trains for a search that another command runs.

        Raises:
            UsageError: Checkpoints in a kind of place that is not known.
            StorageError: The storage, or the place of checkpoints, cannot be written.
        """
        if self.settings.checkpoints and not self.exists:
            check_place(self.settings.checkpoints, self.settings.name)
        if self.latencies:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / LATENCIES, self.latencies.to_csv())
        is_cuda = self.device.type == "cuda"
        gpus = visible_gpus(self.settings.device, self.found.unusable) if is_cuda else ()
        return Search(self.settings, self.images, self.folder, should_stop, self.data_dir, gpus, workers, joins)

    @property
    def is_dealt_out(self) -> bool:
        """Whether GPUs are dealt out to worker processes, so that this one keeps no images on any."""
        return self.device.type == "cuda" and self.settings.workers > 1

    def plan(self, n_left: int, n_wider: Sequence[int] = (), n_runs: int = 0) -> Plan:
        """What to expect of the trials, the levels of the ladder and the finalists' runs that the study lacks."""
        settings, measure, room = self.settings, None, None
        if self.is_dealt_out:
            measure = timer(self.dataset, self.device, settings.graph, True)
            room = apart(room_for_steps, self.device, settings.workers)
        return make_plan(settings, self.images, n_left, n_wider, n_runs, measure, room)

    @property
    def latency_threads(self) -> int:
        """Threads with which latency is measured on a CPU: those that were asked for, or one."""
        return 1 if "search.threads" in self.settings.chosen else self.settings.threads

    def latency_s(self, spec: AnySpec) -> float | None:
        """Seconds of one image through a network, where the limit is one of this device; else None."""
        if not self.limits_own_latency or not isinstance(spec, ResNetSpec):
            return None
        measure = partial(apart, network_s) if self.is_dealt_out else network_s
        precision = inference_precision(self.settings.precision, self.device)
        return measure(spec, self.device, precision, self.latency_threads)

    def time_model(self, specs: Sequence[AnySpec], recipe: Recipe) -> TimeModel:
        """The time model of the device, fitted to steps of these networks by another recipe."""
        precision = self.settings.precision
        if self.is_dealt_out:
            return timer(self.dataset, self.device, apart=True)(specs, recipe, precision)
        return calibrate(specs, self.images, recipe, precision)


@dataclass(frozen=True)
class FoundDevice:
    """A device that computes, and what is asked of it before a search.

    Attributes:
        device: Such as cpu or cuda:1.
        name: In words.
        precision: The number format that suits it.
        unusable: GPUs that do not compute.
        notes: On each of these, what is wrong.
    """

    device: torch.device
    name: str
    precision: str
    unusable: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def find_device(name: str, precision: str) -> FoundDevice:
    """The device of a name, and its number format where that is "auto".

    Raises:
        UsageError: A device that is not there or does not compute.
    """
    notes: list[str] = []
    device = choose_device(name, notes.append)
    unusable: tuple[int, ...] = ()
    if name == "auto" and device.type == "cuda":
        unusable = tuple(i for i in range(torch.cuda.device_count()) if why_unusable(torch.device("cuda", i)))
    precision = choose_precision(precision, device) if precision == "auto" else precision
    return FoundDevice(device, describe_device(device), precision, unusable, tuple(notes))


@dataclass(frozen=True)
class Timer:
    """Times networks on a device, on images of noise: how long a step takes does not depend on what they show.

    A CPU is timed on one thread: as many trainings, or threads of one, as it has cores share the work later.

    Attributes:
        device: To time on.
        shape: Of the images, (number, height, width, channels).
        n_classes: Of the images.
        graphed: Whether steps are replayed from a CUDA graph, or "auto".
        apart: Whether that is done in a process of its own, so that this one does not use the device.
    """

    device: torch.device
    shape: tuple[int, int, int, int]
    n_classes: int
    graphed: Graph
    apart: bool

    def __call__(self, specs: Sequence[AnySpec], recipe: Recipe, precision: str) -> TimeModel:
        """The time model of the device, fitted to steps of these networks."""
        if self.apart:
            return apart(replace(self, apart=False), specs, recipe, precision)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randint(256, self.shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(self.n_classes, self.shape[:1], generator=generator)
        part = LabelledImages(noise.to(self.device), labels.to(self.device))
        images = SplitImages(part, part, *channel_statistics(part.images), self.n_classes)
        with torch_threads(1 if self.device.type == "cpu" else None):
            return calibrate(specs, images, recipe, precision, self.graphed)


def timer(dataset: Dataset, device: torch.device, graphed: Graph = False, apart: bool = False) -> Timer:
    """What times networks on the device, on images of noise like those of the data set."""
    shape = (min(dataset.n_train, N_NOISE), dataset.image_size, dataset.image_size, dataset.in_channels)
    return Timer(device, shape, len(dataset.classes), graphed, apart)


def open_search(
    file: Path | None, overrides: Mapping[str, Any], name: str | None = None, runs_dir: Path = Path("runs"),
    data_dir: str | None = None, on_message: Callable[[str], None] = lambda _: None, in_process: bool = False,
    on_share: Callable[[float], None] = lambda _: None,
) -> Opened:  # fmt: skip
    """Read and check everything that a search needs.

    Args:
        file: The study file; None for the defaults.
        overrides: Values by "section.key" that go before those of the file.
        name: Of the study; None for its file's, or one made of data and budget.
        runs_dir: Folder of the runs.
        data_dir: Folder of the data sets.
        on_message: Gets a line on which images are used, where that is left open, on what was changed in them, on
            other versions that the study was trained with, and on a database that is almost full.
        in_process: Whether it trains in this process where the number of workers is left open.
        on_share: Gets the share that is done, 0 to 1, where images are converted first.

    Raises:
        UsageError: Settings that make no sense; every mistake of a file at once.
        StudyError: A study made with other settings, or a folder that holds one of another storage.
        StorageError: A storage that cannot be reached.
        DataError: Images that are missing or damaged.
    """
    sections = read_study_file(file, overrides)
    if in_process and sections["search"]["workers"] == "auto":
        sections["search"]["workers"] = 1
    asked = sections["search"]
    # Several workers use GPUs in processes of their own. This one then asks nothing of a GPU, as it would stay there.
    is_apart = asked["workers"] not in ("auto", 1) and asked["device"] not in ("cpu", "mps") and has_gpus()
    found = (partial(apart, find_device) if is_apart else find_device)(asked["device"], asked["precision"])
    for note in found.notes:
        on_message(note)
    device = found.device
    name = study_name(file, sections) if name is None else check_name(name)
    folder = runs_dir / name
    known = recorded_attributes(sections["search"]["storage"], folder, name)
    recorded = known.get("settings")
    check_folder(sections["search"]["storage"], folder, name, recorded is not None)
    if recorded and (made_with := known.get("versions")) and made_with != versions():
        on_message(
            f"NOTE: study {name} was trained with {made_with}, and here is {versions()}; each trial says with which"
        )
    wanted = sections["data"]["name"]
    if recorded and wanted in ("auto", recorded["data"]["name"]):
        known = recorded["data"]
        dataset = open_recorded(known["name"], known.get("place", ""), data_dir, on_message, on_share)
    else:
        dataset = open_dataset(wanted, data_dir, on_message, on_share)
    if is_apart and not recorded:
        asked["precision"] = found.precision
    measure = timer(dataset, device, asked["graph"], is_apart and device.type == "cuda")
    latencies, own = given_table(sections["budget"]), is_measured(sections["budget"])
    if own and not (recorded or {}).get("budget", {}).get("latency_model"):
        on_message("timing layers on this device for the limit on latency ...")
        space, threads = space_in(sections, dataset), asked["threads"]
        precision = inference_precision(found.precision, device)
        timing = Timing(device, precision, 1 if threads == "auto" else threads)
        latencies = (partial(apart, measured_table) if is_apart else measured_table)(space, sections["budget"], timing)
    settings = resolve(name, sections, device, dataset, recorded, measure, latencies)
    for note in strained_by(settings.storage, settings.workers):
        on_message(f"NOTE: {note}")
    home = torch.device("cpu") if device.type == "cuda" and settings.workers > 1 else device
    images = split_images(dataset, home, settings.n_train, settings.n_validation)
    return Opened(settings, dataset, images, found, data_dir, folder, recorded is not None, latencies, own)


def join_search(
    study: str, storage: str, runs_dir: Path = Path("runs"), data_dir: str | None = None, device: str = "auto",
    workers: int = 1, any_version: bool = False, checkpoints: str = "",
    on_message: Callable[[str], None] = lambda _: None,
) -> Opened:  # fmt: skip
    """Read and check everything that a worker needs for a study that a search has begun in a database.

    Args:
        study: Its name, or its study file.
        storage: Address of the database.
        runs_dir: Folder of the runs, in which the files of its trials go.
        data_dir: Folder of the data sets.
        device: Where this machine trains.
        workers: Processes that train at once.
        any_version: Whether other versions than those of the study may train.
        checkpoints: Where this machine finds the checkpoints that all share; empty for what the study says.
        on_message: Gets a line on which images are used, on GPUs that do not compute, and on a database that is almost
            full.

    Raises:
        UsageError: No address of a database, or a device that is not there or lacks what the study needs.
        StudyError: The database does not hold the study, or it was begun with other settings or versions; or its
            folder here holds one of a journal.
        StorageError: The database cannot be reached.
        DataError: Images that are missing, damaged or others than those of the study.
    """
    file = Path(study) if study.endswith(".toml") else None
    sections = read_study_file(file)
    name = study_name(file, sections) if file else check_name(study)
    recorded, made_with = recorded_study(storage, name)
    check_folder(storage, runs_dir / name, name, True)
    settings = recorded_config(name, lambda: recorded, f"study {name}", storage)
    if made_with != versions() and not any_version:
        raise StudyError(
            f"study {name} was begun with {made_with}, and here is {versions()}; install those, or add --any-version"
        )
    is_apart = workers > 1 and device not in ("cpu", "mps") and has_gpus()
    found = (partial(apart, find_device) if is_apart else find_device)(device, settings.precision)
    for note in found.notes:
        on_message(note)
    choose_precision(settings.precision, found.device)
    if settings.graph is True and found.device.type != "cuda":
        raise UsageError(f"study {name} trains by CUDA graphs; the device here is {found.name}")
    dataset = open_recorded(settings.data_name, settings.data_place, data_dir, on_message)
    if dataset.digest != settings.data_digest:
        raise DataError(f"{settings.data_name}: the images here are not those of study {name}")
    if file:
        resolve(name, sections, found.device, dataset, recorded)
    place = absolute_place(checkpoints) or settings.checkpoints
    settings = replace(settings, device=device, workers=workers, checkpoints=place)
    for note in strained_by(storage, workers):
        on_message(f"NOTE: {note}")
    home = torch.device("cpu") if is_apart else found.device
    images = split_images(dataset, home, settings.n_train, settings.n_validation)
    return Opened(settings, dataset, images, found, data_dir, runs_dir / name, exists=True)
