"""`StudyConfig`: everything a study needs to know, and its file `settings.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nas_budget.arch.budget import LATENCY, Budget
from nas_budget.arch.spec import AnySpec
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import STUDY_SETTINGS
from nas_budget.search.config.sections import SECTIONS, SearchSection
from nas_budget.search.config.study_file import Sections
from nas_budget.search.samplers.candidate import RecipeSpace
from nas_budget.search.samplers.factory import AnySpace, networks_of
from nas_budget.search.samplers.network_space import NetworkSpace
from nas_budget.space.space import SearchSpace
from nas_budget.train.data.conversion.options import split_options
from nas_budget.train.optim.recipe import Recipe
from nas_budget.untrusted import name_from

FORMAT = "nas-budget settings 4"
HELD_KEYS = ("search.seed", "search.precision", "search.trial_seeds", "search.proxy")
"""Keys of `[search]` that must stay when a study is resumed, like every key of the other sections."""
OTHERS = {"digest": "the images are others", "latency_model": "the times of layers are others"}
"""What is said where fields differ that tell a person nothing."""


@dataclass(frozen=True)
class StudyConfig:
    """Everything a study needs to know, with nothing left open: no "auto" and no "none".

    `resolve` makes it from a study file, a device and a data set. Its fields are the keys of the study file's sections
    (docs/study-files.md says what each changes); `budget`, `space`, `recipes` and `queue` are the objects that the
    other layers take. `to_dict` gives what a study records.

    Attributes:
        name: Name of the study.
        budget: Limits that every trial keeps.
        space: Networks that may be proposed.
        recipe_name: Named recipe that `recipes` was made from.
        recipes: How networks are trained, and what of that may vary.
        data_name: Data set, as it was asked for.
        data_digest: Differs when the images differ.
        data_place: Where they lay (`Dataset.place`).
        n_train: Images to train on.
        n_validation: Images to measure accuracy on.
        trials: Complete or pruned trials in all.
        time: Seconds in which the search is to end; None for no limit.
        proxy: What widths are multiplied by for training; 1 trains networks themselves.
        ladder: Trials that are trained again at twice the proxy's width, at four times, and so on.
        timeout: Seconds after which no trial starts; None for no limit.
        device_time: Seconds of all trials together after which none starts; None for no limit.
        patience: Trials in a row without a new one on the Pareto front after which none starts; None for no limit.
        target: Accuracy, 0 to 1, that ends the search; None for none.
        sampler: Name of the sampler.
        aim: What the bayes sampler looks for, "front" or "best".
        n_startup_trials: Trials of all sizes before the sampler is asked.
        pruner: Name of the pruner.
        rungs: Epochs at which trials are compared.
        pruner_metric: "loss" of training or validation "accuracy".
        trial_seeds: Trainings of each trial.
        finalists: Best trials that are trained again at the end.
        finalist_seeds: Seeds each of them is trained with.
        finalist_epochs: Epochs of each of those trainings.
        workers: Processes that train.
        seed: Seed of proposals and trainings.
        device: Device as it was asked for, such as "auto" or "cuda:1".
        precision: "fp32", "bf16" or "fp16".
        threads: Threads of a training on a CPU.
        graph: Whether training steps are replayed from a CUDA graph; "auto": on a CUDA device, where that is faster.
        queue: Networks to train before any is proposed.
        checkpoints: Where checkpoints go that workers of other machines find; None for the run folder alone.
        storage: "journal", or the URL of a database; it may hold a password and is never recorded.
        chosen: Keys, as "section.key", whose values the device decided.

    Examples:
        >>> import torch
        >>> from nas_budget.search.config.resolve import resolve
        >>> from nas_budget.search.config.study_file import read_study_file
        >>> from nas_budget.train.data.open import open_dataset
        >>> sections = read_study_file(None, {"budget.params": "250k", "search.trials": 20})
        >>> config = resolve("tiny", sections, torch.device("cpu"), open_dataset("shapes"))
        >>> config.budget.params, config.recipe.epochs, config.rungs
        (250000, 6, (3, 4))
        >>> 0 < config.proxy <= 1, "search.proxy" in config.chosen
        (True, True)
    """

    name: str
    budget: Budget
    space: AnySpace
    recipe_name: str
    recipes: RecipeSpace
    data_name: str
    data_digest: str
    data_place: str
    n_train: int
    n_validation: int
    trials: int
    time: float | None
    proxy: float
    ladder: tuple[int, ...]
    timeout: float | None
    device_time: float | None
    patience: int | None
    target: float | None
    sampler: str
    aim: str
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
    device: str
    precision: str
    threads: int
    graph: bool | Literal["auto"]
    queue: tuple[AnySpec, ...]
    checkpoints: str | None = field(default=None, compare=False)
    storage: str = field(default="journal", compare=False)
    chosen: tuple[str, ...] = field(default=(), compare=False)

    def networks(self) -> NetworkSpace:
        """The networks that may be proposed.

        Raises:
            NothingFitsError: No network of the space is inside the budget.
        """
        return networks_of(self.space, self.budget)

    @property
    def recipe(self) -> Recipe:
        """How a network is trained when nothing else is proposed."""
        return self.recipes.decode({})

    @property
    def chosen_values(self) -> dict[str, Any]:
        """The values that the device decided, by "section.key"."""
        sections = self.to_dict()
        return {key: sections[section][name] for key in self.chosen for section, name in [key.split(".")]}

    def to_dict(self) -> dict[str, Any]:
        """The settings by section and key, as plain values: what a study records, in the format `FORMAT`.

        The sections are those of a study file. `space` also holds the size, channels and classes of the images.
        """
        data = {"name": self.data_name, "images": self.n_train, "validation_images": self.n_validation}
        search = {key: getattr(self, key) for key in SearchSection.model_fields if key != "storage"}
        sections = {
            "budget": self.budget.to_dict(),
            "space": asdict(self.space),
            "data": {**data, "digest": self.data_digest} | ({"place": self.data_place} if self.data_place else {}),
            "recipe": {"name": self.recipe_name, **self.recipes.to_dict()},
            "search": {**search, "queue": [spec.to_dict() for spec in self.queue]},
        }
        closed = {
            section: {key: "none" if value is None else value for key, value in values.items()}
            for section, values in sections.items()
        }
        plain: Sections = json.loads(json.dumps(closed))  # lists for tuples, as they are read back
        return {"format": FORMAT, **plain}


def is_held(key: str) -> bool:
    """Whether a resumed study must have the value of a "section.key" it was made with: its results depend on it."""
    return key in HELD_KEYS or not key.startswith(("search.", "data.place"))


def differences(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    """What a resumed study must not change and does, in words, of two `StudyConfig.to_dict`."""
    # A study that was recorded before a space or a budget had a key was one of the key's default.
    usual = {
        "space": json.loads(json.dumps(asdict(SearchSpace()))),
        "budget": {**asdict(Budget()), "latency_ns": "none"},
    }
    for section in SECTIONS:
        known = usual.get(section, {}) | recorded[section]
        limits = dict.fromkeys(LATENCY) | {"latency_ns": "none"} if section == "budget" else {}
        for field_name, value in (limits | asked[section]).items():
            key, before = f"{section}.{field_name}", known.get(field_name)
            if is_held(key) and before != value:
                yield OTHERS.get(field_name) or f"{key} is {before}, not {value}"


def write_config(config: StudyConfig, folder: Path) -> None:
    """Write `settings.json` to the run folder of a study."""
    write_whole(folder / STUDY_SETTINGS, json.dumps(config.to_dict(), indent=2) + "\n")


def study_name(file: Path | None, sections: Sections) -> str:
    """The name a study has when none is given: its file's, or its data and budget, such as "auto-5M"."""
    if file is not None:
        return name_from(file.stem)
    limit = sections["budget"]["params"]
    data = Path(split_options(sections["data"]["name"])[0])
    stem = data.stem or data.resolve().stem
    return f"{name_from(stem)}-{'any' if limit == 'none' else _short(limit)}"


def _short(number: int) -> str:
    for factor, suffix in (10**6, "M"), (10**3, "k"):
        if number % factor == 0:
            return f"{number // factor}{suffix}"
    return str(number)


def next_name(name: str) -> str:
    """A name for a study like this one: "mine-2" after "mine", "mine-3" after "mine-2"."""
    stem, dash, number = name.rpartition("-")
    return f"{stem}-{int(number) + 1}" if dash and number.isdigit() else f"{name}-2"
