"""`resolve`: from the sections of a study file to a `StudyConfig`, deciding what they leave to the device."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from nas_budget.arch.budget import Budget
from nas_budget.arch.latency_table import LatencyTable
from nas_budget.errors import StudyError, StudyFileError, UsageError
from nas_budget.memory import free_bytes
from nas_budget.search.config.build import budget_of, build_config, images_of, recipes_of, space_of
from nas_budget.search.config.latency import Timing, closed_budget, given_table, is_measured, measured_table, model_for
from nas_budget.search.config.proxy import (
    FACTORS,
    LADDERS,
    LEAST_IMAGES,
    TRIALS,
    Asked,
    Measure,
    check_ladder,
    choose,
    narrowest_width,
    possible_ladder,
    spaces_by_factor,
)
from nas_budget.search.config.sections import FROM_DATA
from nas_budget.search.config.settings import FORMAT, StudyConfig, differences, is_held, next_name
from nas_budget.search.config.study_file import Sections
from nas_budget.search.samplers.factory import AnySpace
from nas_budget.space.space import SearchSpace
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import split_sizes
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device, inference_precision
from nas_budget.train.profile.time_model import TimeModel

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

LEAST_BATCH = 2
"""Images of which batch norm can take a mean, however small they are."""
RECIPE_NAMES = {"cpu": "brief", "gpu": "fast"}
N_VALIDATION = 1_000
"""Images for validation on a CPU; on a GPU a tenth of the training images."""
MOST_WORKERS, WORKER_BYTES = 8, 2 * 1024**3
"""Workers that are started unasked on a CPU, and the memory that there must be for each: one took 1.7 GB."""
WIDTH = (8, 512)
TRIAL_S = {"cpu": 18.0, "gpu": 600.0}
"""Seconds for each trial that a search without a time of its own is planned for: fifty in 15 minutes on a CPU."""
FILL = {"best": (0.51, 1.0), "front": (0.02, 1.0)}
"""Shares of the parameters that networks use, by the aim: for the best at least half, with room for rounded widths."""
FILL_OF_SEVERAL = (0.1, 1.0)
"""The same where the best is looked for under another limit too: with few MACs few parameters may be best."""
OPEN = (
    "space.fill", "space.width", "data.images", "data.validation_images", "recipe.name", "search.trials",
    "search.proxy", "search.ladder", "search.workers", "search.threads",
)  # fmt: skip
"""Keys that may be left open, beside those that `build_config` decides."""


def resolve(
    name: str, sections: Sections, device: torch.device, dataset: Dataset, recorded: Mapping[str, Any] | None = None,
    measure: Measure | None = None, latencies: LatencyTable | None = None,
) -> StudyConfig:  # fmt: skip
    """The settings of a study: what is "auto" is as the study recorded it, or else as suits the device and the data.

    Args:
        name: Name of the study.
        sections: As `read_study_file` gives them.
        device: Where the study trains.
        dataset: The images.
        recorded: What an existing study recorded (`StudyConfig.to_dict`); None for a new one.
        measure: Times networks on the device; None takes a usual device of its kind.
        latencies: Timed layers of the device that the networks are for; None for those that the study recorded, if any.

    Raises:
        StudyFileError: Values that contradict each other, the data or the device.
        StudyError: The study was recorded with other settings.
    """
    if recorded and recorded.get("format") != FORMAT:
        raise StudyError(
            f"study {name} was recorded by another version of nas-budget, and this one reads {FORMAT!r}; start another "
            f"study with --name {next_name(name)}"
        )
    full = _with_family(sections, dataset, name)
    open_keys = {key for key in OPEN if _get(full, key) == "auto"}
    for key in open_keys if recorded else ():
        if is_held(key) or key in ("search.ladder", "search.trials"):
            _set(full, key, _get(recorded or {}, key))
    full["data"].update(name=dataset.name, digest=dataset.digest, place=dataset.place)
    storage = full["search"].pop("storage")
    if recorded and full["search"]["precision"] == "auto":
        full["search"]["precision"] = recorded["search"]["precision"]
    try:
        model = model_for(space_in(full, dataset), latencies, recorded)
        full["budget"] = closed_budget(full["budget"], model)
        if full["search"]["graph"] is True and device.type != "cuda":
            raise UsageError(f"search.graph: needs a CUDA GPU; the device is {describe_device(device)}; leave it out")
        full["search"]["precision"] = choose_precision(full["search"]["precision"], device)
        full["search"]["checkpoints"] = _checkpoints(full["search"]["checkpoints"], storage, recorded)
        if "auto" not in (proxy := full["search"]["proxy"], ladder := full["search"]["ladder"]):
            check_ladder(proxy, ladder)
        usual = TimeModel.usual(device.type)
        _close(full, device, dataset, None if recorded else measure or (lambda *_: usual))
        config = build_config(name, full, images_of(dataset), storage, tuple(key for key in OPEN if key in open_keys))
    except UsageError as error:
        raise StudyFileError([f"{name}: {error}"]) from None
    if recorded and (changes := list(differences(recorded, config.to_dict()))):
        raise StudyError(
            f"study {name} was made with other settings: {'; '.join(changes)}; "
            f"resume it with those, or start another study with --name {next_name(name)}"
        )
    return config


def _checkpoints(asked: str, storage: str, recorded: Mapping[str, Any] | None) -> str:
    """Where checkpoints go that other machines find: as asked, or as the study recorded it.

    Raises:
        UsageError: The study is in a run folder.
    """
    if asked == "auto":
        return str((recorded or {}).get("search", {}).get("checkpoints", "none"))
    if asked != "none" and storage == "journal":
        raise UsageError(
            "search.checkpoints: is for machines that share a database; in a run folder trials resume anyway"
        )
    return asked


def space_in(sections: Sections, dataset: Dataset) -> AnySpace:
    """The space of a study for the images of a data set, at full size."""
    return _space(sections, images_of(dataset), 1.0)


def _with_family(sections: Sections, dataset: Dataset, name: str) -> Sections:
    """A copy of the sections, with the dimensions of the family that the space names; it is imported for that."""
    full = copy.deepcopy(sections)
    if full["space"]["family"]:
        try:
            full["space"] = json.loads(json.dumps(asdict(space_of(full["space"], images_of(dataset)))))
        except UsageError as error:
            raise StudyFileError([f"{name}: {error}"]) from None
    return full


def space_and_budget(
    sections: Sections, on_message: Callable[[str], None], on_share: Callable[[float], None] = lambda _: None
) -> tuple[SearchSpace, Budget]:
    """Space and budget of a study that is not run: its networks at full size, without proxies.

    Raises:
        UsageError: An unknown data set.
        DataError: A file of images that is missing or damaged.
    """
    if family := sections["space"]["family"]:
        raise UsageError(f"space.family: the networks of {family} cannot be counted like residual ones; leave it out")
    name = sections["data"]["name"]
    images = dict(zip(FROM_DATA, IMAGES[name], strict=True)) if name in IMAGES else None
    images = images or images_of(open_dataset(name, None, on_message, on_share))
    space = _space(sections, images, 1.0)
    assert isinstance(space, SearchSpace)  # noqa: S101 - there is no family
    table = given_table(sections["budget"])
    if is_measured(sections["budget"]):
        on_message("timing layers on this device for the limit on latency; a --latency-table would keep them ...")
        device = choose_device(sections["search"]["device"], on_message)
        threads, precision = sections["search"]["threads"], choose_precision(sections["search"]["precision"], device)
        timing = Timing(device, inference_precision(precision, device), 1 if threads == "auto" else threads)
        table = measured_table(space, sections["budget"], timing)
    model = model_for(space, table, None)
    return space, budget_of(closed_budget(sections["budget"], model) if model else sections["budget"])


def _space(sections: Sections, images: Mapping[str, Any], factor: float) -> AnySpace:
    """The space for proxies of this factor."""
    section = {**sections["space"]}
    if section.get("fill") == "auto":
        aim, budget = sections["search"]["aim"], sections["budget"]
        others = any(budget[limit] != "none" for limit in ("macs", "weight_bytes", "activation_bytes"))
        others = others or budget.get("latency", budget.get("latency_ns")) not in (None, "none")
        section["fill"] = FILL_OF_SEVERAL if aim == "best" and others else FILL[aim]
    if section.get("width") == "auto":
        section["width"] = (max(WIDTH[0], narrowest_width(factor)), WIDTH[1])
    return space_of(section, images)


def _close(full: Sections, device: torch.device, dataset: Dataset, measure: Measure | None) -> None:
    """Decide everything in the sections that is left open; without `measure` the time is already planned."""
    kind = "cpu" if device.type == "cpu" else "gpu"
    search, data = full["search"], full["data"]
    if full["recipe"]["name"] == "auto":
        full["recipe"]["name"] = RECIPE_NAMES[kind]
    if data["validation_images"] == "auto":
        tenth, fifth = max(1, dataset.n_train // 10), max(1, dataset.n_train // 5)
        few = kind == "cpu" and data["images"] != "all"
        data["validation_images"] = min(N_VALIDATION, fifth) if few else tenth
    fixed = None if data["images"] in ("auto", "all") else data["images"]
    data["validation_images"], n_train = _split(dataset, fixed, data["validation_images"])
    images = images_of(dataset)
    cores = torch.get_num_threads()

    def at_once(factor: float) -> int:
        if kind == "gpu":
            return min(n_workers(factor), max(1, torch.cuda.device_count()))
        return min(n_workers(factor), cores) if factor < 1 else cores

    def n_workers(factor: float) -> int:
        if search["workers"] != "auto":
            return int(search["workers"])
        room = free_bytes() // WORKER_BYTES
        return max(1, min(cores, MOST_WORKERS, room)) if kind == "cpu" and factor < 1 else 1

    if measure and ("auto" in (search["proxy"], data["images"]) or search["time"] != "none"):
        recipe = recipes_of(full["recipe"]).base
        trials = search["trials"]
        least = min(LEAST_IMAGES, n_train) if data["images"] == "auto" else n_train
        n_trials = TRIALS if trials == "auto" else trials
        factors = _factors(search, bool(full["space"].get("family")))
        epochs = search["finalist_epochs"]
        asked = Asked(
            factors=factors,
            images=(least, n_train),
            n_validation=data["validation_images"],
            trials=(0 if trials == "auto" and search["time"] != "none" else n_trials, n_trials),
            recipe=recipe,
            precision=search["precision"],
            ladders=LADDERS if search["ladder"] == "auto" else (tuple(search["ladder"]),),
            at_once={factor: at_once(factor) for factor in factors},
            seeds=search["trial_seeds"],
            finalists=(
                search["finalists"] * search["finalist_seeds"],
                1.0 if epochs == "auto" else epochs / recipe.epochs,
            ),
            must_end=search["time"] != "none",
            time_s=TRIAL_S[kind] * n_trials if search["time"] == "none" else search["time"],
        )
        spaces = spaces_by_factor(asked.factors, lambda one: _space(full, images, one), budget_of(full["budget"]))
        if spaces:  # else nothing fits, which the search says
            chosen = choose(replace(asked, factors=tuple(spaces)), spaces, measure)
            search["proxy"], n_train = chosen.factor, chosen.images
            search["trials"], search["ladder"] = chosen.trials, list(chosen.ladder)
    search["proxy"] = 1.0 if search["proxy"] == "auto" else search["proxy"]
    data["images"] = n_train
    space = _space(full, images, search["proxy"])
    full["space"].update({key: list(getattr(space, key)) for key in ("width", "fill") if key in full["space"]})
    search["workers"] = n_workers(search["proxy"])
    search["trials"] = TRIALS if search["trials"] == "auto" else search["trials"]
    if search["threads"] == "auto":
        macs = full["budget"]["macs"]
        small = search["proxy"] < 1 or (macs != "none" and macs <= SMALL_MACS)
        search["threads"] = 1 if small else max(1, cores // search["workers"])


def _split(dataset: Dataset, n_train: int | None, n_validation: int) -> tuple[int, int]:
    """The images for validation and those to train on, of which there are enough for a batch."""
    validation, train = split_sizes(dataset, n_train, n_validation)
    if train < LEAST_BATCH:
        raise UsageError(
            f"data: {train} of the {dataset.n_train:,} training images of {dataset.name} is left to train on; a search "
            f"needs {LEAST_BATCH} or more: give more images"
        )
    return validation, train


def _factors(search: Mapping[str, Any], of_family: bool) -> tuple[float, ...]:
    """The factors to choose from: no network of the queue becomes too narrow, and there is room for the ladder."""
    if search["proxy"] != "auto":
        return (search["proxy"],)
    if of_family:
        return (1.0,)
    queue = [] if search["queue"] == "auto" else search["queue"]
    widths = [width for network in queue for width in (*network.get("channels", ()), network.get("stem_width"))]
    narrowest = min(filter(None, widths), default=WIDTH[1])
    ladder = () if search["ladder"] == "auto" else search["ladder"]
    return tuple(
        one
        for one in FACTORS
        if one == 1 or (narrowest >= narrowest_width(one) and possible_ladder(one, ladder) == tuple(ladder))
    )


def _get(sections: Mapping[str, Any], key: str) -> Any:
    section, field = key.split(".")
    return sections[section].get(field)


def _set(sections: Sections, key: str, value: Any) -> None:
    section, field = key.split(".")
    sections[section][field] = value
