"""A run of train in the terminal: each seed, by what recipe, how long, which files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console.output import command, commands, field, out, out_json, show, table
from nas_budget.cli.console.text_plot import sparkline
from nas_budget.errors import ModelError
from nas_budget.records.formatting import in_short, seconds_in_words
from nas_budget.records.paths import LOCK, RESULT, RUN_SETTINGS
from nas_budget.records.run_folder import has_weights, unfinished
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


def show_run(folder: Path, as_json: bool) -> None:
    """Print a run, or how far one has come that has not ended."""
    if not (folder / RESULT).exists():
        _show_unfinished(folder, as_json)
        return
    result = read_result(folder)
    if as_json:
        out_json(
            {"folder": str(folder), "kind": "run", **accuracies(result), **asdict(result), "files": _files(folder)}
        )
        return
    out(f"{result.name}: {_headline(result)}\n")
    _print_seeds(result)
    out("")
    field("network", str(ResNetSpec.from_dict(result.spec)))
    field("", f"{result.params:,} parameters, {result.macs:,} MACs")
    field("data", f"{result.data}: {result.images:,} images to train, {result.validation_images:,} for validation")
    field("recipe", f"{recipe_in_words(result.recipe)}")
    _print_curve(read_metrics(folder))
    spent = sum(seed.seconds for seed in result.seeds)
    repeated = sum(seed.repeated_seconds for seed in result.seeds)
    more = f", {seconds_in_words(repeated)} repeated after interruptions" if repeated else ""
    field("time", f"{seconds_in_words(spent)} of training{more}, ended {result.finished}")
    field("device", f"{result.device}, {result.precision}{', deterministic' if result.deterministic else ''}")
    field("versions", f"{result.versions}")
    field("files", f"{', '.join(f'{name} ({in_short(size)}B)' for name, size in _files(folder).items())}")
    out("")
    further = [command("export", folder, "--format", "onnx"), command("evaluate", folder)]
    commands([*(further if has_weights(folder) else []), command("report", folder)])


def accuracies(result: RunResult) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation of each kind of accuracy, by its name."""
    return {name: {"mean": result.mean(name), "deviation": result.deviation(name)} for name in FIGURES}


def _headline(result: RunResult) -> str:
    mean, deviation, n = result.mean() or 0.0, result.deviation(), len(result.seeds)
    if deviation is None:
        half = half_width(mean, result.test_images)
        return f"{mean:.2%} ± {half:.2%} of {result.test_images:,} test images, one seed"
    spread = f"± {deviation:.2%} (standard deviation)"
    return f"{mean:.2%} {spread} of {result.test_images:,} test images, mean of {n} seeds"


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


def recipe_in_words(recipe: dict[str, Any]) -> str:
    """A recipe's name, what every one has, and what is on beside."""
    name = recipe.get("name", "?")
    words = f"{name}: {recipe.get('optimizer')}, learning rate {recipe.get('learning_rate')}"
    words += f", batch {recipe.get('batch_size')}, {recipe.get('epochs')} epochs"
    extras = ("cutmix", "cutout", "trivial_augment", "label_smoothing", "ema")
    used = [extra.replace("_", " ") for extra in extras if recipe.get(extra)]
    return words + (f", {', '.join(used)}" if used else "")


def _print_curve(rows: list[EpochRow]) -> None:
    """Accuracy on validation images of the first seed, epoch by epoch."""
    first = [row for row in rows if row.seed == rows[0].seed and row.accuracy is not None]
    values = [row.accuracy or 0.0 for row in first]
    if values:
        out(f"validation  {sparkline(values)}  {values[0]:.1%} to {values[-1]:.1%}, seed {first[0].seed}")


def _files(folder: Path) -> dict[str, int]:
    """Files a reader may want, with their bytes."""
    hidden = (LOCK, ".tmp")
    names = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: path.stat().st_size for path in names if path.suffix not in hidden}


def _show_unfinished(folder: Path, as_json: bool) -> None:
    try:
        held = json.loads((folder / RUN_SETTINGS).read_text(encoding="utf-8"))
        about = unfinished(folder) | {
            "images": int(held["data.images"]),
            "validation_images": int(held["data.validation_images"]),
        }
        recipe = {key.removeprefix("recipe."): value for key, value in held.items() if key.startswith("recipe.")}
        recipe_in_words(recipe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / RUN_SETTINGS}: cannot be read as the settings of a run ({error})") from None
    rows = read_metrics(folder)
    if as_json:
        rows_ = [asdict(row) for row in rows]
        out_json({"folder": str(folder), "kind": "run", "finished": False, **about, "settings": held, "curve": rows_})
        return
    done = f", {about['seeds']} seed{'' if about['seeds'] == 1 else 's'} done" if about["seeds"] else ""
    out(f"{folder.name}: not finished: epoch {about['epoch']} of {about['epochs']}{done}\n")
    spec = {key.removeprefix("spec."): value for key, value in held.items() if key.startswith("spec.")}
    field("network", f"{ResNetSpec.from_dict(spec)}")
    field(
        "data", f"{about['data']}: {about['images']:,} images to train, {about['validation_images']:,} for validation"
    )
    field("recipe", f"{recipe_in_words(recipe).removeprefix('?: ')}")
    _print_curve(rows)
    if rows:
        field("time", f"{seconds_in_words(sum(row.seconds for row in rows))} of training so far")
    out("")
    field("next", "the same nas-budget train command resumes it")
