"""Small searches that train for a fraction of a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.storage.storage import recorded_settings
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_images

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "budget.params": 20_000,
    "space.stages": [2, 3],
    "space.width": [4, 16],
    "space.blocks": 1,
    "data.images": 100,
    "data.validation_images": 50,
    "recipe.batch_size": 50,
    "recipe.epochs": 3,
    "search.trials": 4,
}


def settings(dataset: Dataset, folder: Path, **changes: Any) -> StudyConfig:
    """Settings of a small search; `section__key=value` changes one."""
    overrides = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    sections = read_study_file(None, overrides)
    return resolve("s", sections, CPU, dataset, recorded_settings(sections["search"]["storage"], folder, "s"))


def make(dataset: Dataset, folder: Path, should_stop: Any = lambda: False, **changes: Any) -> Search:
    """A small search, its study created or gone on with."""
    made = settings(dataset, folder, **changes)
    return Search(made, split_images(dataset, CPU, made.n_train, made.n_validation), folder, should_stop)
