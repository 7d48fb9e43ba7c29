"""What `nas-budget search` does: plan the study, run it, write its page, print its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nas_budget.arch.budget import Budget, Verdict
from nas_budget.arch.cost import cost
from nas_budget.arch.family_spec import FamilySpace
from nas_budget.arch.latency import milliseconds
from nas_budget.arch.spec import AnySpec
from nas_budget.cli.console.output import (
    images_in_words,
    left_out_in_words,
    log,
    logger,
    out,
    out_json,
    this_command,
    verdict_line,
)
from nas_budget.cli.console.progress import display, progress_if_any
from nas_budget.cli.console.search_view import SearchView
from nas_budget.cli.console.study import counts_of, print_finalists
from nas_budget.errors import StoppedError, UsageError
from nas_budget.records.formatting import in_short, percent_with_interval, seconds_in_words, width_in_words
from nas_budget.records.paths import BEST_SPEC, FINALISTS_TABLE, PAGE, TRIALS_TABLE
from nas_budget.search.api import result_of
from nas_budget.search.config.plan import Plan, TimeLeft
from nas_budget.search.config.proxy import TRAINED, levels
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.open_study import Opened, open_search
from nas_budget.search.selection import DEFAULT_RECIPE
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.storage import Finished, count_finished
from nas_budget.search.workers.events import Event, FinalistFinished, TrialFinished
from nas_budget.search.workers.search_runner import Search, Workers
from nas_budget.train.engine.device import torch_threads
from nas_budget.train.optim.recipe import RECIPES

EVENING_S, SHORT_EPOCHS = 10_800.0, 20
"""Seconds that a person may wait for a full training, and epochs without which it is none."""


class PlannedSearch(NamedTuple):
    """A study ready to start or to resume, what to expect of the trials left, what is done; cores to train on."""

    opened: Opened
    plan: Plan
    done: Finished
    n_cores: int


def plan_search(
    file: Path | None, overrides: dict[str, Any], name: str | None, runs_dir: Path, data_dir: str | None,
    quiet: bool = False,
) -> PlannedSearch:  # fmt: skip
    """Read, check and plan; nothing is written yet."""
    quiet_optuna()
    with progress_if_any("converting the images", quiet) as on_share:
        # Messages also when quiet: which images it is matters.
        opened = open_search(file, overrides, name, runs_dir, data_dir, log, on_share=on_share)
    settings, n_cores = opened.settings, torch.get_num_threads()
    if opened.device.type == "cpu":
        torch.set_num_threads(settings.threads)
    done = count_finished(settings.storage, opened.folder, settings.name) if opened.exists else Finished()
    n_left = max(0, settings.trials - done.trials)
    plan = opened.plan(n_left, done.wider, done.finalist_runs)
    return PlannedSearch(opened, plan, done, n_cores)


def plan_lines(planned: PlannedSearch) -> list[str]:
    """The plan for a person."""
    opened, plan, done, _ = planned
    s, recipe, n_before = opened.settings, opened.settings.recipe, done.trials
    how_far = f"resumed, {n_before} of {s.trials} trials done" if n_before else "new"
    n_left = max(0, s.trials - n_before)
    fitting = f"{plan.share_fitting:.0%}" if plan.share_fitting >= 0.01 else "under 1%"
    at_once = f", {s.workers} at once" if s.workers > 1 else ""
    lines = [
        f"study    {s.name} ({how_far}), in {opened.folder}",
        f"device   {opened.device_name}, {s.precision}",
        f"data     {images_in_words(opened.dataset.name, s.n_train, s.n_validation)}; test images not read",
        f"budget   {s.budget}",
        f"space    {s.space.in_words}",
        f"         what fits has {plan.smallest:,} to about {plan.largest:,} parameters; "
        f"{fitting} of networks drawn at random fit, every proposal here does",
        f"recipe   {s.recipe_name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, "
        f"batch {recipe.batch_size}, {recipe.epochs} epochs",
        f"search   {s.sampler}; {_pruning(s)}",
        f"time     {n_left} trials of about {seconds_in_words(plan.trial_s)}{_ladder_in_words(s, plan)}{at_once}: "
        f"{seconds_in_words(plan.total_s)} if none is pruned",
    ]
    if s.time and TRAINED * plan.total_s > s.time:
        lines.append(f"         NOTE: more than the {seconds_in_words(s.time)} of search.time, after which none begins")
    if left_out := left_out_in_words(s.n_train, recipe.batch_size):
        lines.append(f"         {left_out}")
    if plan.share_too_large:
        lines.append(
            f"         NOTE: {plan.share_too_large:.0%} of such networks need more memory than a worker has here, "
            f"up to {plan.step_bytes / 1e9:.1f} of {plan.room / 1e9:.1f} GB: their batches are computed in parts"
        )
    if s.proxy < 1:
        trained = f"copies at {width_in_words(s.proxy)} (about {plan.proxy_params:,} parameters)"
        lines.insert(-2, f"proxies  trials train {trained}; the answer is at full size")
    if isinstance(s.space, FamilySpace):
        lines.insert(-2, "proxies  none: networks of a family of your own are trained themselves")
    if s.checkpoints:
        lines.insert(-1, f"resume   checkpoints of trials in {s.checkpoints}, for workers of all machines")
    if s.finalists:
        seeds = f"{s.finalist_seeds} more seeds, {s.finalist_epochs} epochs each"
        lines.insert(-1, f"finals   the best {s.finalists} with {seeds}")
    if done.elsewhere:
        lines.insert(1, f"shared   trials are under way on {', '.join(done.elsewhere)}: this command works beside them")
    if s.chosen:
        settings = ", ".join(f"{key}={value}" for key, value in s.chosen_values.items())
        lines.append(f"chosen for this device (change with --set): {settings}")
    return lines


def plan_json(planned: PlannedSearch) -> dict[str, Any]:
    """The plan for a program."""
    opened, plan, done, _ = planned
    about = {"study": opened.settings.name, "device": opened.device_name, "finished": done.trials}
    return {**about, "plan": asdict(plan), "settings": opened.settings.to_dict()}


def run_search(
    planned: PlannedSearch, should_stop: Callable[[], bool], quiet: bool, engine: str = "local", **cluster: Any
) -> tuple[Search, str, bool]:
    """Run the trials that are left and show progress; the page is written however it ends.

    With the search comes what of it is missing, in words: it is empty where all was done, or a stop rule ended it; and
    whether its page was written.

    Args:
        planned: The study.
        should_stop: Asked before every step.
        quiet: Whether progress is not shown.
        engine: "local", or "ray" for workers on a cluster.
        cluster: The options of such workers.
    """
    opened, settings, plan = planned.opened, planned.opened.settings, planned.plan
    workers = _ray_workers(opened, should_stop, **cluster) if engine == "ray" else None
    search, missing, has_page = opened.search(should_stop, workers), "", False
    try:
        with display(quiet) as show, closing(search.events()) as events:
            left = TimeLeft(settings, plan.trial_s, plan.speed, plan.ladder_s)
            view = SearchView(search.tables.rows(), settings, left, show, logger(quiet))
            for event in events:
                view.update(event)
                missing = missing or _missing(event)
    except (StoppedError, KeyboardInterrupt):
        raise StoppedError(
            f"stopped with {search.tables.finished()} of {settings.trials} trials done; nothing is lost. "
            f"Resume with: {this_command()}"
        ) from None
    finally:
        if search.tables.known_rows():
            has_page = _has_page(search.folder)
    return search, missing, has_page


def _has_page(folder: Path) -> bool:
    """Whether the page was written; it never hides how the search ended."""
    try:
        from nas_budget.cli.jobs.report import try_to_write_page  # loads what draws, at last
    except (ImportError, MemoryError) as error:  # under a limit of memory a library may find no room
        reason = f"{type(error).__name__}: {error}"
        log(f"the page was not written ({reason}); make it with nas-budget report {folder}")
        return False
    return try_to_write_page(folder)


def _missing(event: Event) -> str:
    """What an event leaves undone that was asked for, in words. Another network takes the place of one that failed."""
    if isinstance(event, FinalistFinished) and event.run is None:
        return f"a run of finalist {event.trial} failed"
    if isinstance(event, TrialFinished) and event.record.state == "failed" and event.record.of is not None:
        return f"the network of trial {event.record.of} failed to train wider"
    return ""


def _ray_workers(
    opened: Opened, should_stop: Callable[[], bool], ray_address: str | None, gpus_per_worker: float | None,
    cpus_per_worker: float | None, any_version: bool,
) -> Workers:  # fmt: skip
    """The workers on a Ray cluster.

    Raises:
        UsageError: The study lies in a database, for which Ray is of no use.
    """
    from nas_budget.search.cluster.ray_engine import RayWorkers  # loads what only clusters need

    settings = opened.settings
    if settings.storage != "journal":
        raise UsageError("--engine ray: its coordinator keeps the study in the run folder; leave out --storage")
    n_workers = None if "search.workers" in settings.chosen else settings.workers
    cpus = float(settings.threads) if cpus_per_worker is None else cpus_per_worker
    return RayWorkers(n_workers, should_stop, ray_address, gpus_per_worker, cpus, opened.data_dir, log, any_version)


def _next_steps(planned: PlannedSearch, spec: AnySpec) -> Iterator[str]:
    """The full training of the best network, how long it takes here, and what to do where that is long."""
    opened, recipe = planned.opened, RECIPES[DEFAULT_RECIPE]
    with torch_threads(planned.n_cores if opened.device.type == "cpu" else None):
        speed = opened.time_model([spec], recipe)
    epoch_s = speed.epoch_seconds(spec, recipe, opened.dataset.n_train)
    command = f"nas-budget train --study {opened.folder}"
    if not epoch_s:  # memory did not suffice for a step
        yield f"next: {command}"
        return
    seconds = recipe.epochs * epoch_s
    yield f"next: {command}   # {recipe.epochs} epochs of {DEFAULT_RECIPE}: about {seconds_in_words(seconds)} here"
    if seconds > EVENING_S:
        yield f"      {command} --time 3h   # in less time, or on a GPU"
    if SHORT_EPOCHS * epoch_s > EVENING_S:
        macs = in_short(cost(spec).macs * EVENING_S / (SHORT_EPOCHS * epoch_s))
        yield f"      for one that trains here in an evening: search with --max-macs {macs} and another --name"


def _ladder_in_words(settings: StudyConfig, plan: Plan) -> str:
    """The levels of the ladder: how many of the best train at which width, and how long each takes."""
    factors = levels(settings.proxy, settings.ladder)
    return "".join(
        f", the best {n} again at {width_in_words(factor)} ({seconds_in_words(s)} each)"
        for n, factor, s in zip(settings.ladder, factors, plan.ladder_s, strict=True)
    )


def _pruning(settings: StudyConfig) -> str:
    if settings.pruner == "none" or (settings.pruner == "front" and not settings.rungs):
        return "every trial trains to the end"
    if settings.pruner == "front":
        epochs = ", ".join(map(str, settings.rungs))
        by = "training loss" if settings.pruner_metric == "loss" else "accuracy"
        return f"after epochs {epochs} what falls behind networks of at most its size is pruned, by {by}"
    return f"trials pruned by {settings.pruner}"


def _print_latency(budget: Budget, verdict: Verdict, measured_s: float) -> None:
    """The latency of the best network as a whole, beside what was predicted and what is allowed."""
    measured = round(1e9 * measured_s)
    predicted = next(m.used for m in verdict.margins if m.name == "latency_ns")
    off = f"{milliseconds(predicted)} ms predicted, off by {measured / predicted - 1:+.0%}"
    fits = measured <= (budget.latency_ns or measured)
    text = f"measured on this device: {milliseconds(measured)} ms for one image ({off})"
    verdict_line(fits, f"      {text}" if fits else f"      OVER BUDGET: {text}")


def print_result(planned: PlannedSearch, search: Search, has_page: bool, as_json: bool) -> None:
    """Print the best network, its cost and margin, the time, the files that were written and the next command."""
    found = result_of(search)
    counts = counts_of(found.trials)
    verdict = found.settings.budget.check(found.best_spec) if found.best_spec else Verdict(())
    measured_s = planned.opened.latency_s(found.best_spec) if found.best_spec else None
    written = {TRIALS_TABLE: True, BEST_SPEC: found.best, PAGE: has_page, FINALISTS_TABLE: found.finalists}
    files = {name: str(found.folder / name) for name, is_there in written.items() if is_there}
    if as_json:
        out_json(
            {
                "study": found.settings.name,
                "trials": counts,
                "best": found.best and asdict(found.best),
                "best_spec": found.best_spec and found.best_spec.to_dict(),
                **verdict.to_dict(),
                "measured_latency_s": measured_s,
                "seconds": found.ledger.to_dict(),
                "finalists": [asdict(summary) for summary in found.finalists],
                "files": files,
            }
        )
        return
    words = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    out(f"\n{found.settings.name}: {words or 'no trials'} on {planned.opened.dataset.name}")
    out(f"time: {found.ledger.in_words()}")
    if best := found.best:
        number, images = best.number, best.validation_images
        accuracy = percent_with_interval(best.accuracy or 0.0, images)
        if found.finalists:
            leading = found.finalists[0]
            number, accuracy = leading.trial, percent_with_interval(leading.mean, images)
            accuracy += f" (mean of {leading.n_runs} runs)"
        trained = f" of its proxy at {width_in_words(best.proxy)}" if best.proxy < 1 else ""
        out(f"best: {accuracy} on {images:,} validation images{trained} (trial {number}; ± is half of a 95 % interval)")
        out(f"      {found.best_spec}")
        for m in verdict.margins:
            verdict_line(
                True, f"      {m.number(m.used)} of {m.number(m.limit)} {m.words} ({m.number(m.margin)} to spare)"
            )
        if measured_s is not None:
            _print_latency(found.settings.budget, verdict, measured_s)
        if found.finalists:
            print_finalists(found.finalists, images)
    out(f"files: {', '.join(files.values())}")
    if found.best_spec:
        for line in _next_steps(planned, found.best_spec):
            out(line)
