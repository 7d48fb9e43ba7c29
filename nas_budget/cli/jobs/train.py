"""What `nas-budget train` does: plan the full training, run it, print its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console.output import left_out_in_words, log, logger, out, out_json, this_command
from nas_budget.cli.console.progress import display, progress_if_any
from nas_budget.cli.console.training_run import accuracies, print_accuracies
from nas_budget.errors import StoppedError, UsageError
from nas_budget.records.formatting import percent, seconds_in_words, time_text
from nas_budget.records.paths import PAGE
from nas_budget.records.training_run import EpochRow, RunResult
from nas_budget.search import selection
from nas_budget.search.config.build import budget_of
from nas_budget.search.config.sections import parse_time
from nas_budget.search.config.study_file import Sections, read_study_file
from nas_budget.search.epochs_in_time import TimedTraining, epoch_seconds, fit_to_time, options_in_time
from nas_budget.train.data.open import open_recorded
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device
from nas_budget.train.engine.model import summarize
from nas_budget.train.engine.run import FullTraining
from nas_budget.train.engine.run_config import RunConfig, check_same

N_LAST = 9
"""Epochs whose median predicts the time left."""


@dataclass(frozen=True)
class PlannedTraining:
    """A full training that is ready to run, and what its epochs were chosen by; None where they were given."""

    run: FullTraining
    timed: TimedTraining | None = None


def plan_training(
    network: tuple[str, dict[str, Any]] | None, study: Path | None, trial: int | None, study_file: Path | None,
    overrides: dict[str, Any], runs_dir: Path, data_dir: str | None, should_stop: Callable[[], bool], quiet: bool,
    *, spec_file: Path | None = None, time: str | None = None, **how: Any,
) -> PlannedTraining:  # fmt: skip
    """Read and check everything the run needs; nothing is written yet.

    A network without name and fields is that of the study's trial, of its best one without a number, or the study
    file's. Overrides, values by "section.key", go before those of the file. A spec file that lies in the folder of a
    study brings the study's limits along. Epochs are chosen for the time, if one is
    given. `how` are further arguments of `full_training_config`.
    """
    defaults = selection.study_defaults(study) if study else selection.limits_beside(spec_file) if spec_file else {}
    sections = read_study_file(study_file, overrides, defaults)
    time_s = None if time is None else _seconds_given(time, sections)
    if network:
        chosen = selection.Selection(*network)
    elif study:
        chosen = selection.select_from_study(study, trial, budget_of(sections["budget"]))
    elif study_file:
        chosen = selection.select_from_file(sections, study_file)
    else:
        raise UsageError("no network given; write --channels 32,64,96,128,185, --study runs/quickstart, or name a file")
    device = choose_device(sections["search"]["device"], log)
    if how["graphed"] and (device.type != "cuda" or how["compiled"]):
        raise UsageError(f"--graph: needs a CUDA GPU and no --compile; the device is {describe_device(device)}")
    precision = choose_precision(sections["search"]["precision"], device)
    with progress_if_any("converting the images", quiet) as on_share:
        name = sections["data"]["name"]
        dataset = open_recorded(name, selection.data_place(study, name), data_dir, log, on_share)
    options: tuple[RunConfig, ...]
    if time_s is None:
        options = (selection.full_training_config(chosen, sections, dataset, precision, **how),)
    else:
        options = options_in_time(time_s, chosen, sections, dataset, precision, **how)
    if device.type == "cpu":
        torch.set_num_threads(selection.threads_for(options[0], sections["search"]["threads"], torch.get_num_threads()))
    folder = runs_dir / options[0].name
    timed = None if time_s is None else fit_to_time(options, time_s, dataset, device, folder)
    settings = timed.settings if timed else options[0]
    check_same(folder, settings.held(dataset), settings.name)
    return PlannedTraining(FullTraining(settings, dataset, folder, device, should_stop, logger(quiet)), timed)


def _seconds_given(time: str, sections: Sections) -> float:
    """Seconds of --time, which goes without epochs."""
    if epochs := sections["recipe"].get("epochs"):
        raise UsageError(
            f"--time {time}: recipe.epochs is {epochs} already (--epochs, --set or a file); give one of the two"
        )
    try:
        seconds = parse_time(time)
    except ValueError as error:
        raise UsageError(f"--time: {error}") from None
    if seconds <= 0:
        raise UsageError(f"--time {time}: no time at all; give one above 0, such as 90m or 2h")
    return seconds


def plan_lines(planned: PlannedTraining) -> list[str]:
    """The plan for a person."""
    run = planned.run
    s, used, recipe = run.settings, cost(run.settings.spec), run.settings.recipe
    validation_images = f"{s.n_validation:,} for validation" if s.n_validation else "none for validation"
    extras = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in asdict(recipe).items()
        if name in ("label_smoothing", "cutout", "cutmix", "ema") and value
    ] + (["TrivialAugment"] if recipe.trivial_augment else [])
    lines = [
        f"run      {s.name}, in {run.folder}",
        f"network  {s.spec}",
        f"         {used.params:,} parameters, {used.macs:,} MACs",
        f"limits   {s.budget}",
        f"device   {describe_device(run.device)}, {s.precision}"
        + (", deterministic" if s.deterministic else "")
        + (", compiled" if s.compiled else ", CUDA graph" if s.graphed is True else ""),
        f"data     {run.dataset.name}: {s.n_train:,} images to train, {validation_images}; "
        f"{run.dataset.n_test:,} test images read once, at the end",
        f"recipe   {s.recipe_name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, batch "
        f"{recipe.batch_size}, {recipe.epochs} epochs" + "".join(f", {extra}" for extra in extras),
        f"seeds    {', '.join(map(str, s.seeds))}",
        f"time     {_time_in_words(planned)}",
    ]
    if left_out := left_out_in_words(s.n_train, recipe.batch_size):
        lines.append(f"         {left_out}")
    return lines


def _time_in_words(planned: PlannedTraining) -> str:
    """How long it will train; by how many epochs, where they were chosen for a time."""
    run, timed = planned.run, planned.timed
    s = run.settings
    n_epochs, n_done = s.recipe.epochs * len(s.seeds), run.n_epochs_done
    if n_done == n_epochs:
        return f"none: all {n_epochs} epochs are done"
    epoch_s = (timed and timed.epoch_s) or epoch_seconds(s, run.dataset, run.device)
    left = seconds_in_words(epoch_s * (n_epochs - n_done) / len(s.seeds))
    words = f"about {left} of training, from a few timed steps"
    if n_done:
        words = f"about {left} of training left, after {n_done} of {n_epochs} epochs"
    if not (timed and s.time_s):
        return words
    if not timed.twice:
        return f"{words}; the run keeps its {s.recipe.epochs} epochs, chosen for {time_text(s.time_s)}"
    other = f" of {timed.twice.recipe_name}" if timed.twice.recipe_name != s.recipe_name else ""
    return (
        f"{words}: {s.recipe.epochs} epochs in {time_text(s.time_s)}; "
        f"twice the time: {timed.twice.recipe.epochs} epochs{other}"
    )


def print_plan(planned: PlannedTraining, dry_run: bool, as_json: bool, layers: bool = False) -> None:
    """Print the plan: on stdout where it is all that is asked for, as JSON if so; with its layers if so."""
    if dry_run and as_json:
        run, s = planned.run, planned.run.settings
        out_json({**s.held(run.dataset), "name": s.name, "recipe": s.recipe_name, "seeds": s.seeds})
    else:
        lines = [*plan_lines(planned), *([summarize(planned.run.settings.spec)] if layers else [])]
        (out if dry_run else log)("\n".join(lines))


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
                row_words = _row_in_words(row, len(s.seeds) > 1, s.n_validation)
                words = f"epoch {row.epoch}/{s.recipe.epochs}, {row_words}, {left} left"
                show(words, row.epoch / s.recipe.epochs, now=row.epoch == s.recipe.epochs)
    except (StoppedError, KeyboardInterrupt):
        kept = f"resumes after epoch {run.saved[1]} of seed {run.saved[0]}" if run.saved else "nothing was trained yet"
        raise StoppedError(f"stopped; {kept}. Resume with: {this_command()}") from None
    assert run.finished  # noqa: S101 - epochs() leaves a result or raises
    return run.finished


def _row_in_words(row: EpochRow, several: bool, images: int) -> str:
    parts = [f"seed {row.seed}"] if several else []
    parts.append(f"loss {row.train_loss:.3f}")
    if row.accuracy is not None:
        parts.append(f"validation {percent(row.accuracy, images)}")
    if row.ema_accuracy is not None:
        parts.append(f"EMA {percent(row.ema_accuracy, images)}")
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
    print_accuracies(result)
    spent = sum(seed.seconds for seed in result.seeds)
    out(f"\n{result.params:,} parameters, {seconds_in_words(spent)} of training on {result.device}")
    if has_page:
        out(f"page: {run.folder / PAGE}")
    form = "python" if isinstance(run.settings.spec, ResNetSpec) else "onnx"
    out(f"next: nas-budget export {run.folder} --format {form}")
