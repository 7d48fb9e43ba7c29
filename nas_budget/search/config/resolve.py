"""`resolve`: from the sections of a study file to a `StudyConfig`, deciding what they leave to the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from nas_budget.arch.budget import Budget
from nas_budget.errors import StudyError, StudyFileError, UsageError
from nas_budget.search.config.build import budget_of, build_config, images_of, space_of
from nas_budget.search.config.sections import FROM_DATA, SECTIONS
from nas_budget.search.config.settings import FORMAT, StudyConfig, next_name
from nas_budget.search.config.study_file import Sections
from nas_budget.space.space import SearchSpace
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import split_sizes
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device

HELD_KEYS = ("search.seed", "search.precision", "search.trial_seeds")
"""Keys of `[search]` that must stay when a study is resumed, like every key of the other sections."""

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
    name: str, sections: Sections, device: torch.device, dataset: Dataset, recorded: Mapping[str, Any] | None = None
) -> StudyConfig:
    """The settings of a study: what is "auto" is as the study recorded it, or else as suits the device and the data.

    Args:
        name: Name of the study.
        sections: As `read_study_file` gives them.
        device: Where the study trains.
        dataset: The images.
        recorded: What an existing study recorded (`StudyConfig.to_dict`); None for a new one.

    Raises:
        StudyFileError: Values that contradict each other, the data or the device.
        StudyError: The study was recorded with other settings.
    """
    if recorded and recorded.get("format") != FORMAT:
        raise StudyError(
            f"study {name} was recorded by another version of nas-budget, and this one reads {FORMAT!r}; start another "
            f"study with --name {next_name(name)}"
        )
    full = copy.deepcopy(sections)
    chosen = tuple(_open_keys(full, device))
    for section, field in (key.split(".") for key in chosen):
        known = recorded[section] if recorded and _is_held(f"{section}.{field}") else {}
        full[section][field] = known.get(field, _suited(f"{section}.{field}", device, dataset, full))
    full["data"].update(name=dataset.name, digest=dataset.digest)
    storage = full["search"].pop("storage")
    if recorded and full["search"]["precision"] == "auto":
        full["search"]["precision"] = recorded["search"]["precision"]
    try:
        if full["search"]["graph"] and device.type != "cuda":
            raise UsageError(f"search.graph: needs a CUDA GPU; the device is {describe_device(device)}; leave it out")
        full["search"]["precision"] = choose_precision(full["search"]["precision"], device)
        n_train = None if full["data"]["images"] == "all" else full["data"]["images"]
        n_validation, n_train = split_sizes(dataset, n_train, full["data"]["validation_images"])
        full["data"].update(images=n_train, validation_images=n_validation)
        config = build_config(name, full, images_of(dataset), storage, chosen)
    except UsageError as error:
        raise StudyFileError([f"{name}: {error}"]) from None
    if recorded and (changes := list(_differences(recorded, config.to_dict()))):
        raise StudyError(
            f"study {name} was made with other settings: {'; '.join(changes)}; "
            f"resume it with those, or start another study with --name {next_name(name)}"
        )
    return config


def space_and_budget(
    sections: Sections, on_message: Callable[[str], None]
) -> tuple[SearchSpace, Budget, dict[str, Any]]:
    """Space and budget of a study that is not run, and the values that the device decided, by "section.key".

    Raises:
        UsageError: An unknown data set.
        DataError: A file of images that is missing or damaged.
    """
    full, device = copy.deepcopy(sections), choose_device(sections["search"]["device"])
    defaults = _device_defaults(device)
    chosen = {key: defaults[key] for key in _open_keys(full, device) if key.startswith(("budget.", "space."))}
    for (section, field), value in ((key.split("."), value) for key, value in chosen.items()):
        full[section][field] = value
    name = full["data"]["name"]
    images = dict(zip(FROM_DATA, IMAGES[name], strict=True)) if name in IMAGES else None
    return (
        space_of(full["space"], images or images_of(open_dataset(name, None, on_message))),
        budget_of(full["budget"]),
        chosen,
    )


def _device_defaults(device: torch.device) -> dict[str, Any]:
    return DEVICE_DEFAULTS["cpu" if device.type == "cpu" else "gpu"]


def _open_keys(sections: Sections, device: torch.device) -> Iterator[str]:
    """The keys, as "section.key", that are left to the device."""
    for key in _device_defaults(device):
        section, field = key.split(".")
        if sections[section][field] == "auto":
            yield key


def _suited(key: str, device: torch.device, dataset: Dataset, full: Sections) -> Any:
    """The device's default for a key, fitted to the data and the networks.

    At most four fifths of the training images train, and a fifth is for validation.
    """
    default = _device_defaults(device)[key]
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
    """Whether a resumed study must have the value it was made with: its results depend on it."""
    return key in HELD_KEYS or not key.startswith("search.")


def _differences(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    for key in (f"{section}.{field}" for section in SECTIONS for field in asked[section]):
        section, field = key.split(".")
        before, value = recorded[section].get(field), asked[section][field]
        if _is_held(key) and before != value:
            yield "the images are others" if field == "digest" else f"{key} is {before}, not {value}"
