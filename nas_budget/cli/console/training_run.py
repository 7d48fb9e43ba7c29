"""A run of train in the terminal: each seed, by what recipe, how long, which files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas_budget.arch.budget import Budget
from nas_budget.arch.spec import AnySpec, spec_from_dict
from nas_budget.cli.console.costs import print_verdict
from nas_budget.cli.console.output import command, commands, field, images_in_words, out, out_json, show, table
from nas_budget.cli.console.text_plot import sparkline
from nas_budget.errors import ModelError
from nas_budget.records.formatting import in_short, seconds_in_words
from nas_budget.records.paths import LOCK, RESULT, RUN_SETTINGS
from nas_budget.records.run_folder import has_weights, limits_of, unfinished
from nas_budget.records.statistics import half_width
from nas_budget.records.training_run import EpochRow, RunResult, read_metrics, read_result

FIGURES = {
    "accuracy": "accuracy",
    "flipped": "mirrored",
    "ema": "ema",
    "ema_flipped": "both",
    "validation_accuracy": "validation",
}
"""Titles of the accuracies of a seed."""


def accuracies(result: RunResult) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation of each kind of accuracy, by its name."""
    return {name: {"mean": result.mean(name), "deviation": result.deviation(name)} for name in FIGURES}


def show_run(folder: Path, as_json: bool) -> None:
    """Print a run, or how far one has come that has not ended."""
    if not (folder / RESULT).exists():
        _show_unfinished(folder, as_json)
        return
    result = read_result(folder)
    hidden = (LOCK, ".tmp")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = {path.name: path.stat().st_size for path in paths if path.suffix not in hidden}
    if as_json:
        about = {"folder": str(folder), "kind": "run", **accuracies(result)}
        kept = result.verdict.to_dict() if result.verdict else {}
        out_json({**about, **asdict(result), **kept, "files": files})
        return
    out(f"{result.name}: {_headline(result)}\n")
    _print_seeds(result)
    out("")
    field("network", str(spec_from_dict(result.spec)))
    field("", f"{result.params:,} parameters, {result.macs:,} MACs")
    _print_limits(result.limits, spec_from_dict(result.spec))
    field("data", images_in_words(result.data, result.images, result.validation_images))
    field("recipe", f"{result.recipe['name']}: {_recipe_in_words(result.recipe)}")
    _print_curve(read_metrics(folder))
    spent = sum(seed.seconds for seed in result.seeds)
    repeated = sum(seed.repeated_seconds for seed in result.seeds)
    more = f", {seconds_in_words(repeated)} repeated after interruptions" if repeated else ""
    field("time", f"{seconds_in_words(spent)} of training{more}, ended {result.finished}")
    field("device", f"{result.device}, {result.precision}{', deterministic' if result.deterministic else ''}")
    field("versions", result.versions)
    field("files", ", ".join(f"{name} ({in_short(size)}B)" for name, size in files.items()))
    out("")
    further = [command("export", folder, "--format", "onnx"), command("evaluate", folder)]
    commands([*(further if has_weights(folder) else []), command("report", folder)])


def _print_limits(limits: Budget | None, spec: AnySpec) -> None:
    """The limits that the network was trained under, and by how much it keeps each; nothing where none are known."""
    if limits is not None:
        field("limits", str(limits))
        print_verdict(limits.check(spec), before=" " * 9)


def _headline(result: RunResult) -> str:
    mean, deviation = result.mean() or 0.0, result.deviation()
    half = half_width(mean, result.test_images) if deviation is None else deviation
    spread = "" if deviation is None else " (standard deviation)"
    trainings = "one seed" if deviation is None else f"mean of {len(result.seeds)} seeds"
    return f"{mean:.2%} ± {half:.2%}{spread} of {result.test_images:,} test images, {trainings}"


def _print_seeds(result: RunResult) -> None:
    """Each seed's accuracies, and their mean where there are several."""
    names = [name for name in FIGURES if result.mean(name) is not None]
    rows = [
        (str(s.seed), *(_percent(getattr(s, name)) for name in names), f"{s.loss:.4f}", seconds_in_words(s.seconds))
        for s in result.seeds
    ]
    if len(rows) > 1:
        rows.append(("mean", *(_percent(result.mean(name)) for name in names), "", ""))
    show(table(("seed", *(FIGURES[name] for name in names), "loss", "time"), rows, total=len(rows) > 1))
    if "flipped" in names:
        out("")
        field("", "mirrored: the mean of an image and its mirror image; ema: with EMA weights", 0)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _recipe_in_words(recipe: Mapping[str, Any]) -> str:
    """What every recipe has, and what is on beside."""
    extras = ("cutmix", "cutout", "trivial_augment", "label_smoothing", "ema")
    words = f"{recipe.get('optimizer')}, learning rate {recipe.get('learning_rate')}"
    words += f", batch {recipe.get('batch_size')}, {recipe.get('epochs')} epochs"
    return ", ".join([words, *(extra.replace("_", " ") for extra in extras if recipe.get(extra))])


def _print_curve(rows: Sequence[EpochRow]) -> None:
    """Accuracy on validation images of the first seed, epoch by epoch."""
    values = [row.accuracy for row in rows if row.seed == rows[0].seed and row.accuracy is not None]
    if values:
        out(f"validation  {sparkline(values)}  {values[0]:.1%} to {values[-1]:.1%}, seed {rows[0].seed}")


def _show_unfinished(folder: Path, as_json: bool) -> None:
    try:
        held = json.loads((folder / RUN_SETTINGS).read_text(encoding="utf-8"))
        about = unfinished(folder)
        about |= {name: int(held[f"data.{name}"]) for name in ("images", "validation_images")}
        limits = limits_of(held)
        recipe = {key.removeprefix("recipe."): value for key, value in held.items() if key.startswith("recipe.")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / RUN_SETTINGS}: cannot be read as the settings of a run ({error})") from None
    rows = read_metrics(folder)
    if as_json:
        head = {"folder": str(folder), "kind": "run", "finished": False, **about}
        out_json({**head, "settings": held, "curve": [asdict(row) for row in rows]})
        return
    done = f", {about['seeds']} seed{'' if about['seeds'] == 1 else 's'} done" if about["seeds"] else ""
    out(f"{folder.name}: not finished: epoch {about['epoch']} of {about['epochs']}{done}\n")
    spec = {key.removeprefix("spec."): value for key, value in held.items() if key.startswith("spec.")}
    field("network", str(spec_from_dict(spec)))
    _print_limits(limits, spec_from_dict(spec))
    field("data", images_in_words(about["data"], about["images"], about["validation_images"]))
    field("recipe", _recipe_in_words(recipe))
    _print_curve(rows)
    if rows:
        field("time", f"{seconds_in_words(sum(row.seconds for row in rows))} of training so far")
    out("")
    field("next", "the same nas-budget train command resumes it")
