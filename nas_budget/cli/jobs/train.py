"""What `nas-budget train` does: plan the full training, run it, print its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from nas_budget.arch.cost import cost
from nas_budget.cli.console.output import log, logger, out, out_json, show, table, this_command
from nas_budget.cli.console.progress import display
from nas_budget.cli.console.training_run import accuracies
from nas_budget.errors import StoppedError, UsageError
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.paths import PAGE
from nas_budget.records.training_run import EpochRow, RunResult
from nas_budget.search import selection
from nas_budget.search.config.study_file import read_study_file
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device
from nas_budget.train.engine.run import FullTraining
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


def plan_training(
    network: tuple[str, dict[str, Any]] | None, study: Path | None, trial: int | None, study_file: Path | None,
    overrides: dict[str, Any], runs_dir: Path, data_dir: str | None, should_stop: Callable[[], bool], quiet: bool,
    **how: Any,
) -> FullTraining:  # fmt: skip
    """Read and check everything the run needs; nothing is written yet.

    A network without name and fields is that of the study's trial, of its best one without a number, or the study
    file's. Overrides, values by "section.key", go before those of the file. `how` are further arguments of
    `full_training_config`.
    """
    sections = read_study_file(study_file, overrides, selection.study_defaults(study) if study else {})
    if network:
        chosen = selection.Selection(*network)
    elif study:
        chosen = selection.select_from_study(study, trial, selection.full_training_budget(sections))
    elif study_file:
        chosen = selection.select_from_file(sections, study_file)
    else:
        raise UsageError("no network given; write --channels 32,64,96,128,185, --study runs/quickstart, or name a file")
    device = choose_device(sections["search"]["device"])
    if how["graphed"] and (device.type != "cuda" or how["compiled"]):
        raise UsageError(f"--graph: needs a CUDA GPU and no --compile; the device is {describe_device(device)}")
    precision = choose_precision(sections["search"]["precision"], device)
    dataset = open_dataset(sections["data"]["name"], data_dir, log)
    settings = selection.full_training_config(chosen, sections, dataset, precision, **how)
    if device.type == "cpu":
        torch.set_num_threads(selection.threads_for(settings, sections["search"]["threads"], torch.get_num_threads()))
    return FullTraining(settings, dataset, runs_dir / settings.name, device, should_stop, logger(quiet))


def plan_lines(run: FullTraining) -> list[str]:
    """The plan for a person."""
    s, used, recipe = run.settings, cost(run.settings.spec), run.settings.recipe
    validation_images = f"{s.n_validation:,} for validation" if s.n_validation else "none for validation"
    extras = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in asdict(recipe).items()
        if name in ("label_smoothing", "cutout", "cutmix", "ema") and value
    ] + (["TrivialAugment"] if recipe.trivial_augment else [])
    images = split_images(run.dataset, run.device, min(s.n_train, recipe.batch_size), 1)
    speed = calibrate([s.spec], images, recipe, s.precision)
    seconds = speed.epoch_seconds(s.spec, recipe, s.n_train, s.n_validation) * recipe.epochs * len(s.seeds)
    return [
        f"run      {s.name}, in {run.folder}",
        f"network  {s.spec}",
        f"         {used.params:,} parameters, {used.macs:,} MACs",
        f"device   {describe_device(run.device)}, {s.precision}"
        + (", deterministic" if s.deterministic else "")
        + (", compiled" if s.compiled else ", CUDA graph" if s.graphed else ""),
        f"data     {run.dataset.name}: {s.n_train:,} images to train, {validation_images}; "
        f"{run.dataset.n_test:,} test images read once, at the end",
        f"recipe   {s.recipe_name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, batch "
        f"{recipe.batch_size}, {recipe.epochs} epochs" + "".join(f", {extra}" for extra in extras),
        f"seeds    {', '.join(map(str, s.seeds))}",
        f"time     about {seconds_in_words(seconds)} of training, from a few timed steps",
    ]


def print_plan(run: FullTraining, dry_run: bool, as_json: bool) -> None:
    """Print the plan: on stdout where it is all that is asked for, as JSON if so."""
    if dry_run and as_json:
        s = run.settings
        out_json({**s.held(run.dataset), "name": s.name, "recipe": s.recipe_name, "seeds": s.seeds})
    else:
        (out if dry_run else log)("\n".join(plan_lines(run)))


def run_to_end(run: FullTraining, quiet: bool) -> RunResult:
    """Train what is left and show progress; the result. Where it is stopped, the error says how to resume."""
    s = run.settings
    seconds: list[float] = []
    try:
        with display(quiet) as show:
            show("the first epoch is under way", 0.0)
            for row in run.epochs():
                seconds.append(row.seconds)
                n_left = s.recipe.epochs * (len(s.seeds) - s.seeds.index(row.seed)) - row.epoch
                left = seconds_in_words(median(seconds[-N_LAST:]) * n_left)
                words = f"epoch {row.epoch}/{s.recipe.epochs}, {_row_in_words(row, len(s.seeds) > 1)}, {left} left"
                show(words, row.epoch / s.recipe.epochs, now=row.epoch == s.recipe.epochs)
    except (StoppedError, KeyboardInterrupt):
        kept = f"resumes after epoch {run.saved[1]} of seed {run.saved[0]}" if run.saved else "nothing was trained yet"
        raise StoppedError(f"stopped; {kept}. Resume with: {this_command()}") from None
    assert run.finished  # noqa: S101 - epochs() leaves a result or raises
    return run.finished


def _row_in_words(row: EpochRow, several: bool) -> str:
    parts = [f"seed {row.seed}"] if several else []
    parts.append(f"loss {row.train_loss:.3f}")
    if row.accuracy is not None:
        parts.append(f"validation {row.accuracy:.2%}")
    if row.ema_accuracy is not None:
        parts.append(f"EMA {row.ema_accuracy:.2%}")
    return ", ".join(parts)


def print_result(run: FullTraining, result: RunResult, as_json: bool) -> None:
    """Write the page and print the result."""
    from nas_budget.cli.jobs.report import try_to_write_page  # loads what draws, at last

    has_page = try_to_write_page(run.folder)
    if as_json:
        out_json({"folder": str(run.folder), **accuracies(result), **asdict(result)})
        return
    if not run.trained:
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
        out(f"page: {run.folder / PAGE}")
    out(f"next: nas-budget export {run.folder} --format python")
