"""Everything a study needs to know, as each layer takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas_budget.arch.budget import Budget
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import UsageError
from nas_budget.search.config.study_file import Sections
from nas_budget.search.pruners.front import default_rungs
from nas_budget.search.samplers.candidate import CHOICES, RANGES, RecipeSpace
from nas_budget.search.samplers.optuna_samplers import check_sampler
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.optim.recipe import Recipe

REFERENCE: dict[str, Any] = {"channels": (32, 64, 96, 128, 185)}
"""The reference paper's network, but for its images."""


@dataclass(frozen=True)
class StudyConfig:
    """Everything a study needs to know, with nothing left open.

    Attributes:
        name: Of the study.
        budget: Limits every trial keeps.
        space: Networks that may be proposed.
        recipes: How each is trained, and what of that may vary.
        n_train: Images that train.
        n_validation: Images that accuracy is measured on.
        trials: Trials to be completed or pruned in all.
        timeout: Seconds after which no trial begins; None for no limit. The next three likewise.
        device_time: Seconds of all trials together after which none begins.
        patience: Trials in a row without one that joins the front after which none begins.
        target: Accuracy, 0 to 1, that ends the search when a trial reaches it.
        sampler: "tpe", "gp", "nsga2", "cmaes", "evolution" or "random".
        n_startup_trials: Trials spread over the space before the sampler is asked.
        pruner: "front", "halving", "hyperband", "median" or "none".
        rungs: Epochs at which trials are compared.
        pruner_metric: By what "front" compares them: "loss" of training or validation "accuracy".
        trial_seeds: Trainings of each trial, of which the mean counts.
        finalists: How many of the best trials are trained again at the end.
        finalist_seeds: Seeds each of them is trained with.
        finalist_epochs: For how long.
        workers: Processes that run trials.
        seed: Of sampler and training.
        precision: "fp32", "bf16" or "fp16".
        threads: Threads a training uses on a CPU.
        graph: Whether passes are replayed from a CUDA graph.
        queue: Networks to train before any is proposed.
        storage: "journal", or the address of a database.
        sections: The same as plain values, as the study records it.
        chosen: Keys decided for the device, with their values, in the order of the file.
    """

    name: str
    budget: Budget
    space: SearchSpace
    recipes: RecipeSpace
    n_train: int
    n_validation: int
    trials: int
    timeout: float | None
    device_time: float | None
    patience: int | None
    target: float | None
    sampler: str
    n_startup_trials: int
    pruner: str
    rungs: tuple[int, ...]
    pruner_metric: str
    trial_seeds: int
    finalists: int
    finalist_seeds: int
    finalist_epochs: int
    workers: int
    seed: int
    precision: str
    threads: int
    graph: bool
    queue: tuple[ResNetSpec, ...]
    storage: str
    sections: Sections
    chosen: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        """How a network is trained when nothing else is proposed."""
        return self.recipes.decode({})


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


def next_name(name: str) -> str:
    """A name for a study like this one: "mine-2" after "mine", "mine-3" after "mine-2"."""
    stem, dash, number = name.rpartition("-")
    return f"{stem}-{int(number) + 1}" if dash and number.isdigit() else f"{name}-2"


def build_config(name: str, full: Sections, storage: str, dataset: Dataset, chosen: dict[str, Any]) -> StudyConfig:
    """The settings of sections in which nothing is left to the device any more.

    Raises:
        UsageError: Values that contradict each other, or the images.
    """
    search = full["search"]
    check_crop(full["recipe"]["crop_pad"], dataset.image_size)
    images = images_of(dataset)
    budget, space, recipes = budget_of(full["budget"]), space_of(full["space"], images), _recipes(full["recipe"])
    check_sampler(search["sampler"], [*space.dimensions(), *recipes.dimensions()])
    epochs = full["recipe"]["epochs"]
    rules = ("timeout", "device_time", "patience", "target")
    as_given = (
        "trials", "sampler", "pruner", "pruner_metric", "trial_seeds", "finalists", "finalist_seeds", "workers", "seed",
        "precision", "threads", "graph",
    )  # fmt: skip
    limits: dict[str, Any] = {key: None if search[key] == "none" else search[key] for key in rules}
    return StudyConfig(
        name=name,
        budget=budget,
        space=space,
        recipes=recipes,
        n_train=full["data"]["images"],
        n_validation=full["data"]["validation_images"],
        **limits,
        **{key: search[key] for key in as_given},
        n_startup_trials=_startup(search),
        rungs=_rungs(search["rungs"], epochs),
        finalist_epochs=epochs if search["finalist_epochs"] == "auto" else search["finalist_epochs"],
        queue=_queue(search["queue"], images, space, budget),
        storage=storage,
        sections=full,
        chosen=chosen,
    )


