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

from nas_budget.arch.budget import Verdict
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.live import LiveView, PlainView
from nas_budget.cli.output import out, out_json, say, verdict_line
from nas_budget.errors import StoppedError
from nas_budget.search.plan import Plan, make_plan, seconds_in_words
from nas_budget.search.pruning import rungs
from nas_budget.search.runner import BEST, TABLE, Search
from nas_budget.search.settings import Settings, resolve, study_name
from nas_budget.search.storage import count_finished, quiet_optuna, recorded_settings
from nas_budget.search.study_file import read_study_file
from nas_budget.train.data import Dataset, open_dataset
from nas_budget.train.device import choose_device, describe_device
from nas_budget.train.images import SplitImages, split_images
from nas_budget.trial_table import best_of

PAGE = "report.html"


@dataclass(frozen=True)
class Run:
    """A study ready to begin or to go on."""

    settings: Settings
    dataset: Dataset
    images: SplitImages
    device: torch.device
    folder: Path
    plan: Plan
    n_before: int


def open_run(
    file: Path | None, overrides: dict[str, Any], name: str | None, runs_dir: Path, data_dir: str | None,
) -> Run:  # fmt: skip
    """Read, check and plan; nothing is written yet."""
    quiet_optuna()
    sections = read_study_file(file, overrides)
    device = choose_device(sections["search"]["device"])
    name = name or study_name(file, sections)
    folder, storage = runs_dir / name, sections["search"]["storage"]
    recorded = recorded_settings(storage, folder, name)
    wanted = sections["data"]["name"]
    if wanted == "auto" and recorded:
        wanted = recorded["data"]["name"]
    dataset = open_dataset(wanted, data_dir, say)  # also when quiet: which images it is matters
    settings = resolve(name, sections, device, dataset, recorded)
    if device.type == "cpu":
        torch.set_num_threads(settings.threads)
    images = split_images(dataset, device, settings.n_train, settings.n_held_out)
    n_before = count_finished(storage, folder, name) if recorded else 0
    plan = make_plan(settings, images, max(0, settings.trials - n_before))
    return Run(settings, dataset, images, device, folder, plan, n_before)


def plan_lines(run: Run) -> list[str]:
    """The plan for a person."""
    s, space, recipe, plan = run.settings, run.settings.space, run.settings.recipe, run.plan
    how_far = f"goes on, {run.n_before} of {s.trials} trials done" if run.n_before else "new"
    n_left = max(0, s.trials - run.n_before)
    lines = [
        f"study    {s.name} ({how_far}), in {run.folder}",
        f"device   {describe_device(run.device)}, {s.precision}",
        f"data     {run.dataset.name}: {s.n_train:,} images to train, {s.n_held_out:,} held out; test images not read",
        f"budget   {s.budget}",
        f"space    {_range(space.stages)} stages of {_range(space.blocks)} blocks, kernels {_either(space.kernels)}, "
        f"widths {_range(space.width)}",
        f"         what fits has {plan.smallest:,} to about {plan.largest:,} parameters; "
        f"{_percent(plan.share_fitting)} of networks drawn at random fit, every proposal here does",
        f"recipe   {s.sections['recipe']['name']}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, "
        f"batch {recipe.batch_size}, {recipe.epochs} epochs",
        f"search   {s.sampler}; {_pruning(s)}",
        f"time     {n_left} trials of about {seconds_in_words(plan.trial_s)}: "
        f"{seconds_in_words(plan.total_s)} if none is stopped early",
    ]
    if s.chosen:
        settings = ", ".join(f"{key}={value}" for key, value in s.chosen.items())
        lines.append(f"chosen for this device (change with --set): {settings}")
    return lines


def plan_json(run: Run) -> dict[str, Any]:
    """The plan for a program."""
    about = {"study": run.settings.name, "device": describe_device(run.device), "finished": run.n_before}
    return {**about, "plan": asdict(run.plan), "settings": run.settings.sections}


def run_search(run: Run, stopped: Callable[[], bool], live: bool, talk: Callable[[str], None]) -> Search:
    """Run the trials that are left, showing how it goes; the page is written however it ends.

    Raises:
        StoppedError: It was stopped, with how to go on.
    """
    search = Search(run.settings, run.images, run.folder, stopped)
    view = (LiveView if live else PlainView)(search.records(), run.settings.trials, run.plan.trial_s, talk)
    try:
        with view, closing(search.events()) as events:
            for event in events:
                view.show(event)
    except (StoppedError, KeyboardInterrupt):
        raise StoppedError(
            f"stopped with {search.finished()} of {run.settings.trials} trials done; nothing is lost. "
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
    from nas_budget.report.page import write_page
    from nas_budget.report.table import read_table

    if not search.records():
        return
    try:
        write_page(read_table(search.folder / TABLE), search.folder / PAGE)
    except (Exception, KeyboardInterrupt) as error:
        say(
            f"the page was not written ({type(error).__name__}: {error}); "
            f"make it with nas-budget report {search.folder}"
        )


def tell_result(run: Run, search: Search, as_json: bool) -> None:
    """The best network, its cost and margin, where the files are, and the next command."""
    records = search.records()
    best = best_of(records)
    counts = {state: sum(r.state == state for r in records) for state in ("complete", "pruned", "failed")}
    files = {name: str(run.folder / name) for name in (TABLE, BEST, PAGE)}
    verdict = run.settings.budget.check(ResNetSpec.from_json(best.spec)) if best else Verdict(())
    if as_json:
        out_json(
            {
                "study": run.settings.name,
                "trials": counts,
                "best": best and asdict(best),
                **verdict.to_dict(),
                "files": files,
            }
        )
        return
    words = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    spent = seconds_in_words(sum(r.seconds for r in records))
    out(f"\n{run.settings.name}: {words or 'no trials'} on {run.dataset.name}, {spent} of training")
    if best:
        out(f"best: {best.accuracy:.2%} on {best.held_out:,} held-out images (trial {best.number})")
        out(f"      {ResNetSpec.from_json(best.spec)}")
        for m in verdict.margins:
            verdict_line(True, f"      {m.used:,} of {m.limit:,} {m.name} ({m.margin:,} to spare)")
    out(f"files: {files[PAGE]}, {files[TABLE]}, {files[BEST]}")
    if best:
        out(f"next: nas-budget count {files[BEST]}")


def _range(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]}" if bounds[0] == bounds[1] else f"{bounds[0]}-{bounds[1]}"


def _either(choices: tuple[Any, ...]) -> str:
    return " or ".join(map(str, choices))


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _pruning(settings: Settings) -> str:
    compared = rungs(settings.recipe.epochs)
    if settings.pruner == "none" or (settings.pruner == "front" and not compared):
        return "every trial trains to the end"
    if settings.pruner == "front":
        epochs = " or ".join(map(str, compared))
        return f"stopped at epoch {epochs} when behind the better half of the networks no larger"
    return f"hopeless trials stopped early ({settings.pruner})"
