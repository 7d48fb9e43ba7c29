"""`fit_to_time`: a full training with as many epochs as a time allows on this device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil, inf
from pathlib import Path
from typing import Any

import torch

from nas_budget.errors import TrainingError, UsageError
from nas_budget.records.formatting import duration, time_text
from nas_budget.search.config.study_file import Sections
from nas_budget.search.selection import DEFAULT_RECIPE, STUDY_RECIPE, Selection, full_training_config
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine.device import describe_device
from nas_budget.train.engine.run_config import RunConfig, check_same, read_settings
from nas_budget.train.optim.recipe import MOST_EPOCHS
from nas_budget.train.profile.time_model import calibrate

SPARE = 0.05
"""Share of the time for the rest: to load images, write checkpoints and read test images; predictions err, too."""
LONG_EPOCHS = 60
"""Epochs from which the long recipe is taken.

CutMix and TrivialAugment slow learning, as every image is new: they pay only in long trainings. Over 40 epochs CutMix
was worth nothing (docs/benchmarks.md).
"""
SHORT_RECIPE = "evening"


@dataclass(frozen=True)
class TimedTraining:
    """A full training whose epochs were chosen for a time.

    Attributes:
        settings: Its settings, with those epochs.
        epoch_s: Predicted seconds of an epoch of every seed; None where a run that was there keeps its own epochs.
        twice: The settings that twice the time would give; None likewise.
    """

    settings: RunConfig
    epoch_s: float | None = None
    twice: RunConfig | None = None


def options_in_time(
    time_s: float, selection: Selection, sections: Sections, dataset: Dataset, precision: str, *,
    name: str | None = None, recipe: str | None = None, **how: Any,
) -> tuple[RunConfig, ...]:  # fmt: skip
    """The trainings to choose from, the preferred one first: one of each recipe, with that recipe's own epochs.

    A recipe that is left open gives a long and a short one. Their common name has the time and not the recipe, so that
    the same command always finds its run. The other arguments are those of `full_training_config`, with its errors.
    """
    section = sections["recipe"]
    is_open = section["name"] == "auto" and recipe != STUDY_RECIPE
    long, short = {**section, "name": DEFAULT_RECIPE}, {**section, "name": SHORT_RECIPE}
    options = []
    for given in (long, short) if is_open else (section,):
        made = full_training_config(selection, {**sections, "recipe": given}, dataset, precision, recipe=recipe, **how)
        parts = [selection.name, *([] if is_open else [made.recipe_name]), time_text(time_s)]
        options.append(replace(made, name=name or "-".join(parts), time_s=time_s))
    return tuple(options)


def fit_to_time(
    options: Sequence[RunConfig], time_s: float, dataset: Dataset, device: torch.device, folder: Path
) -> TimedTraining:
    """The first training of which `LONG_EPOCHS` fit, or else the last one, with as many epochs as fit.

    A run that lies in the folder keeps its recipe and epochs: timed again, they would be others.

    Args:
        options: Trainings of one network, the preferred one first.
        time_s: Seconds for all seeds together.
        dataset: The images.
        device: Where a few steps of each training are timed.
        folder: Folder of the run.

    Raises:
        UsageError: Less than one epoch fits.
        TrainingError: Memory does not suffice to time a step.
        ModelError: The folder holds a run with other settings.
    """
    if before := read_settings(folder):
        return TimedTraining(_as_before(options, before, dataset, folder))
    seconds = cache(partial(_timed_seconds, dataset=dataset, device=device))
    chosen, n_epochs = _choose(options, time_s, seconds)
    if n_epochs < 1:
        raise UsageError(_too_short(chosen, time_s, seconds(chosen), device))
    return TimedTraining(
        _with_epochs(chosen, n_epochs), seconds(chosen), _with_epochs(*_choose(options, 2 * time_s, seconds))
    )


def epoch_seconds(settings: RunConfig, dataset: Dataset, device: torch.device) -> float:
    """Predicted seconds of an epoch of every seed, from a few timed steps; 0 where memory does not suffice for one."""
    recipe = settings.recipe
    n_images = min(settings.n_train, recipe.batch_size)
    images = split_images(dataset, device, n_images, min(1, settings.n_validation))
    # Whole batches: a few images would leave most of a step to the optimizer, and bf16 would hardly pay.
    speed = calibrate([settings.spec], images, recipe, settings.precision, settings.graphed, most_macs=inf)
    n_evaluated = settings.n_validation * (2 if recipe.ema else 1)  # EMA weights are evaluated as well
    return speed.epoch_seconds(settings.spec, recipe, settings.n_train, n_evaluated) * len(settings.seeds)


def _timed_seconds(settings: RunConfig, dataset: Dataset, device: torch.device) -> float:
    if seconds := epoch_seconds(settings, dataset, device):
        return seconds
    raise TrainingError(
        f"no step could be timed on {describe_device(device)}: memory does not suffice for a batch of "
        f"{settings.recipe.batch_size}; lower recipe.batch_size, or give --epochs instead of --time"
    )


def _choose(
    options: Sequence[RunConfig], time_s: float, seconds: Callable[[RunConfig], float]
) -> tuple[RunConfig, int]:
    """The training that suits the time, and how many of its epochs fit."""
    for option in options[:-1]:
        if (n_epochs := _n_epochs(time_s, seconds(option))) >= LONG_EPOCHS:
            return option, n_epochs
    return options[-1], _n_epochs(time_s, seconds(options[-1]))


def _n_epochs(time_s: float, epoch_s: float) -> int:
    return int(min(MOST_EPOCHS, (1 - SPARE) * time_s / epoch_s))


def _with_epochs(settings: RunConfig, epochs: int) -> RunConfig:
    return replace(settings, recipe=replace(settings.recipe, epochs=epochs))


def _as_before(options: Sequence[RunConfig], before: Mapping[str, Any], dataset: Dataset, folder: Path) -> RunConfig:
    """The settings of the run that was started, if it was started with these ones."""
    same = [option for option in options if option.recipe_name == before.get("recipe")] or options
    epochs = before.get("recipe.epochs")
    settings = _with_epochs(same[0], epochs) if isinstance(epochs, int) else same[0]
    check_same(folder, settings.held(dataset), settings.name)
    return settings


def _too_short(settings: RunConfig, time_s: float, epoch_s: float, device: torch.device) -> str:
    """What to say where less than one epoch fits."""
    several = f" of all {len(settings.seeds)} seeds" if len(settings.seeds) > 1 else ""
    unit = 1 if epoch_s < 60 else 60
    least = time_text(ceil(epoch_s / (1 - SPARE) / unit) * unit)
    faster = "a GPU" if device.type == "cpu" else "a faster GPU"
    return (
        f"--time {time_text(time_s)}: an epoch{several} takes about {duration(epoch_s)} here, so none fits; "
        f"give --time {least} or more, a network of fewer MACs, or {faster}"
    )
