"""What `nas-budget search` does between parsing and leaving: plan, run, result."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas_budget.cli.console.live import LiveView, PlainView
from nas_budget.cli.console.output import log
from nas_budget.errors import StoppedError
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.paths import PAGE
from nas_budget.search.config.plan import Plan, make_plan
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.open_study import Opened, open_search
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import count_finished
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.engine.device import describe_device


@dataclass(frozen=True)
class Run:
    """A study ready to begin or to go on, and what to expect of it."""

    opened: Opened
    plan: Plan
    n_before: int

    @property
    def settings(self) -> StudyConfig:
        """The study's settings."""
        return self.opened.settings

    @property
    def folder(self) -> Path:
        """Where the study's files go."""
        return self.opened.folder


def open_run(
    file: Path | None, overrides: dict[str, Any], name: str | None, runs_dir: Path, data_dir: str | None,
) -> Run:  # fmt: skip
    """Read, check and plan; nothing is written yet."""
    quiet_optuna()
    opened = open_search(file, overrides, name, runs_dir, data_dir, log)  # also when quiet: which images it is matters
    settings = opened.settings
    if opened.device.type == "cpu":
        torch.set_num_threads(settings.threads)
    n_before = count_finished(settings.storage, opened.folder, settings.name) if opened.exists else 0
    plan = make_plan(settings, opened.images, max(0, settings.trials - n_before))
    return Run(opened, plan, n_before)


def plan_lines(run: Run) -> list[str]:
    """The plan for a person."""
    s, space, recipe, plan = run.settings, run.settings.space, run.settings.recipe, run.plan
    how_far = f"goes on, {run.n_before} of {s.trials} trials done" if run.n_before else "new"
    n_left = max(0, s.trials - run.n_before)
    lines = [
        f"study    {s.name} ({how_far}), in {run.folder}",
        f"device   {describe_device(run.opened.device)}, {s.precision}",
        f"data     {run.opened.dataset.name}: {s.n_train:,} images to train, {s.n_validation:,} for validation; "
        "test images not read",
        f"budget   {s.budget}",
        f"space    {_range(space.stages)} stages of {_range(space.blocks)} blocks, kernels {_either(space.kernels)}, "
        f"widths {_range(space.width)}",
        f"         what fits has {plan.smallest:,} to about {plan.largest:,} parameters; "
        f"{_percent(plan.share_fitting)} of networks drawn at random fit, every proposal here does",
        f"recipe   {s.recipe_name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, "
        f"batch {recipe.batch_size}, {recipe.epochs} epochs",
        f"search   {s.sampler}; {_pruning(s)}",
        f"time     {n_left} trials of about {seconds_in_words(plan.trial_s)}{_workers(s)}: "
        f"{seconds_in_words(plan.total_s / s.workers)} if none is stopped early",
    ]
    lines[-1:-1] = _finals(s)
    if s.chosen:
        settings = ", ".join(f"{key}={value}" for key, value in s.chosen_values.items())
        lines.append(f"chosen for this device (change with --set): {settings}")
    return lines


def plan_json(run: Run) -> dict[str, Any]:
    """The plan for a program."""
    about = {"study": run.settings.name, "device": describe_device(run.opened.device), "finished": run.n_before}
    return {**about, "plan": asdict(run.plan), "settings": run.settings.to_dict()}


def run_search(run: Run, should_stop: Callable[[], bool], live: bool, log: Callable[[str], None]) -> Search:
    """Run the trials that are left, showing how it goes; the page is written however it ends.

    Raises:
        StoppedError: It was stopped, with how to go on.
    """
    search = run.opened.search(should_stop)
    view = (LiveView if live else PlainView)(search.tables.rows(), run.settings, run.plan.trial_s, log)
    try:
        with view, closing(search.events()) as events:
            for event in events:
                view.show(event)
    except (StoppedError, KeyboardInterrupt):
        raise StoppedError(
            f"stopped with {search.tables.finished()} of {run.settings.trials} trials done; nothing is lost. "
            f"Go on with: {this_command()}"
        ) from None
    finally:
        write_report(search)
    return search


def this_command() -> str:
    """The command as it was given, unless it may hold a password."""
    if any("://" in argument for argument in sys.argv):
        return "the same command"
    return shlex.join(["nas-budget", *sys.argv[1:]])


def write_report(search: Search) -> None:
    """Write the page beside the trials table; a page that fails does not undo a search."""
    from nas_budget.report.pages.study import write_page
    from nas_budget.report.tables.studies import read_study

    if not search.tables.rows():
        return
    try:
        write_page([read_study(search.folder)], search.folder / PAGE)
    except (Exception, KeyboardInterrupt) as error:
        log(
            f"the page was not written ({type(error).__name__}: {error}); "
            f"make it with nas-budget report {search.folder}"
        )


def _range(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]}" if bounds[0] == bounds[1] else f"{bounds[0]}-{bounds[1]}"


def _either(choices: tuple[Any, ...]) -> str:
    return " or ".join(map(str, choices))


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _workers(settings: StudyConfig) -> str:
    return f", {settings.workers} at once" if settings.workers > 1 else ""


def _pruning(settings: StudyConfig) -> str:
    if settings.pruner == "none" or (settings.pruner == "front" and not settings.rungs):
        return "every trial trains to the end"
    if settings.pruner == "front":
        epochs = ", ".join(map(str, settings.rungs))
        by = "training loss" if settings.pruner_metric == "loss" else "accuracy"
        return f"after epochs {epochs} the half goes on that the fewest networks no larger beat, by {by}"
    return f"hopeless trials stopped early ({settings.pruner})"


def _finals(settings: StudyConfig) -> list[str]:
    if not settings.finalists:
        return []
    epochs = settings.finalist_epochs
    return [f"finals   the best {settings.finalists} again with {settings.finalist_seeds} seeds, {epochs} epochs each"]
