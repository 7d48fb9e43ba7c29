"""What `nas-budget train` does: plan the full training, run it, print its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from nas_budget.arch.cost import cost
from nas_budget.cli.console.output import log, logger, out, out_json, show, table, this_command
from nas_budget.cli.console.progress import display
from nas_budget.cli.jobs.page import try_to_write
from nas_budget.errors import StoppedError, UsageError
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.paths import PAGE
from nas_budget.records.training_run import EpochRow, RunResult
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.selection import (
    Selection,
    full_training_budget,
    full_training_config,
    select_from_file,
    select_from_study,
    study_defaults,
    threads_for,
)
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device
from nas_budget.train.engine.run import FullTraining
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.profile.time_model import calibrate

N_LAST = 9
"""Epochs whose median predicts the time left."""
FIGURES = {
    "accuracy": "test accuracy, one forward pass",
    "flipped": "... mean with the mirror image",
    "ema": "test accuracy, EMA weights",
    "ema_flipped": "... mean with the mirror image",
    "validation_accuracy": "accuracy on validation images",
}


@dataclass(frozen=True)
class TrainingRequest:
    """What the command line asks for.

    Attributes:
        network: Name and fields of the network; None where a study or a study file has it.
        study: Run folder of a study.
        trial: Number of its trial; None for its best.
        study_file: Study file or recipe file.
        overrides: Values by "section.key" that go before those of the file.
        recipe: Name of the recipe as it was given.
        name: Of the run.
        n_seeds: Trainings.
        all_images: Whether no image is set aside for validation.
        deterministic: Whether only deterministic algorithms are allowed.
        compiled: Whether the network is compiled.
        graphed: Whether its passes are replayed from a CUDA graph.
    """

    network: tuple[str, dict[str, Any]] | None
    study: Path | None
    trial: int | None
    study_file: Path | None
    overrides: dict[str, Any]
    recipe: str | None
    name: str | None
    n_seeds: int
    all_images: bool
    deterministic: bool
    compiled: bool
    graphed: bool


@dataclass(frozen=True)
class PlannedTraining:
    """A full training ready to start or to resume; nothing is written yet."""

    settings: RunConfig
    dataset: Dataset
    device: torch.device
    folder: Path


def plan_training(request: TrainingRequest, runs_dir: Path, data_dir: str | None) -> PlannedTraining:
    """Read and check everything the run needs."""
    defaults = study_defaults(request.study) if request.study else {}
    sections = read_study_file(request.study_file, request.overrides, defaults)
    selection = _select(request, sections)
    device = choose_device(sections["search"]["device"])
    if request.graphed and (device.type != "cuda" or request.compiled):
        raise UsageError(f"--graph: needs a CUDA GPU and no --compile; the device is {describe_device(device)}")
    precision = choose_precision(sections["search"]["precision"], device)
    dataset = open_dataset(sections["data"]["name"], data_dir, log)
    settings = full_training_config(
        selection, sections, dataset, precision, name=request.name, recipe=request.recipe, n_seeds=request.n_seeds,
        all_images=request.all_images, deterministic=request.deterministic, compiled=request.compiled,
        graphed=request.graphed,
    )  # fmt: skip
    if device.type == "cpu":
        torch.set_num_threads(threads_for(settings, sections["search"]["threads"], torch.get_num_threads()))
    return PlannedTraining(settings, dataset, device, runs_dir / settings.name)


def _select(request: TrainingRequest, sections: Any) -> Selection:
    if request.network:
        return Selection(*request.network)
    if request.study:
        return select_from_study(request.study, request.trial, full_training_budget(sections))
    if request.study_file:
        return select_from_file(sections, request.study_file)
    raise UsageError("no network given; write --channels 32,64,96,128,185, --study runs/quickstart, or name a file")


def print_plan(planned: PlannedTraining, dry_run: bool, as_json: bool) -> None:
    """Print the plan: on stdout where it is all that is asked for, as JSON if so."""
    if dry_run and as_json:
        s = planned.settings
        out_json({**s.held(planned.dataset), "name": s.name, "recipe": s.recipe_name, "seeds": s.seeds})
    else:
        (out if dry_run else log)("\n".join(plan_lines(planned)))


def plan_lines(planned: PlannedTraining) -> list[str]:
    """The plan for a person."""
    s, used, recipe = planned.settings, cost(planned.settings.spec), planned.settings.recipe
    validation_images = f"{s.n_validation:,} for validation" if s.n_validation else "none for validation"
    extras = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in asdict(recipe).items()
        if name in ("label_smoothing", "cutout", "cutmix", "ema") and value
    ] + (["TrivialAugment"] if recipe.trivial_augment else [])
    return [
        f"run      {s.name}, in {planned.folder}",
        f"network  {s.spec}",
        f"         {used.params:,} parameters, {used.macs:,} MACs",
        f"device   {describe_device(planned.device)}, {s.precision}"
        + (", deterministic" if s.deterministic else "")
        + (", compiled" if s.compiled else ", CUDA graph" if s.graphed else ""),
        f"data     {planned.dataset.name}: {s.n_train:,} images to train, {validation_images}; "
        f"{planned.dataset.n_test:,} test images read once, at the end",
        f"recipe   {s.recipe_name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, batch "
        f"{recipe.batch_size}, {recipe.epochs} epochs" + "".join(f", {extra}" for extra in extras),
        f"seeds    {', '.join(map(str, s.seeds))}",
        f"time     about {seconds_in_words(predicted_seconds(planned))} of training, from a few timed steps",
    ]


def predicted_seconds(planned: PlannedTraining) -> float:
    """Seconds the whole run would take here, predicted from a few steps."""
    s = planned.settings
    n_train = min(s.n_train, s.recipe.batch_size)
    images = split_images(planned.dataset, planned.device, n_train, 1)
    speed = calibrate([s.spec], images, s.recipe, s.precision)
    return speed.epoch_seconds(s.spec, s.recipe, s.n_train, s.n_validation) * s.recipe.epochs * len(s.seeds)


def run_to_end(planned: PlannedTraining, should_stop: Callable[[], bool], quiet: bool) -> tuple[RunResult, bool]:
    """Train what is left and show progress; the result, and whether anything was left.

    Raises:
        StoppedError: It was stopped; says how to resume.
    """
    s = planned.settings
    run = FullTraining(s, planned.dataset, planned.folder, planned.device, should_stop, logger(quiet))
    seconds: list[float] = []
    try:
        with display(quiet) as show:
            show("the first epoch is under way", 0.0)
            for row in run.epochs():
                seconds.append(row.seconds)
                words = f"{_row_in_words(row, s)}, {_time_left(seconds, row, s)} left"
                show(
                    f"epoch {row.epoch}/{s.recipe.epochs}, {words}",
                    row.epoch / s.recipe.epochs,
                    now=row.epoch == s.recipe.epochs,
                )
    except (StoppedError, KeyboardInterrupt):
        kept = f"resumes after epoch {run.saved[1]} of seed {run.saved[0]}" if run.saved else "nothing was trained yet"
        raise StoppedError(f"stopped; {kept}. Resume with: {this_command()}") from None
    assert run.finished  # noqa: S101 - epochs() leaves a result or raises
    return run.finished, run.trained


def _row_in_words(row: EpochRow, s: RunConfig) -> str:
    parts = [f"loss {row.train_loss:.3f}"]
    if row.accuracy is not None:
        parts.append(f"validation {row.accuracy:.2%}")
    if row.ema_accuracy is not None:
        parts.append(f"EMA {row.ema_accuracy:.2%}")
    return ", ".join(([f"seed {row.seed}"] if len(s.seeds) > 1 else []) + parts)


def _time_left(seconds: list[float], row: EpochRow, s: RunConfig) -> str:
    """The time left after an epoch, from the median of the last epochs' seconds."""
    seeds_left = len(s.seeds) - 1 - s.seeds.index(row.seed)
    n_left = s.recipe.epochs - row.epoch + s.recipe.epochs * seeds_left
    return seconds_in_words(median(seconds[-N_LAST:]) * n_left)


