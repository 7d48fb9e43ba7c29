"""From a study file, or keys given instead of one, to a study ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas_budget.arch.spec import AnySpec
from nas_budget.search.config.proxy import Measure
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig, study_name
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.storage.storage import recorded_settings
from nas_budget.search.workers.search_runner import Search, Workers, visible_gpus
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import LabelledImages, SplitImages, channel_statistics, first_images, split_images
from nas_budget.train.engine.device import choose_device
from nas_budget.train.optim.recipe import Recipe
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
        device: Where it trains.
        data_dir: Folder of the data sets.
        folder: Where its files go.
        exists: Whether it was started before.
    """

    settings: StudyConfig
    dataset: Dataset
    images: SplitImages
    device: torch.device
    data_dir: str | None
    folder: Path
    exists: bool

    def threads(self) -> AbstractContextManager[None]:
        """Torch uses the study's count of threads within it, where it trains on a CPU; the caller's comes back."""
        return torch_threads(self.settings.threads if self.device.type == "cpu" else None)

    def search(self, should_stop: Callable[[], bool] | None = None, workers: Workers | None = None) -> Search:
        """The search; its study is created or resumed. `workers` train in place of this machine."""
        gpus = visible_gpus(self.settings.device) if self.is_dealt_out else ()
        return Search(self.settings, self.images, self.folder, should_stop, self.data_dir, gpus, workers)

    @property
    def is_dealt_out(self) -> bool:
        """Whether GPUs are dealt out to worker processes, so that this one keeps no images on any."""
        return self.device.type == "cuda" and self.settings.workers > 1

    def images_to_time(self, batch_size: int) -> SplitImages:
        """Images for training steps that are timed, on the device: a batch of them where the others lie elsewhere."""
        return first_images(self.images, batch_size, self.device) if self.is_dealt_out else self.images


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Torch uses `n` threads within it, unless that is None; the caller's count comes back."""
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def timer(dataset: Dataset, device: torch.device, graphed: bool = False) -> Measure:
    """What times networks on the device, on images of noise: how long a step takes does not depend on them.

    A CPU is timed on one thread: as many trainings, or threads of one, as it has cores share the work later.
    """

    def measure(specs: Sequence[AnySpec], recipe: Recipe, precision: str) -> TimeModel:
        shape = (min(dataset.n_train, N_NOISE), dataset.image_size, dataset.image_size, dataset.in_channels)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(len(dataset.classes), shape[:1], generator=generator)
        part = LabelledImages(noise.to(device), labels.to(device))
        images = SplitImages(part, part, *channel_statistics(part.images), len(dataset.classes))
        with torch_threads(1 if device.type == "cpu" else None):
            return calibrate(specs, images, recipe, precision, graphed)

    return measure


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
        on_message: Gets a line on which images are used, where that is left open, and on what was changed in them.
        in_process: Whether it trains in this process where the number of workers is left open.
        on_share: Gets the share that is done, 0 to 1, where images are converted first.

    Raises:
        UsageError: Settings that make no sense; every mistake of a file at once.
        StudyError: A study made with other settings.
        StorageError: A storage that cannot be reached.
        DataError: Images that are missing or damaged.
    """
    sections = read_study_file(file, overrides)
    if in_process and sections["search"]["workers"] == "auto":
        sections["search"]["workers"] = 1
    device = choose_device(sections["search"]["device"], on_message)
    name = study_name(file, sections) if name is None else check_name(name)
    folder = runs_dir / name
    recorded = recorded_settings(sections["search"]["storage"], folder, name)
    wanted = sections["data"]["name"]
    if wanted == "auto" and recorded:
        wanted = recorded["data"]["name"]
    dataset = open_dataset(wanted, data_dir, on_message, on_share)
    settings = resolve(name, sections, device, dataset, recorded, timer(dataset, device, sections["search"]["graph"]))
    home = torch.device("cpu") if device.type == "cuda" and settings.workers > 1 else device
    images = split_images(dataset, home, settings.n_train, settings.n_validation)
    return Opened(settings, dataset, images, device, data_dir, folder, recorded is not None)
