"""From a study, a study file or a spec to the settings of a full training."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, StudyError, UsageError
from nas_budget.records.formatting import in_short
from nas_budget.records.paths import BEST_SPEC, TRIAL_SETTINGS, TRIALS_TABLE, trial_folder
from nas_budget.search.config.build import budget_of, check_crop, images_of, spec_for
from nas_budget.search.config.resolve import SMALL_MACS
from nas_budget.search.config.study_file import Sections
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_sizes
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.optim.recipe import RECIPES, Recipe

DEFAULT_RECIPE = "strong"
STUDY_RECIPE = "study"
"""The name of a recipe for that of the study's trial."""


@dataclass(frozen=True)
class Winner:
    """A network to be given a full training.

    Attributes:
        name: Where it is from, for the name of a run.
        values: Fields of its spec.
        recipe: How its trial was trained; None where it is of no trial.
    """

    name: str
    values: Mapping[str, Any]
    recipe: Mapping[str, Any] | None = None


def winner_of_study(folder: Path, trial: int | None = None, budget: Budget | None = None) -> Winner:
    """The best network of a study's run folder, or that of a trial.

    Where the best is over a budget narrower than the study's, it is the most accurate one that was trained to the end
    and fits.

    Raises:
        StudyError: There is no such study or trial, or no trial has ended.
        NothingFitsError: No network that was trained to the end fits.
    """
    if trial is not None:
        found = _trial(folder, trial, f"{folder} has no trial {trial}")
        return Winner(f"{folder.name}-trial{trial}", found["spec"], found["recipe"])
    best = _read(folder / BEST_SPEC, f"{folder} holds no study with a trial that was trained to the end")
    name, rows = f"{folder.name}-best", _complete_rows(folder)
    if budget and (passed := _passed(budget, best)):
        best = _best_within(folder, rows, budget)
        name += "".join(f"-{in_short(limit)}{'' if kind == 'params' else '-' + kind}" for kind, limit in passed)
    for number in (row["number"] for row in rows):
        if _trial_file(folder, number).exists() and (found := _trial(folder, number))["spec"] == best:
            return Winner(name, best, found["recipe"])
    return Winner(name, best)


