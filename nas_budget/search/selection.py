"""`Selection`: the network of a study, of a study file or of a spec, and the settings of its full training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas_budget.arch.budget import LATENCY, Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.latency import milliseconds
from nas_budget.arch.spec import spec_from_dict, spec_from_json
from nas_budget.errors import NothingFitsError, SpecError, StudyError, TableError, UsageError
from nas_budget.records.formatting import in_short
from nas_budget.records.paths import BEST_SPEC, LATENCIES, STUDY_SETTINGS, TRIAL_SETTINGS, TRIALS_TABLE, trial_folder
from nas_budget.records.trials import TrialRecord, read_trials
from nas_budget.search.config.build import budget_of, check_crop, images_of, read_config, spec_for
from nas_budget.search.config.resolve import SMALL_MACS
from nas_budget.search.config.study_file import Sections
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_sizes
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.optim.recipe import RECIPES, Recipe
from nas_budget.untrusted import check_name, name_from, read_json, read_text

DEFAULT_RECIPE = "strong"
STUDY_RECIPE = "study"
"""The name of a recipe for that of the study's trial."""


@dataclass(frozen=True)
class Selection:
    """A network that was chosen for a full training.

    `select_from_study` takes it from a search and `select_from_file` from a study file. `full_training_config` makes
    the settings of a training from it.

    Attributes:
        name: Where it is from; names of runs begin with it.
        values: Fields of its spec. Those that are missing have their defaults; size, channels and classes of the images
            come from the data set.
        recipe: How its trial was trained; None where no trial is known.

    Examples:
        >>> from nas_budget.search.config.study_file import read_study_file
        >>> from nas_budget.train.data.open import open_dataset
        >>> mine = Selection("mine", {"channels": [8, 16], "blocks": 1})
        >>> config = full_training_config(mine, read_study_file(None), open_dataset("shapes"), "fp32", n_seeds=2)
        >>> config.name, config.recipe_name, config.n_train, config.seeds
        ('mine-strong', 'strong', 18000, (0, 1))
    """

    name: str
    values: Mapping[str, Any]
    recipe: Mapping[str, Any] | None = None


def select_from_study(folder: Path, trial: int | None = None, budget: Budget | None = None) -> Selection:
    """The best network of a study, or that of a trial.

    If the best network is over the budget, it is the most accurate network that was trained to the end and fits.

    Args:
        folder: Run folder of the study.
        trial: Number of a trial; None for the best.
        budget: Limits of the full training; None for no limit.

    Raises:
        StudyError: There is no such study or trial, no trial is complete, or a file that is needed is damaged.
        NothingFitsError: No network that was trained to the end fits.
    """
    if trial is not None:
        return Selection(f"{folder.name}-trial{trial}", *_read_trial(folder, trial, f"{folder} has no trial {trial}"))
    best = _read_object(folder / BEST_SPEC, f"{folder} holds no study with a complete trial")
    name, trials = f"{folder.name}-best", _complete_trials(folder)
    if budget and (over := _limits_passed(budget, best)):
        best = _best_within(folder, trials, budget)
        name += "".join(f"-{_limit_in_name(kind, limit)}" for kind, limit in over)
    for number in (one.number for one in trials if _values_of(one) == best):
        if (trial_folder(folder, number) / TRIAL_SETTINGS).exists():
            return Selection(name, best, _read_trial(folder, number, f"trial {number} is damaged")[1])
    return Selection(name, best)


def _limit_in_name(kind: str, limit: int) -> str:
    if kind == "latency_ns":
        return f"{milliseconds(limit)}ms"
    return in_short(limit) if kind == "params" else f"{in_short(limit)}-{kind}"


