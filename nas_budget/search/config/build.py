"""From the sections of a study file, or of `settings.json`, to the objects that the other layers take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nas_budget.arch.budget import Budget
from nas_budget.arch.family_spec import FamilySpace
from nas_budget.arch.latency_table import fit_latency
from nas_budget.arch.scale import scale_widths
from nas_budget.arch.spec import AnySpec, ResNetSpec, spec_from_dict
from nas_budget.errors import NasBudgetError, SpecError, StudyError, UsageError
from nas_budget.records.paths import STUDY_SETTINGS
from nas_budget.search.config.latency import closed_budget, given_table, is_measured
from nas_budget.search.config.proxy import LADDERS, check_proxy, possible_ladder
from nas_budget.search.config.sections import FROM_DATA, SECTIONS, SearchSection
from nas_budget.search.config.settings import FORMAT, StudyConfig
from nas_budget.search.config.study_file import Sections
from nas_budget.search.pruners.front import default_rungs
from nas_budget.search.samplers.candidate import CHOICES, RANGES, RecipeSpace
from nas_budget.search.samplers.factory import AnySpace, dimensions_of
from nas_budget.search.samplers.family_networks import FamilyNetworks
from nas_budget.search.samplers.optuna_samplers import check_sampler
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.modules.family import family_space
from nas_budget.train.optim.recipe import RECIPES, Recipe
from nas_budget.untrusted import read_json, read_text

LATER: dict[str, Any] = {"checkpoints": "none"}
"""Keys of `[search]` that studies recorded before did not have."""
REFERENCE: dict[str, Any] = {"channels": (32, 64, 96, 128, 185)}
"""The reference paper's network, but for its images."""


def read_config(folder: Path) -> StudyConfig:
    """The settings that the study in a run folder was made with, from its `settings.json`.

    Its storage is not recorded and is given as "journal".

    Raises:
        StudyError: There is no such file, it is damaged, or another version wrote it.
    """
    path = folder / STUDY_SETTINGS
    try:
        return recorded_config(folder.name, lambda: read_json(read_text(path)), str(path))
    except OSError as error:
        raise StudyError(
            f"{folder} holds no study ({path}: {error.strerror}); give the run folder of a search"
        ) from None


def recorded_config(name: str, read: Callable[[], Any], where: str, storage: str = "journal") -> StudyConfig:
    """The settings that a study was made with, as it recorded them.

    Args:
        name: Name of the study.
        read: Gives what was recorded (`StudyConfig.to_dict`).
        where: It was recorded, in words.
        storage: Where the study is, which is not recorded.

    Raises:
        StudyError: It is damaged, or another version wrote it.
    """
    try:
        sections = {**read()}
        if sections.pop("format", None) != FORMAT:
            raise StudyError(f"{where}: written by another version; this one reads {FORMAT!r}; run the study again")
        return build_config(name, sections, {key: sections["space"][key] for key in FROM_DATA}, storage)
    except StudyError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, NasBudgetError) as error:
        raise StudyError(f"{where}: damaged ({type(error).__name__}: {error}); run the study again") from None


def build_config(
    name: str, sections: Sections, images: Mapping[str, Any], storage: str = "journal", chosen: tuple[str, ...] = ()
) -> StudyConfig:
    """The settings of sections in which nothing is left to the device.

    Args:
        name: Name of the study.
        sections: With the digest of the data set beside its name.
        images: Size, channels and classes of the images.
        storage: "journal", or the URL of a database.
        chosen: Keys that the device decided.

    Raises:
        UsageError: Values that contradict each other, or the images.
    """
    search, data = LATER | sections["search"], sections["data"]
    budget, space = budget_of(sections["budget"]), space_of(sections["space"], images)
    recipes = recipes_of(sections["recipe"])
    epochs = recipes.base.epochs
    check_crop(recipes.base.crop_pad, images["image_size"])
    check_sampler(search["sampler"], [*dimensions_of(space), *recipes.dimensions()])
    check_proxy(search["proxy"], space)
    resolved = {
        **{key: _closed(key, search[key]) for key in SearchSection.model_fields if key != "storage"},
        "ladder": _ladder(search),
        "n_startup_trials": _startup(search),
        "rungs": _rungs(search["rungs"], epochs),
        "finalist_epochs": epochs if search["finalist_epochs"] == "auto" else search["finalist_epochs"],
        "queue": _queue(search["queue"], images, space, budget, search["proxy"]),
    }
    return StudyConfig(
        name=name,
        budget=budget,
        space=space,
        recipe_name=sections["recipe"]["name"],
        recipes=recipes,
        data_name=data["name"],
        data_digest=data["digest"],
        data_place=data.get("place", ""),
        n_train=data["images"],
        n_validation=data["validation_images"],
        storage=storage,
        chosen=chosen,
        **resolved,
    )


def _closed(key: str, value: Any) -> Any:
    """A value of `[search]`; None for no limit ("none" is also the name of a pruner)."""
    return None if value == "none" and key != "pruner" else value


def recipes_of(section: Mapping[str, Any]) -> RecipeSpace:
    """The recipe of a section, in which a list stands for a range of a number or for choices."""
    values = {**asdict(RECIPES[section["name"]]), **section}
    ranges = {name: tuple(values[name]) for name in RANGES if isinstance(values[name], list)}
    choices = {name: tuple(values[name]) for name in CHOICES if isinstance(values[name], list)}
    for name, (low, high) in ranges.items():
        if not 0 < low <= high:
            raise UsageError(f"recipe.{name}: [{low}, {high}] is no range; give the least, above 0, then the most")
    if empty := [name for name, given in choices.items() if not given]:
        raise UsageError(f"recipe.{empty[0]}: [] holds no choice; give at least one")
    first = {name: given[0] for name, given in (ranges | choices).items()}
    fixed = {key: value for key, value in values.items() if key != "name"}
    return RecipeSpace(Recipe(**{**fixed, **first}), ranges, choices)