def _recipes(section: dict[str, Any]) -> RecipeSpace:
    """The recipe of a section, in which a list stands for a range of a number or for choices."""
    ranges = {name: tuple(section[name]) for name in RANGES if isinstance(section[name], list)}
    choices = {name: tuple(section[name]) for name in CHOICES if isinstance(section[name], list)}
    for name, (low, high) in ranges.items():
        if not 0 < low <= high:
            raise UsageError(f"recipe.{name}: [{low}, {high}] is no range; give the least, above 0, then the most")
    first = {name: values[0] for name, values in (ranges | choices).items()}
    fixed = {key: value for key, value in section.items() if key != "name"}
    return RecipeSpace(Recipe(**{**fixed, **first}), ranges, choices)


def _startup(search: dict[str, Any]) -> int:
    """Trials spread over the space: a fifth of them, at least five and at most twenty, unless told otherwise."""
    trials: int = search["trials"]
    return min(20, max(5, trials // 5)) if search["n_startup_trials"] == "auto" else int(search["n_startup_trials"])


def _rungs(asked: Any, epochs: int) -> tuple[int, ...]:
    if asked == "auto":
        return default_rungs(epochs)
    if list(asked) != sorted(set(asked)) or any(rung >= epochs for rung in asked):
        raise UsageError(
            f"search.rungs: {list(asked)} does not go with recipe.epochs = {epochs}; "
            f"give rising epochs from 1 to {epochs - 1}" + (", or [] for none" if epochs == 1 else "")
        )
    return tuple(asked)


def _queue(asked: Any, images: dict[str, Any], space: SearchSpace, budget: Budget) -> tuple[ResNetSpec, ...]:
    """The networks to train first; left to us, the reference where the space holds it and it fits."""
    if asked != "auto":
        return tuple(_queued(values, images, space, budget) for values in asked)
    spec = replace(ResNetSpec(**REFERENCE, **images), dropout=space.dropout)
    return (spec,) if contains(space, spec) and budget.check(spec).fits else ()


def _queued(values: dict[str, Any], images: dict[str, Any], space: SearchSpace, budget: Budget) -> ResNetSpec:
    """A network of the queue; it must fit like any other, and has the images of the data and the space's dropout."""
    spec = spec_for({"dropout": space.dropout, **values}, images, "search.queue")
    spec = replace(spec, pool=spec.pool_size)
    for margin in budget.check(spec).margins:
        if margin.margin < 0:
            raise UsageError(
                f"search.queue: {spec} needs {margin.used:,} {margin.words}, {margin.limit:,} allowed; "
                "make it smaller (nas-budget fit finds the largest of its shape), or leave it out"
            )
    return spec


def images_of(dataset: Dataset) -> dict[str, Any]:
    """What a network's spec says of the images of a data set."""
    return {
        "image_size": dataset.image_size,
        "in_channels": dataset.in_channels,
        "classes": len(dataset.classes),
    }


def spec_for(values: dict[str, Any], images: dict[str, Any], where: str) -> ResNetSpec:
    """The network of these values for these images.

    Raises:
        UsageError: The values are of a network for other images; `where` says whose they are.
        SpecError: No network can be built of them.
    """
    if others := [key for key, value in images.items() if values.get(key, value) != value]:
        wrong = ", ".join(f"{key} is {values[key]}, not {images[key]}" for key in others)
        raise UsageError(f"{where}: a network for other images: {wrong}; leave {', '.join(others)} out")
    return ResNetSpec.from_dict({**values, **images})


def check_crop(pad: int, image_size: int) -> None:
    """Check that images are larger than the largest shift.

    Raises:
        UsageError: They are not.
    """
    if pad >= image_size:
        most = image_size - 1
        raise UsageError(
            f"recipe.crop_pad: {pad} is too much for images of {image_size} pixels; 0 to {most} is allowed"
        )


def budget_of(section: dict[str, Any]) -> Budget:
    """The budget of a section."""
    values: dict[str, Any] = {key: None if value == "none" else value for key, value in section.items()}
    return Budget(**values)


def space_of(section: dict[str, Any], images: dict[str, Any]) -> SearchSpace:
    """The space of a section, for images of this size, channels and classes."""
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in section.items()}
    return SearchSpace(**values, **images)
