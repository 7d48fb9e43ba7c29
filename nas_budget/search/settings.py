"""From a study file to concrete settings: what the file leaves to the device is decided here, once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas_budget.arch.budget import Budget
from nas_budget.arch.space import SearchSpace
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StudyError, StudyFileError, UsageError
from nas_budget.search.study_file import Sections
from nas_budget.train.data import Dataset, open_dataset
from nas_budget.train.device import choose_device, choose_precision
from nas_budget.train.images import split_sizes
from nas_budget.train.recipe import RECIPES, Recipe

FREE_KEYS = ("search.trials", "search.device", "search.threads")
"""Keys that may differ when a study goes on."""

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
        "data.held_out": 1_000,
        "recipe.name": "brief",
        "space.blocks": [1, 2],
        "space.first_stride": [2],
        "search.threads": "all",
    },
    # Full size.
    "gpu": {
        "budget.macs": "none",
        "data.images": "all",
        "data.held_out": None,
        "recipe.name": "sgd",
        "space.blocks": [1, 4],
        "space.first_stride": [1],
        "search.threads": "all",
    },
}


@dataclass(frozen=True)
class Settings:
    """Everything a study needs to know, with nothing left open.

    Attributes:
        name: Of the study.
        budget: Limits every trial keeps.
        space: Networks that may be proposed.
        recipe: How each is trained.
        n_train: Images that train.
        n_held_out: Images that accuracy is measured on.
        trials: Trials to be completed or pruned in all.
        sampler: "tpe" or "random".
        pruner: "front", "halving", "median" or "none".
        seed: Of sampler and training.
        precision: "fp32", "bf16" or "fp16".
        threads: Threads a training uses on a CPU.
        queue: Networks to train before any is proposed.
        storage: "journal", or the address of a database.
        sections: The same as plain values, as the study records it.
        chosen: Keys decided for the device, with their values, in the order of the file.
    """

    name: str
    budget: Budget
    space: SearchSpace
    recipe: Recipe
    n_train: int
    n_held_out: int
    trials: int
    sampler: str
    pruner: str
    seed: int
    precision: str
    threads: int
    queue: tuple[ResNetSpec, ...]
    storage: str
    sections: Sections
    chosen: dict[str, Any]


def study_name(file: Path | None, sections: Sections) -> str:
    """The name a study has when none is given: its file's, or its data and budget, such as "auto-5M"."""
    if file is not None:
        return file.stem
    limit = sections["budget"]["params"]
    data = Path(sections["data"]["name"]).stem
    return f"{data}-{'any' if limit == 'none' else _short(limit)}"


def _short(number: int) -> str:
    for factor, suffix in (10**6, "M"), (10**3, "k"):
        if number % factor == 0:
            return f"{number // factor}{suffix}"
    return str(number)


def resolve(
    name: str, sections: Sections, device: torch.device, dataset: Dataset, recorded: Sections | None = None
) -> Settings:
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
            known = recorded[section] if recorded and key not in FREE_KEYS else {}
            full[section][field] = known.get(field, suited)
            chosen[key] = full[section][field]
    full["recipe"] = {**asdict(RECIPES[full["recipe"]["name"]]), **full["recipe"]}
    full["data"].update(name=dataset.name, digest=dataset.digest)
    del full["search"]["storage"]  # it may hold a password
    if recorded and full["search"]["precision"] == "auto":
        full["search"]["precision"] = recorded["search"]["precision"]
    try:
        full["search"]["precision"] = choose_precision(full["search"]["precision"], device)
        n_train = None if full["data"]["images"] == "all" else full["data"]["images"]
        n_held_out, n_train = split_sizes(dataset, n_train, full["data"]["held_out"])
        full["data"].update(images=n_train, held_out=n_held_out)
        settings = _build(name, full, sections["search"]["storage"], dataset, chosen)
    except UsageError as error:
        raise StudyFileError([f"{name}: {error}"]) from None
    if recorded and (changes := list(_differences(recorded, full))):
        raise StudyError(
            f"study {name} was made with other settings: {'; '.join(changes)}; "
            "go on with those, or begin another study with --name"
        )
    return settings


def space_and_budget(sections: Sections, say: Callable[[str], None]) -> tuple[SearchSpace, Budget, dict[str, Any]]:
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
        dataset = open_dataset(name, None, say)
        image_size, in_channels, classes = dataset.image_size, dataset.in_channels, len(dataset.classes)
    images: dict[str, Any] = {"image_size": image_size, "in_channels": in_channels, "classes": classes}
    return _space(full["space"], images), _budget(full["budget"]), chosen


def _budget(section: dict[str, Any]) -> Budget:
    values: dict[str, Any] = {key: None if value == "none" else value for key, value in section.items()}
    return Budget(**values)


def _space(section: dict[str, Any], images: dict[str, Any]) -> SearchSpace:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in section.items()}
    return SearchSpace(**values, **images)


def _suited(key: str, default: Any, dataset: Dataset, full: Sections) -> Any:
    """The device's default, fitted to the data (at most four fifths to train, a fifth held out) and the networks."""
    if key == "data.held_out" and (default is None or full["data"]["images"] == "all"):
        return max(1, dataset.n_train // 10)
    if key == "data.held_out":
        return max(1, min(default, dataset.n_train // 5))
    if key == "data.images" and default != "all":
        return max(1, min(default, dataset.n_train * 4 // 5))
    if key == "search.threads":
        macs = full["budget"]["macs"]
        return 1 if macs != "none" and macs <= SMALL_MACS else torch.get_num_threads()
    return default


def _build(name: str, full: Sections, storage: str, dataset: Dataset, chosen: dict[str, Any]) -> Settings:
    search, image_size = full["search"], dataset.image_size
    if full["recipe"]["crop_pad"] >= image_size:
        pad, most = full["recipe"]["crop_pad"], image_size - 1
        raise UsageError(
            f"recipe.crop_pad: {pad} is too much for images of {image_size} pixels; 0 to {most} is allowed"
        )
    images: dict[str, Any] = {
        "image_size": dataset.image_size,
        "in_channels": dataset.in_channels,
        "classes": len(dataset.classes),
    }
    budget = _budget(full["budget"])
    return Settings(
        name=name,
        budget=budget,
        space=_space(full["space"], images),
        recipe=Recipe(**{key: value for key, value in full["recipe"].items() if key != "name"}),
        n_train=full["data"]["images"],
        n_held_out=full["data"]["held_out"],
        **{key: search[key] for key in ("trials", "sampler", "pruner", "seed", "precision", "threads")},
        queue=tuple(_queued(values, images, budget) for values in search["queue"]),
        storage=storage,
        sections=full,
        chosen=chosen,
    )


def _queued(values: dict[str, Any], images: dict[str, Any], budget: Budget) -> ResNetSpec:
    """A network of the queue; it must fit like any other."""
    if fixed := sorted(set(values) & set(images)):
        raise UsageError(f"search.queue: {', '.join(fixed)} follows from the data; leave it out")
    spec = ResNetSpec.from_dict({**values, **images})
    spec = replace(spec, pool=spec.pool_size)
    for margin in budget.check(spec).margins:
        if margin.margin < 0:
            raise UsageError(f"search.queue: {spec} needs {margin.used:,} {margin.name}, {margin.limit:,} allowed")
    return spec


def _differences(recorded: Sections, asked: Sections) -> Iterator[str]:
    for section, values in asked.items():
        for field, value in values.items():
            before = recorded[section].get(field)
            if f"{section}.{field}" not in FREE_KEYS and before != value:
                yield "the images are others" if field == "digest" else f"{section}.{field} is {before}, not {value}"