def _ladder(search: Mapping[str, Any]) -> tuple[int, ...]:
    """How many trials are trained again at each further level; none where networks themselves are trained."""
    return possible_ladder(search["proxy"], LADDERS[0] if search["ladder"] == "auto" else search["ladder"])


def _startup(search: Mapping[str, Any]) -> int:
    """Startup trials: few where a model learns from them, ten (Optuna's own number) elsewhere."""
    asked = search["n_startup_trials"]
    if asked == "auto":
        return 4 if search["sampler"] == "bayes" else 10
    return int(asked)


def _rungs(asked: Any, epochs: int) -> tuple[int, ...]:
    if asked == "auto":
        return default_rungs(epochs)
    if list(asked) != sorted(set(asked)) or any(rung >= epochs for rung in asked):
        raise UsageError(
            f"search.rungs: {list(asked)} does not go with recipe.epochs = {epochs}; "
            f"give rising epochs from 1 to {epochs - 1}" + (", or [] for none" if epochs == 1 else "")
        )
    return tuple(asked)


def _queue(asked: Any, images: Mapping[str, Any], space: AnySpace, budget: Budget, proxy: float) -> tuple[AnySpec, ...]:
    """The networks to train first; left open, the reference network where the space holds it and it fits."""
    if isinstance(space, FamilySpace):
        if not asked or asked == "auto":  # settings are read where the family's code need not be
            return ()
        return tuple(map(FamilyNetworks(space, budget).queued, asked))
    if asked != "auto":
        queue = tuple(_queued(values, images, space, budget) for values in asked)
        for spec in queue:
            _check_scaled(spec, proxy)
        return queue
    try:
        spec = replace(ResNetSpec(**REFERENCE, **images), dropout=space.dropout)
    except SpecError:  # the images are too small for its stages
        return ()
    return (spec,) if contains(space, spec) and budget.check(spec).fits else ()


def _check_scaled(spec: ResNetSpec, proxy: float) -> None:
    """Refuse a network of the queue that is too narrow for a proxy before any is trained."""
    try:
        scale_widths(spec, proxy)
    except SpecError as error:
        raise UsageError(f"search.queue: {spec} is too narrow for search.proxy: {error}; or leave it out") from None


def _queued(values: Mapping[str, Any], images: Mapping[str, Any], space: SearchSpace, budget: Budget) -> ResNetSpec:
    """A network of the queue: it must fit, and has the images of the data and the dropout of the space."""
    _check_images(values, images, "search.queue")
    spec = ResNetSpec.from_dict({"dropout": space.dropout, **values, **images})
    spec = replace(spec, pool=spec.pool_size)
    for margin in budget.check(spec).margins:
        if margin.margin < 0:
            raise UsageError(
                f"search.queue: {spec} needs {margin.number(margin.used)} {margin.words}, "
                f"{margin.number(margin.limit)} allowed; "
                "make it smaller (nas-budget fit finds the largest of its shape), or leave it out"
            )
    return spec


def images_of(dataset: Dataset) -> dict[str, int]:
    """Size, channels and classes of the images of a data set, as a spec has them."""
    return {
        "image_size": dataset.image_size,
        "in_channels": dataset.in_channels,
        "classes": len(dataset.classes),
    }


def spec_for(values: Mapping[str, Any], images: Mapping[str, Any], where: str) -> AnySpec:
    """The network of these values for these images.

    Raises:
        UsageError: The values are of a network for other images; `where` says whose they are.
        SpecError: No network can be built of them.
    """
    _check_images(values, images, where)
    return spec_from_dict({**values, **images})


def _check_images(values: Mapping[str, Any], images: Mapping[str, Any], where: str) -> None:
    if others := [key for key, value in images.items() if values.get(key, value) != value]:
        wrong = ", ".join(f"{key} is {values[key]}, not {images[key]}" for key in others)
        raise UsageError(f"{where}: a network for other images: {wrong}; leave {', '.join(others)} out")


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


def budget_of(section: Mapping[str, Any]) -> Budget:
    """The budget of a section: of a study file, or of a study's settings.

    Raises:
        UsageError: A limit on latency without a table of latencies, which only a search can do without.
        TableError: A table that cannot be read.
    """
    if is_measured(section):
        raise UsageError(
            "budget.latency: nothing says here how long layers take; give budget.latency_table (--latency-table), or "
            "the run folder of a search with --study"
        )
    table = given_table(section)
    section = closed_budget(section, fit_latency(table) if table else None)
    values: dict[str, Any] = {key: None if value == "none" else value for key, value in section.items()}
    return Budget(**values)


def space_of(section: Mapping[str, Any], images: Mapping[str, Any]) -> AnySpace:
    """The space of a section, for images of this size, channels and classes. A family is imported, which runs its code.

    Raises:
        UsageError: A family that is not there, or keys that do not go with it.
    """
    if "choices" in section:  # recorded, or read before
        choices = tuple((name, tuple(values)) for name, values in section["choices"])
        return FamilySpace(section["family"], choices, section["knob"], **images)
    if family := section.get("family"):
        defaults = SECTIONS["space"]().model_dump(mode="json")
        if others := [key for key, value in section.items() if key != "family" and value != defaults[key]]:
            raise UsageError(f"space.{others[0]}: goes with residual networks, not with space.family; leave it out")
        return family_space(family, **images)
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in section.items() if key != "family"
    }
    return SearchSpace(**{**values, **images})