def _write_page(folder: Path) -> None:
    from nas_budget.report.pages.training_run import write_run_page

    write_run_page(folder, folder / PAGE)


def print_result(planned: PlannedTraining, found: tuple[RunResult, bool], as_json: bool) -> None:
    """Write the page and print the result."""
    result, trained = found
    has_page = try_to_write(_write_page, planned.folder)
    if as_json:
        summary = {name: {"mean": result.mean(name), "deviation": result.deviation(name)} for name in FIGURES}
        out_json({"folder": str(planned.folder), **summary, **asdict(result)})
        return
    if not trained:
        log("this run is finished; nothing was trained. Another --name starts another, more --seeds add to it")
    seeds = result.seeds
    rows = []
    for name, words in FIGURES.items():
        if (mean := result.mean(name)) is None:
            continue
        deviation = result.deviation(name)
        each = [f"{value:.2%}" for seed in seeds if (value := getattr(seed, name)) is not None]
        rows.append((words, f"{mean:.2%}", "" if deviation is None else f"{deviation:.2%}", " ".join(each)))
    if len(seeds) > 1:
        show(table(("", "mean", "deviation", f"seeds {', '.join(str(s.seed) for s in seeds)}"), rows, left=(0, 3)))
    else:
        show(table(("", f"seed {seeds[0].seed}"), [row[:2] for row in rows]))
    spent = sum(seed.seconds for seed in seeds)
    out(f"\n{result.params:,} parameters, {seconds_in_words(spent)} of training on {result.device}")
    if has_page:
        out(f"page: {planned.folder / PAGE}")
    out(f"next: nas-budget export {planned.folder} --format python")
