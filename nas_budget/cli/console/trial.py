"""One trial in the terminal: its network, learning curve, time, and the commands to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import AnySpec, ResNetSpec, spec_from_json
from nas_budget.cli.console.costs import print_parts, print_verdict
from nas_budget.cli.console.output import command, commands, field, images_in_words, out, out_json
from nas_budget.cli.console.study import accuracy_in_words, budget_of
from nas_budget.cli.console.text_plot import sparkline
from nas_budget.errors import UsageError
from nas_budget.records.formatting import percent, seconds_in_words
from nas_budget.records.paths import LATENCIES, TRIAL_SETTINGS, TRIALS_TABLE, trial_folder
from nas_budget.records.statistics import half_width
from nas_budget.records.trials import TrialRecord, read_trials
from nas_budget.report.pages.next_steps import network_options
from nas_budget.untrusted import read_json, read_text

PER_LINE = 10
"""Accuracies of a curve in one line."""


def show_trial(folder: Path, number: int, as_json: bool, name: str = "") -> None:
    """Print a trial of a study that has ended.

    Args:
        folder: With the study's tables.
        number: Of the trial.
        as_json: Whether to print JSON.
        name: How errors name the study, where that is not the folder.
    """
    record = _find(folder, number, name or str(folder))
    spec, limits = spec_from_json(record.spec), budget_of(record, folder)
    used = cost(spec)
    curve = [float(value) for value in record.curve.split()]
    if as_json:
        half = None if record.accuracy is None else half_width(record.accuracy, record.validation_images)
        values = asdict(record) | {"curve": curve, "spec": spec.to_dict(), "recipe": _recipe(folder, number)}
        values |= {"rungs": [int(epoch) for epoch in record.rungs.split()], "half_width": half}
        out_json(values | {"stages": used.to_dict()["stages"], **limits.check(used).to_dict()})
        return
    how_far = "" if record.state == "complete" else f" of {record.max_epochs}"
    reason = f": {record.reason}" if record.reason else ""
    field("", f"{record.study}, trial {number}: {accuracy_in_words(record)}", 0)
    field("", f"{record.state} after {record.epochs}{how_far} epochs{reason}", 0)
    out("")
    print_parts(used, limits)
    out("")
    field("network", str(spec))
    print_verdict(limits.check(used), before="         ")
    if curve:
        _print_curve(curve, record.rungs.split(), record.validation_images)
    out("")
    _print_training(record)
    out("")
    commands(_next(folder, record, spec))


def _find(folder: Path, number: int, name: str) -> TrialRecord:
    records = read_trials(folder) if (folder / TRIALS_TABLE).exists() else []
    for record in records:
        if record.number == number:
            return record
    if trial_folder(folder, number).is_dir():
        raise UsageError(f"{name}: trial {number} has not ended yet; it shows up when it has")
    known = f"there are {_ranges([r.number for r in records])}" if records else "none has ended yet"
    raise UsageError(f"{name}: no trial {number}; {known}")


def _ranges(numbers: list[int]) -> str:
    """Numbers in words: "0 to 7, 9"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in runs)


def _print_curve(values: Sequence[float], rungs: Sequence[str], images: int) -> None:
    """Accuracy on so many images after each epoch: a bar each where there is room, and the numbers."""
    numbers = [percent(value, images) for value in values]
    out(f"\ncurve    {sparkline(values)}  {percent(min(values), images)} to {percent(max(values), images)}".rstrip())
    for first in range(0, len(values), PER_LINE):
        out("         " + " ".join(f"{number:>6}" for number in numbers[first : first + PER_LINE]))
    if rungs:
        out(f"         compared with others after epochs {', '.join(rungs)}")


def _print_training(r: TrialRecord) -> None:
    """Recipe, images, time and device."""
    seeds = f", mean of {r.seeds} seeds" if r.seeds > 1 else ""
    rates = f"learning rate {r.learning_rate:g}, weight decay {r.weight_decay:g}"
    field("recipe", f"{r.optimizer}, {rates}, batch {r.batch_size}{seeds}")
    field("data", images_in_words(r.data, r.images, r.validation_images))
    repeated = f", {seconds_in_words(r.repeated_seconds)} repeated" if r.repeated_seconds else ""
    field("time", f"{r.seconds:,.1f} s{repeated}, ended {r.finished or 'unknown'}")
    latency = f", {r.latency_s * 1e3:.2f} ms an image" if r.latency_s else ""
    field("device", f"{r.device}, {r.precision}, seed {r.seed}, worker {r.worker}{latency}")
    field("versions", r.versions)
    if r.micro_batches > 1:
        field("memory", f"did not suffice for a whole batch: each was computed in {r.micro_batches} micro-batches")


def _next(folder: Path, record: TrialRecord, spec: AnySpec) -> list[str]:
    """The commands to run next; --trial needs the trial's own folder, a limit on latency the layers that were timed."""
    latency_ns = record.budget_latency_ns if (folder / LATENCIES).exists() else None
    limits = {
        "--budget": record.budget_params or "none",
        "--max-macs": record.budget_macs,
        "--max-weight-bytes": record.budget_weight_bytes,
        "--weight-format": record.weight_format if record.budget_weight_bytes else None,
        "--max-activation-bytes": record.budget_activation_bytes,
        "--activation-format": record.activation_format if record.budget_activation_bytes else None,
        "--max-latency": f"{latency_ns / 1e6:.12g}ms" if latency_ns else None,
        "--latency-table": folder / LATENCIES if latency_ns else None,
    }
    words = [word for option, limit in limits.items() if limit for word in (option, limit)]
    counted = command("count", *network_options(spec, image=True), *words) if isinstance(spec, ResNetSpec) else ""
    if not (trial_folder(folder, record.number) / TRIAL_SETTINGS).exists():
        return [counted] if counted else []
    train = command("train", "--study", folder, "--trial", record.number)
    return [train, *([counted] if counted else [])]


def _recipe(folder: Path, number: int) -> dict[str, Any]:
    """The whole recipe, which the trial's own folder has; empty where it is not there."""
    try:
        recipe = read_json(read_text(trial_folder(folder, number) / TRIAL_SETTINGS))["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return recipe if isinstance(recipe, dict) else {}
