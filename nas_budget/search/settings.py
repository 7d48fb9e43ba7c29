"""From a study file to concrete settings: what the file leaves to the device is decided here, once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas_budget.arch.budget import Budget
from nas_budget.arch.space import SearchSpace
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StudyError, StudyFileError, UsageError
from nas_budget.search.study_file import Sections
from nas_budget.train.data import Dataset
from nas_budget.train.device import choose_precision
from nas_budget.train.images import split_sizes
from nas_budget.train.recipe import RECIPES, Recipe

FREE_KEYS = ("search.trials", "search.device", "search.storage")
"""Keys that may differ when a study goes on."""

DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    # Fifty trials in about ten minutes on two cores.
    "cpu": {
        "budget.macs": 5_000_000,
        "data.images": 4_000,
        "data.held_out": 1_000,
        "recipe.name": "brief",
        "space.blocks": [1, 2],
        "space.first_stride": [2],
    },
    # Full size.
    "gpu": {
        "budget.macs": "none",
        "data.images": "all",
        "data.held_out": None,
        "recipe.name": "sgd",
        "space.blocks": [1, 4],
        "space.first_stride": [1],
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
        queue: Networks to train before any is proposed.
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
    queue: tuple[ResNetSpec, ...]
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
            full[section][field] = recorded[section][field] if recorded else _at_most(key, default, dataset)
            chosen[key] = full[section][field]
    full["recipe"] = {**asdict(RECIPES[full["recipe"]["name"]]), **full["recipe"]}
    full["data"]["name"] = dataset.name
    if recorded and full["search"]["precision"] == "auto":
        full["search"]["precision"] = recorded["search"]["precision"]
    try:
        full["search"]["precision"] = choose_precision(full["search"]["precision"], device)
        n_train = None if full["data"]["images"] == "all" else full["data"]["images"]
        n_held_out, n_train = split_sizes(dataset, n_train, full["data"]["held_out"])
        full["data"].update(images=n_train, held_out=n_held_out)
        settings = _build(name, full, dataset, chosen)
    except UsageError as error:
        raise StudyFileError([f"{name}: {error}"]) from None
    if recorded and (changes := list(_differences(recorded, full))):
        raise StudyError(
            f"study {name} was made with other settings: {'; '.join(changes)}; "
            "go on with those, or begin another study with --name"
        )
    return settings


def _at_most(key: str, default: Any, dataset: Dataset) -> Any:
    """The default, but no more images than four fifths to train and a fifth held out."""
    if default is None or (key == "data.held_out" and default > dataset.n_train // 5):
        return max(1, dataset.n_train // (10 if default is None else 5))
    if key == "data.images" and default != "all":
        return max(1, min(default, dataset.n_train * 4 // 5))
    return default


def _build(name: str, full: Sections, dataset: Dataset, chosen: dict[str, Any]) -> Settings:
    search = full["search"]
    limits: dict[str, Any] = {key: None if value == "none" else value for key, value in full["budget"].items()}
    space: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in full["space"].items()}
    images: dict[str, Any] = {
        "image_size": dataset.image_size,
        "in_channels": dataset.in_channels,
        "classes": len(dataset.classes),
    }
    budget = Budget(**limits)
    return Settings(
        name=name,
        budget=budget,
        space=SearchSpace(**space, **images),
        recipe=Recipe(**{key: value for key, value in full["recipe"].items() if key != "name"}),
        n_train=full["data"]["images"],
        n_held_out=full["data"]["held_out"],
        **{key: search[key] for key in ("trials", "sampler", "pruner", "seed", "precision")},
        queue=tuple(_queued({**images, **values}, budget) for values in search["queue"]),
        sections=full,
        chosen=chosen,
    )


def _queued(values: dict[str, Any], budget: Budget) -> ResNetSpec:
    """A network of the queue; it must fit like any other."""
    spec = ResNetSpec.from_dict(values)
    for margin in budget.check(spec).margins:
        if margin.margin < 0:
            raise UsageError(
                f"search.queue: {spec} needs {margin.used:,} {margin.name}, over the {margin.limit:,} allowed"
            )
    return spec


def _differences(recorded: Sections, asked: Sections) -> Iterator[str]:
    for section, values in asked.items():
        for field, value in values.items():
            before = recorded[section].get(field)
            if f"{section}.{field}" not in FREE_KEYS and before != value:
                yield f"{section}.{field} is {before}, not {value}"
