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
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import LabelledImages, SplitImages, channel_statistics, split_images
from nas_budget.train.engine.device import choose_device
from nas_budget.train.optim.recipe import Recipe
from nas_budget.train.profile.time_model import TimeModel, calibrate

N_NOISE = 2_048
"""Images that steps are timed on."""


@dataclass(frozen=True)
class Opened:
    """A study ready to start or to resume. Nothing is written yet.

    Attributes:
        settings: Of the study.
        dataset: Where its images come from.
        images: The images on the device.
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

    def search(self, should_stop: Callable[[], bool] | None = None) -> Search:
        """The search; its study is created or resumed."""
        return Search(self.settings, self.images, self.folder, should_stop, self.data_dir)


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


def timer(dataset: Dataset, device: torch.device) -> Measure:
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
            return calibrate(specs, images, recipe, precision)

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
        StudyError: A study made with other settings, or a storage that cannot be reached.
        DataError: Images that are missing or damaged.
    """
    sections = read_study_file(file, overrides)
    if in_process and sections["search"]["workers"] == "auto":
        sections["search"]["workers"] = 1
    device = choose_device(sections["search"]["device"])
    name = name or study_name(file, sections)
    folder = runs_dir / name
    recorded = recorded_settings(sections["search"]["storage"], folder, name)
    wanted = sections["data"]["name"]
    if wanted == "auto" and recorded:
        wanted = recorded["data"]["name"]
    dataset = open_dataset(wanted, data_dir, on_message, on_share)
    settings = resolve(name, sections, device, dataset, recorded, timer(dataset, device))
    images = split_images(dataset, device, settings.n_train, settings.n_validation)
    return Opened(settings, dataset, images, device, data_dir, folder, recorded is not None)