def _limits_passed(budget: Budget, values: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Name and value of each limit that a network is over."""
    margins = budget.check(spec_from_dict(dict(values))).margins
    return [(margin.name, margin.limit) for margin in margins if margin.margin < 0]


def _best_within(folder: Path, trials: Sequence[TrialRecord], budget: Budget) -> dict[str, Any]:
    specs = [_values_of(trial) for trial in trials]
    if within := next((spec for spec in specs if not _limits_passed(budget, spec)), None):
        return within
    if not trials:
        raise StudyError(f"{folder / TRIALS_TABLE}: missing, or without a complete trial; no smaller network is known")
    raise NothingFitsError(
        f"{folder}: of its {len(specs)} networks trained to the end none is within {budget}; the smallest has "
        f"{min(trial.params for trial in trials):,} parameters; raise the limit, or search with that budget"
    )


def _complete_trials(folder: Path) -> list[TrialRecord]:
    """The complete trials, the best first: those trained widest, of these the most accurate, of equals the smaller.

    None where there is no table.
    """
    if not (folder / TRIALS_TABLE).exists():
        return []
    try:
        trials = [trial for trial in read_trials(folder) if trial.state == "complete"]
    except TableError as error:
        raise StudyError(str(error)) from None
    return sorted(trials, key=lambda trial: (-trial.proxy, -(trial.accuracy or 0.0), trial.params))


def study_defaults(folder: Path) -> dict[str, Any]:
    """Data set and limits of a study by "section.key", as its `settings.json` has them.

    Raises:
        StudyError: The file is missing or damaged, or another version wrote it.
    """
    recorded = read_config(folder).to_dict()
    limits = {f"budget.{key}": value for key, value in recorded["budget"].items() if key not in LATENCY}
    if recorded["budget"].get("latency_model"):
        limit = recorded["budget"]["latency_ns"]
        limits["budget.latency"] = limit if limit == "none" else f"{limit}ns"
        limits["budget.latency_table"] = str(folder / LATENCIES)
    return {"data.name": recorded["data"]["name"], **limits}


def data_place(folder: Path | None, name: str) -> str:
    """Where the data set of a study lay, if it has this name; else empty."""
    recorded = read_config(folder) if folder else None
    return recorded.data_place if recorded and recorded.data_name == name else ""


def limits_beside(file: Path) -> dict[str, Any]:
    """Limits of the study in whose folder a spec lies, by "section.key"; none where it lies elsewhere.

    Raises:
        StudyError: The study's settings are damaged, or another version wrote them.
    """
    if not (file.parent / STUDY_SETTINGS).is_file():
        return {}
    return {key: value for key, value in study_defaults(file.parent).items() if key.startswith("budget.")}


def _read_trial(folder: Path, number: int, problem: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Network and recipe of a trial, as its folder has them; `problem` is what an error begins with."""
    path = trial_folder(folder, number) / TRIAL_SETTINGS
    found = _read_object(path, problem)
    spec, recipe = (found.get(key) for key in ("spec", "recipe"))
    if not isinstance(spec, dict) or not isinstance(recipe, dict) or recipe.keys() - asdict(Recipe()).keys():
        raise StudyError(f"{problem} ({path}: holds no spec and recipe)")
    return spec, recipe


def _read_object(path: Path, problem: str) -> dict[str, Any]:
    try:
        found = read_json(read_text(path))
    except (OSError, ValueError) as error:
        raise StudyError(f"{problem} ({path}: {getattr(error, 'strerror', None) or error})") from None
    if not isinstance(found, dict):
        raise StudyError(f"{problem} ({path}: holds no object)")
    return found


def _values_of(trial: TrialRecord) -> dict[str, Any]:
    """The network of a trial, as plain values."""
    try:
        return spec_from_json(trial.spec).to_dict()
    except SpecError as error:
        raise StudyError(f"trial {trial.number} of {TRIALS_TABLE} has no network ({error})") from None


def select_from_file(sections: Sections, file: Path) -> Selection:
    """The one network in the queue of a study file.

    Raises:
        UsageError: There is none, or more than one.
    """
    if family := sections["space"]["family"]:
        raise UsageError(
            f"{file}: trains no network of {family} by itself; give --study with the run folder of its search"
        )
    queue = sections["search"]["queue"]
    if queue == "auto" or len(queue) != 1:
        n = 0 if queue == "auto" else len(queue)
        raise UsageError(
            f"{file}: search.queue holds {n} networks; a full training takes one: give a queue of one, a spec.json, "
            "--channels or --study"
        )
    return Selection(file.stem, {"dropout": sections["space"]["dropout"], **queue[0]})


def full_training_config(
    selection: Selection, sections: Sections, dataset: Dataset, precision: str, *, name: str | None = None,
    recipe: str | None = None, n_seeds: int = 1, all_images: bool = False, deterministic: bool = False,
    compiled: bool = False, graphed: bool | None = None,
) -> RunConfig:  # fmt: skip
    """The settings of a full training.

    Args:
        selection: The network.
        sections: Of a study file; what is "auto" in it is all images, a tenth for validation, the recipe "strong".
            Its limits stay with the run.
        dataset: The images.
        precision: "fp32", "bf16" or "fp16".
        name: Of the run; None for one made of network and recipe.
        recipe: "study" for that of the selection's trial; None for that of the sections.
        n_seeds: Trainings, with seeds from `search.seed` on.
        all_images: Whether no training image is set aside for validation.
        deterministic: Whether only deterministic algorithms are allowed.
        compiled: Whether the network is compiled.
        graphed: Whether its steps are replayed from a CUDA graph; None: on a CUDA device, where that is faster, but
            neither with `deterministic` nor with `compiled`, as which it is depends on the moment.

    Raises:
        UsageError: Settings that contradict each other or the images.
        NothingFitsError: The network is over budget.
    """
    spec = spec_for(dict(selection.values), images_of(dataset), selection.name)
    recipe_name, how = _recipe(selection, sections["recipe"], recipe)
    check_crop(how.crop_pad, dataset.image_size)
    data = sections["data"]
    n_train = None if data["images"] in ("auto", "all") else data["images"]
    n_validation = 0 if all_images else None if data["validation_images"] == "auto" else data["validation_images"]
    validation, train = split_sizes(dataset, n_train, n_validation)
    first = sections["search"]["seed"]
    settings = RunConfig(
        name=name_from(f"{selection.name}-{recipe_name}") if name is None else check_name(name),
        spec=spec,
        recipe_name=recipe_name,
        recipe=how,
        n_train=train,
        n_validation=validation,
        seeds=tuple(range(first, first + n_seeds)),
        precision=precision,
        deterministic=deterministic,
        compiled=compiled,
        graphed=(False if deterministic or compiled else "auto") if graphed is None else graphed,
        budget=budget_of(sections["budget"]),
    )
    _check_budget(settings)
    return settings


def threads_for(settings: RunConfig, asked: int | str, n_cores: int) -> int:
    """Threads for a CPU: as asked, or one for a small network, or all."""
    if isinstance(asked, int):
        return asked
    return 1 if cost(settings.spec).macs <= SMALL_MACS else n_cores


def _recipe(selection: Selection, section: Mapping[str, Any], asked: str | None) -> tuple[str, Recipe]:
    given = {key: value for key, value in section.items() if key != "name"}
    if ranges := [key for key, value in given.items() if isinstance(value, (list, tuple))]:
        raise UsageError(f"recipe.{ranges[0]}: {given[ranges[0]]} leaves it open; a full training takes one value")
    if asked == STUDY_RECIPE:
        if selection.recipe is None:
            raise UsageError(
                f"--recipe {STUDY_RECIPE}: {selection.name} is of no trial whose recipe is known; give --study with a "
                f"run folder, or one of {', '.join(RECIPES)}"
            )
        return STUDY_RECIPE, Recipe(**{**selection.recipe, **given})
    name = DEFAULT_RECIPE if section["name"] == "auto" else section["name"]
    return name, Recipe(**{**asdict(RECIPES[name]), **given})


def _check_budget(settings: RunConfig) -> None:
    for margin in settings.budget.check(settings.spec).margins:
        if margin.margin < 0:
            raise NothingFitsError(
                f"OVER BUDGET: {settings.spec} needs {margin.number(margin.used)} {margin.words}, "
                f"{margin.number(margin.limit)} allowed; "
                f"make it smaller, or raise the limit (--set budget.{margin.name}=none trains it all the same)"
            )