def _passed(budget: Budget, values: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The limits that a network passes, by name."""
    margins = budget.check(ResNetSpec.from_dict(dict(values))).margins
    return [(margin.name, margin.limit) for margin in margins if margin.margin < 0]


def _best_within(folder: Path, rows: list[dict[str, str]], budget: Budget) -> dict[str, Any]:
    specs = [json.loads(row["spec"]) for row in rows]
    for spec in specs:
        if not _passed(budget, spec):
            return dict(spec)
    least = min((cost(ResNetSpec.from_dict(spec)).params for spec in specs), default=0)
    raise NothingFitsError(
        f"{folder}: of its {len(specs)} networks trained to the end none is within {budget}; the smallest has "
        f"{least:,} parameters; raise the limit, or search with that budget"
    )


def _complete_rows(folder: Path) -> list[dict[str, str]]:
    """The trials that were trained to the end, the most accurate first, of equals the smaller; none without a table."""
    rows = [row for row in _rows(folder) if row["state"] == "complete"]
    return sorted(rows, key=lambda row: (-float(row["accuracy"]), int(row["params"])))


def _rows(folder: Path) -> list[dict[str, str]]:
    try:
        with (folder / TRIALS_TABLE).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError):
        return []


def _trial_file(folder: Path, number: int | str) -> Path:
    return trial_folder(folder, number) / TRIAL_SETTINGS


def _trial(folder: Path, number: int | str, problem: str = "") -> Any:
    return _read(_trial_file(folder, number), problem)


def study_defaults(folder: Path) -> dict[str, Any]:
    """Data and limit of a study by "section.key", as its trials table tells; empty where there is no table."""
    for row in _rows(folder)[:1]:
        return {"data.name": row["data"], "budget.params": row["budget_params"] or "none"}
    return {}


def _read(path: Path, problem: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{problem} ({path}: {getattr(error, 'strerror', None) or error})") from None


def winner_of_file(sections: Sections, file: Path) -> Winner:
    """The one network in the queue of a study file.

    Raises:
        UsageError: There is none, or more than one.
    """
    queue = sections["search"]["queue"]
    if queue == "auto" or len(queue) != 1:
        n = 0 if queue == "auto" else len(queue)
        raise UsageError(
            f"{file}: search.queue holds {n} networks; a full training takes one: give a queue of one, a spec.json, "
            "--channels or --study"
        )
    return Winner(file.stem, {"dropout": sections["space"]["dropout"], **queue[0]})


def full_training_config(
    winner: Winner, sections: Sections, dataset: Dataset, precision: str, *, name: str | None = None,
    recipe: str | None = None, n_seeds: int = 1, all_images: bool = False, deterministic: bool = False,
    compiled: bool = False, graphed: bool = False,
) -> RunConfig:  # fmt: skip
    """The settings of a full training.

    Args:
        winner: The network.
        sections: Of a study file; what is "auto" in it is all images, a tenth for validation, the recipe "strong".
        dataset: The images.
        precision: "fp32", "bf16" or "fp16".
        name: Of the run; None for one made of network and recipe.
        recipe: "study" for that of the winner's trial; None for that of the sections.
        n_seeds: Trainings, with seeds from `search.seed` on.
        all_images: Whether no training image is set aside for validation.
        deterministic: Whether only deterministic algorithms are allowed.
        compiled: Whether the network is compiled.
        graphed: Whether its passes are replayed from a CUDA graph.

    Raises:
        UsageError: StudyConfig that make no sense.
        NothingFitsError: The network is over budget.
    """
    spec = spec_for(dict(winner.values), images_of(dataset), winner.name)
    recipe_name, how = _recipe(winner, sections["recipe"], recipe)
    check_crop(how.crop_pad, dataset.image_size)
    data = sections["data"]
    n_train = None if data["images"] in ("auto", "all") else data["images"]
    n_validation = 0 if all_images else None if data["validation_images"] == "auto" else data["validation_images"]
    validation, train = split_sizes(dataset, n_train, n_validation)
    first = sections["search"]["seed"]
    settings = RunConfig(
        name=name or f"{winner.name}-{recipe_name}",
        spec=spec,
        recipe_name=recipe_name,
        recipe=how,
        n_train=train,
        n_validation=validation,
        seeds=tuple(range(first, first + n_seeds)),
        precision=precision,
        deterministic=deterministic,
        compiled=compiled,
        graphed=graphed,
    )
    _check_budget(settings, full_training_budget(sections))
    return settings


def threads_for(settings: RunConfig, asked: int | str, n_cores: int) -> int:
    """Threads for a CPU: as asked, or one for a small network, or all."""
    if isinstance(asked, int):
        return asked
    return 1 if cost(settings.spec).macs <= SMALL_MACS else n_cores


def _recipe(winner: Winner, section: Mapping[str, Any], asked: str | None) -> tuple[str, Recipe]:
    given = {key: value for key, value in section.items() if key != "name"}
    if ranges := [key for key, value in given.items() if isinstance(value, (list, tuple))]:
        raise UsageError(f"recipe.{ranges[0]}: {given[ranges[0]]} leaves it open; a full training takes one value")
    if asked == STUDY_RECIPE:
        if winner.recipe is None:
            raise UsageError(
                f"--recipe {STUDY_RECIPE}: {winner.name} is of no trial whose recipe is known; give --study with a run "
                f"folder, or one of {', '.join(RECIPES)}"
            )
        return STUDY_RECIPE, Recipe(**{**winner.recipe, **given})
    name = DEFAULT_RECIPE if section["name"] == "auto" else section["name"]
    return name, Recipe(**{**asdict(RECIPES[name]), **given})


def full_training_budget(sections: Sections) -> Budget:
    """The budget of a full training: MACs that are left to the device are not limited."""
    section = sections["budget"]
    return budget_of({**section, "macs": "none" if section["macs"] == "auto" else section["macs"]})


def _check_budget(settings: RunConfig, budget: Budget) -> None:
    for margin in budget.check(settings.spec).margins:
        if margin.margin < 0:
            raise NothingFitsError(
                f"OVER BUDGET: {settings.spec} needs {margin.used:,} {margin.words}, {margin.limit:,} allowed; "
                "make it smaller, or raise the limit (--budget none trains it all the same)"
            )
