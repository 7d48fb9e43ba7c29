"""What `nas-budget search` does: plan the study, run it, write its page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas_budget.cli.console.output import log, logger, this_command
from nas_budget.cli.console.progress import display
from nas_budget.cli.console.search_view import SearchView
from nas_budget.cli.jobs.page import try_to_write
from nas_budget.errors import StoppedError
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.paths import PAGE
from nas_budget.search.config.plan import Plan, TimeLeft, make_plan
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.open_study import Opened, open_search
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import count_finished
from nas_budget.search.workers.search_runner import Search
from nas_budget.train.engine.device import describe_device


@dataclass(frozen=True)
class PlannedSearch:
    """A study ready to start or to resume.

    Attributes:
        opened: Its settings, images and folder.
        plan: What to expect of the trials that are left.
        n_before: Trials that are complete or pruned already.
    """

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


def plan_search(
    file: Path | None, overrides: dict[str, Any], name: str | None, runs_dir: Path, data_dir: str | None,
) -> PlannedSearch:  # fmt: skip
    """Read, check and plan; nothing is written yet."""
    quiet_optuna()
    opened = open_search(file, overrides, name, runs_dir, data_dir, log)  # also when quiet: which images it is matters
    settings = opened.settings
    if opened.device.type == "cpu":
        torch.set_num_threads(settings.threads)
    n_before = count_finished(settings.storage, opened.folder, settings.name) if opened.exists else 0
    plan = make_plan(settings, opened.images, max(0, settings.trials - n_before))
    return PlannedSearch(opened, plan, n_before)


def plan_lines(planned: PlannedSearch) -> list[str]:
    """The plan for a person."""
    s, space, recipe, plan = planned.settings, planned.settings.space, planned.settings.recipe, planned.plan
    how_far = f"resumed, {planned.n_before} of {s.trials} trials done" if planned.n_before else "new"
    n_left = max(0, s.trials - planned.n_before)
    lines = [
        f"study    {s.name} ({how_far}), in {planned.folder}",
        f"device   {describe_device(planned.opened.device)}, {s.precision}",
        f"data     {planned.opened.dataset.name}: {s.n_train:,} images to train, {s.n_validation:,} for validation; "
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
        f"{seconds_in_words(plan.total_s / s.workers)} if none is pruned",
    ]
    lines[-1:-1] = _finalists(s)
    if s.chosen:
        settings = ", ".join(f"{key}={value}" for key, value in s.chosen_values.items())
        lines.append(f"chosen for this device (change with --set): {settings}")
    return lines


def plan_json(planned: PlannedSearch) -> dict[str, Any]:
    """The plan for a program."""
    device = describe_device(planned.opened.device)
    about = {"study": planned.settings.name, "device": device, "finished": planned.n_before}
    return {**about, "plan": asdict(planned.plan), "settings": planned.settings.to_dict()}


def run_search(planned: PlannedSearch, should_stop: Callable[[], bool], quiet: bool) -> Search:
    """Run the trials that are left and show progress; the page is written however it ends.

    Raises:
        StoppedError: It was stopped; says how to resume.
    """
    settings, plan = planned.settings, planned.plan
    search = planned.opened.search(should_stop)
    try:
        with display(quiet) as show, closing(search.events()) as events:
            left = TimeLeft(settings, plan.trial_s, plan.speed)
            view = SearchView(search.tables.rows(), settings, left, show, logger(quiet))
            for event in events:
                view.update(event)
    except (StoppedError, KeyboardInterrupt):
        raise StoppedError(
            f"stopped with {search.tables.finished()} of {settings.trials} trials done; nothing is lost. "
            f"Resume with: {this_command()}"
        ) from None
    finally:
        write_report(search)
    return search


def write_report(search: Search) -> None:
    """Write the page beside the trials table, if a trial has ended."""
    if search.tables.rows():
        try_to_write(_write_page, search.folder)


def _write_page(folder: Path) -> None:
    from nas_budget.report.pages.study import write_page
    from nas_budget.report.tables.studies import read_study

    write_page([read_study(folder)], folder / PAGE)


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
        return f"after epochs {epochs} the half is pruned that most networks of at most its size beat, by {by}"
    return f"trials pruned by {settings.pruner}"


def _finalists(settings: StudyConfig) -> list[str]:
    if not settings.finalists:
        return []
    epochs = settings.finalist_epochs
    return [f"finals   the best {settings.finalists} with {settings.finalist_seeds} more seeds, {epochs} epochs each"]
