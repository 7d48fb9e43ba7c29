"""From a study file to concrete settings: what the file leaves to the device is decided here, once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch

from nas_budget.arch.budget import Budget
from nas_budget.errors import StudyError, StudyFileError, UsageError
from nas_budget.search.config.settings import StudyConfig, budget_of, build_config, next_name, space_of
from nas_budget.search.config.study_file import Sections
from nas_budget.space.space import SearchSpace
from nas_budget.train.data.dataset import Dataset, open_dataset
from nas_budget.train.data.split import split_sizes
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device
from nas_budget.train.optim.recipe import RECIPES

HELD_KEYS = ("search.seed", "search.precision", "search.trial_seeds")
"""Keys of `[search]` that must stay when a study goes on, like every key of the other sections."""

IMAGES = {
    "auto": (32, 3, 10),
    "cifar10": (32, 3, 10),
    "cifar100": (32, 3, 100),
    "fashion-mnist": (28, 1, 10),
    "svhn": (32, 3, 10),
}
"""Size, channels and classes of the images of named sets, which need not be there to be planned for."""

SMALL_MACS = 10_000_000
"""Networks limited to this train on one thread: it is faster as far as measured (docs/benchmarks.md)."""

DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    # Fifty trials in about ten minutes on two cores.
    "cpu": {
        "budget.macs": 4_000_000,
        "data.images": 2_500,
        "data.validation_images": 1_000,
        "recipe.name": "brief",
        "space.blocks": [1, 2],
        "space.first_stride": [2],
        "search.threads": "all",
    },
    # Full size.
    "gpu": {
        "budget.macs": "none",
        "data.images": "all",
        "data.validation_images": None,
        "recipe.name": "fast",
        "space.blocks": [1, 4],
        "space.first_stride": [1],
        "search.threads": "all",
    },
}


def resolve(
    name: str, sections: Sections, device: torch.device, dataset: Dataset, recorded: Sections | None = None
) -> StudyConfig:
    """Concrete settings: what is "auto" is as the study recorded it, or else as suits the device.

    Raises:
        StudyFileError: Values that contradict each other or the data.
        StudyError: A study recorded with other settings.
    """
    full = copy.deepcopy(sections)
    chosen: dict[str, Any] = {}
    for key, default in DEVICE_DEFAULTS["cpu" if device.type == "cpu" else "gpu"].items():
        section, field = key.split(".")
        if full[section][field] == "auto":
            suited = _suited(key, default, dataset, full)
            known = recorded[section] if recorded and _is_held(key) else {}
            full[section][field] = known.get(field, suited)
            chosen[key] = full[section][field]
    full["recipe"] = {**asdict(RECIPES[full["recipe"]["name"]]), **full["recipe"]}
    full["data"].update(name=dataset.name, digest=dataset.digest)
    storage = full["search"].pop("storage")  # it may hold a password
    if recorded and full["search"]["precision"] == "auto":
        full["search"]["precision"] = recorded["search"]["precision"]
    try:
        if full["search"]["graph"] and device.type != "cuda":
            raise UsageError(f"search.graph: needs a CUDA GPU; the device is {describe_device(device)}; leave it out")
        full["search"]["precision"] = choose_precision(full["search"]["precision"], device)
        n_train = None if full["data"]["images"] == "all" else full["data"]["images"]
        n_validation, n_train = split_sizes(dataset, n_train, full["data"]["validation_images"])
        full["data"].update(images=n_train, validation_images=n_validation)
        settings = build_config(name, full, storage, dataset, chosen)
    except UsageError as error:
        raise StudyFileError([f"{name}: {error}"]) from None
    if recorded and (changes := list(_differences(recorded, full))):
        raise StudyError(
            f"study {name} was made with other settings: {'; '.join(changes)}; "
            f"go on with those, or begin another study with --name {next_name(name)}"
        )
    return settings


def space_and_budget(
    sections: Sections, on_message: Callable[[str], None]
) -> tuple[SearchSpace, Budget, dict[str, Any]]:
    """Space and budget of a study that is not run, and what was decided for the device.

    Raises:
        UsageError: An unknown data set.
        DataError: A file of images that is missing or damaged.
    """
    full, chosen = copy.deepcopy(sections), dict[str, Any]()
    device = choose_device(sections["search"]["device"])
    for key, default in DEVICE_DEFAULTS["cpu" if device.type == "cpu" else "gpu"].items():
        section, field = key.split(".")
        if section in ("budget", "space") and full[section][field] == "auto":
            full[section][field] = chosen[key] = default
    name = full["data"]["name"]
    if name in IMAGES:
        image_size, in_channels, classes = IMAGES[name]
    else:
        dataset = open_dataset(name, None, on_message)
        image_size, in_channels, classes = dataset.image_size, dataset.in_channels, len(dataset.classes)
    images: dict[str, Any] = {"image_size": image_size, "in_channels": in_channels, "classes": classes}
    return space_of(full["space"], images), budget_of(full["budget"]), chosen


def _suited(key: str, default: Any, dataset: Dataset, full: Sections) -> Any:
    """The device's default, fitted to data (at most four fifths train, a fifth validates) and networks."""
    if key == "data.validation_images" and (default is None or full["data"]["images"] == "all"):
        return max(1, dataset.n_train // 10)
    if key == "data.validation_images":
        return max(1, min(default, dataset.n_train // 5))
    if key == "data.images" and default != "all":
        return max(1, min(default, dataset.n_train * 4 // 5))
    if key == "search.threads":
        macs = full["budget"]["macs"]
        each = max(1, torch.get_num_threads() // full["search"]["workers"])
        return 1 if macs != "none" and macs <= SMALL_MACS else each
    return default


def _is_held(key: str) -> bool:
    """Whether a study that goes on must have the value it was made with: what its results depend on."""
    return key in HELD_KEYS or not key.startswith("search.")


def _differences(recorded: Sections, asked: Sections) -> Iterator[str]:
    for section, values in asked.items():
        for field, value in values.items():
            before = recorded[section].get(field)
            if _is_held(f"{section}.{field}") and before != value:
                yield "the images are others" if field == "digest" else f"{section}.{field} is {before}, not {value}"
