"""What `nas-budget train` does between parsing and leaving: plan, run, result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nas_budget.arch.cost import cost
from nas_budget.cli.console.output import log, out, out_json, show, table
from nas_budget.cli.jobs.search import this_command
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
from nas_budget.train.data.dataset import Dataset, open_dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device
from nas_budget.train.engine.run import FullTraining
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.profile.time_model import calibrate

PLAIN_EVERY_S = 30.0
FIGURES = {
    "accuracy": "test accuracy, one forward pass",
    "flipped": "... mean with the mirror image",
    "ema": "test accuracy, EMA weights",
    "ema_flipped": "... mean with the mirror image",
    "validation_accuracy": "accuracy on validation images",
}


@dataclass(frozen=True)
class Asked:
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
class Opened:
    """A full training ready to begin or to go on; nothing is written yet."""

    settings: RunConfig
    dataset: Dataset
    device: torch.device
    folder: Path


def open_full_training(asked: Asked, runs_dir: Path, data_dir: str | None) -> Opened:
    """Read and check everything the run needs."""
    defaults = study_defaults(asked.study) if asked.study else {}
    sections = read_study_file(asked.study_file, asked.overrides, defaults)
    selection = _selection(asked, sections)
    device = choose_device(sections["search"]["device"])
    if asked.graphed and (device.type != "cuda" or asked.compiled):
        raise UsageError(f"--graph: needs a CUDA GPU and no --compile; the device is {describe_device(device)}")
    precision = choose_precision(sections["search"]["precision"], device)
    dataset = open_dataset(sections["data"]["name"], data_dir, log)
    settings = full_training_config(
        selection, sections, dataset, precision, name=asked.name, recipe=asked.recipe, n_seeds=asked.n_seeds,
        all_images=asked.all_images, deterministic=asked.deterministic, compiled=asked.compiled,
        graphed=asked.graphed,
    )  # fmt: skip
    if device.type == "cpu":
        torch.set_num_threads(threads_for(settings, sections["search"]["threads"], torch.get_num_threads()))
    return Opened(settings, dataset, device, runs_dir / settings.name)


def _selection(asked: Asked, sections: Any) -> Selection:
    if asked.network:
        return Selection(*asked.network)
    if asked.study:
        return select_from_study(asked.study, asked.trial, full_training_budget(sections))
    if asked.study_file:
        return select_from_file(sections, asked.study_file)
    raise UsageError("no network given; write --channels 32,64,96,128,185, --study runs/quickstart, or name a file")


def tell_plan(opened: Opened, dry_run: bool, as_json: bool) -> None:
    """Say what is about to be done; of a dry run it is the data."""
    if dry_run and as_json:
        s = opened.settings
        out_json({**s.held(opened.dataset), "name": s.name, "recipe": s.recipe_name, "seeds": s.seeds})
    else:
        (out if dry_run else log)("\n".join(plan_lines(opened)))


def plan_lines(opened: Opened) -> list[str]:
    """The plan for a person."""
    s, used, recipe = opened.settings, cost(opened.settings.spec), opened.settings.recipe
    validation_images = f"{s.n_validation:,} for validation" if s.n_validation else "none for validation"
    extras = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in asdict(recipe).items()
        if name in ("label_smoothing", "cutout", "cutmix", "ema") and value
    ] + (["TrivialAugment"] if recipe.trivial_augment else [])
    return [
        f"run      {s.name}, in {opened.folder}",
        f"network  {s.spec}",
        f"         {used.params:,} parameters, {used.macs:,} MACs",
        f"device   {describe_device(opened.device)}, {s.precision}"
        + (", deterministic" if s.deterministic else "")
        + (", compiled" if s.compiled else ", CUDA graph" if s.graphed else ""),
        f"data     {opened.dataset.name}: {s.n_train:,} images to train, {validation_images}; "
        f"{opened.dataset.n_test:,} test images read once, at the end",
        f"recipe   {s.recipe_name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, batch "
        f"{recipe.batch_size}, {recipe.epochs} epochs" + "".join(f", {extra}" for extra in extras),
        f"seeds    {', '.join(map(str, s.seeds))}",
        f"time     about {seconds_in_words(predicted_seconds(opened))} of training, from a few timed steps",
    ]


def predicted_seconds(opened: Opened) -> float:
    """Seconds the whole run would take here, predicted from a few steps."""
    s = opened.settings
    n_train = min(s.n_train, s.recipe.batch_size)
    images = split_images(opened.dataset, opened.device, n_train, 1)
    speed = calibrate([s.spec], images, s.recipe, s.precision)
    return speed.epoch_seconds(s.spec, s.recipe, s.n_train, s.n_validation) * s.recipe.epochs * len(s.seeds)


def run_to_end(
    opened: Opened, should_stop: Callable[[], bool], live: bool, log: Callable[[str], None]
) -> tuple[RunResult, bool]:
    """Train what is left, showing how it goes; the result, and whether anything was left.

    Raises:
        StoppedError: It was stopped, with how to go on.
    """
    run = FullTraining(opened.settings, opened.dataset, opened.folder, opened.device, should_stop, log)
    try:
        with (_bar if live else _lines)(opened.settings, log) as show_row:
            for row in run.epochs():
                show_row(row)
    except (StoppedError, KeyboardInterrupt):
        kept = f"goes on after epoch {run.saved[1]} of seed {run.saved[0]}" if run.saved else "nothing was trained yet"
        raise StoppedError(f"stopped; {kept}. Go on with: {this_command()}") from None
    assert run.finished  # noqa: S101 - epochs() leaves a result or raises
    return run.finished, run.trained


def _write_page(folder: Path) -> bool:
    """Write the page, and say whether that went well: one that fails does not undo a run."""
    from nas_budget.report.pages.training_run import write_run_page

    try:
        write_run_page(folder, folder / PAGE)
    except Exception as error:
        log(f"the page was not written ({type(error).__name__}: {error}); make it with nas-budget report {folder}")
        return False
    return True


def _words(row: EpochRow, s: RunConfig) -> str:
    parts = [f"loss {row.train_loss:.3f}"]
    if row.accuracy is not None:
        parts.append(f"validation {row.accuracy:.2%}")
    if row.ema_accuracy is not None:
        parts.append(f"EMA {row.ema_accuracy:.2%}")
    return ", ".join(([f"seed {row.seed}"] if len(s.seeds) > 1 else []) + parts)


class _Clock:
    """Predicts the time left from the median of the last epochs."""

    def __init__(self, s: RunConfig) -> None:
        self.settings, self.seconds = s, list[float]()

    def left(self, row: EpochRow) -> str:
        self.seconds = [*self.seconds[-8:], row.seconds]
        epochs = self.settings.recipe.epochs
        more_seeds = len(self.settings.seeds) - 1 - self.settings.seeds.index(row.seed)
        return seconds_in_words(median(self.seconds) * (epochs - row.epoch + epochs * more_seeds))


@contextmanager
def _lines(s: RunConfig, log: Callable[[str], None]) -> Iterator[Callable[[EpochRow], None]]:
    """A line at most every 30 seconds, and one for the last epoch of each seed."""
    clock, last = _Clock(s), float("-inf")

    def show_row(row: EpochRow) -> None:
        nonlocal last
        left = clock.left(row)
        if time.monotonic() - last >= PLAIN_EVERY_S or row.epoch == s.recipe.epochs:
            last = time.monotonic()
            log(f"epoch {row.epoch}/{s.recipe.epochs}, {_words(row, s)}, {left} left")

    yield show_row


@contextmanager
def _bar(s: RunConfig, _log: Callable[[str], None]) -> Iterator[Callable[[EpochRow], None]]:
    """A bar that stays in place."""
    clock = _Clock(s)
    columns = ("epoch", MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("the first epoch is under way", total=s.recipe.epochs)

        def show_row(row: EpochRow) -> None:
            words = f"{_words(row, s)}, {clock.left(row)} left"
            progress.update(task, completed=row.epoch, description=words)

        yield show_row


def tell_result(opened: Opened, found: tuple[RunResult, bool], as_json: bool) -> None:
    """Write the page and print what the run has given."""
    result, trained = found
    has_page = _write_page(opened.folder)
    if as_json:
        summary = {name: {"mean": result.mean(name), "deviation": result.deviation(name)} for name in FIGURES}
        out_json({"folder": str(opened.folder), **summary, **asdict(result)})
        return
    if not trained:
        log("this run is finished; nothing was trained. Another --name begins another, more --seeds add to it")
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
        out(f"page: {opened.folder / PAGE}")
    out(f"next: nas-budget export {opened.folder} --format python")
