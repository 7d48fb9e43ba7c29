"""A run of train in the terminal: each seed, by what recipe, how long, which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from nas_budget.arch.budget import Budget
from nas_budget.arch.spec import AnySpec, spec_from_dict
from nas_budget.cli.console.costs import print_verdict
from nas_budget.cli.console.output import command, commands, field, images_in_words, out, out_json, show, table
from nas_budget.cli.console.text_plot import sparkline
from nas_budget.errors import ModelError
from nas_budget.records.formatting import in_short, percent, seconds_in_words
from nas_budget.records.paths import LOCK, RESULT, RUN_SETTINGS
from nas_budget.records.run_folder import has_weights, limits_of, unfinished
from nas_budget.records.training_run import EpochRow, RunResult, read_metrics, read_result
from nas_budget.untrusted import read_json, read_text

FIGURES = {
    "accuracy": "test accuracy, one forward pass",
    "flipped": "... mean with the mirror image",
    "ema": "test accuracy, EMA weights",
    "ema_flipped": "... mean with the mirror image",
    "validation_accuracy": "accuracy on validation images",
}
"""The accuracies of a training, in words."""
NOTE = "; deviation: between the seeds"


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
    field("", f"{result.name}: {_headline(result)}", 0)
    out("")
    print_accuracies(result)
    out("")
    field("network", str(spec_from_dict(result.spec)))
    field("", f"{result.params:,} parameters, {result.macs:,} MACs")
    _print_limits(result.limits, spec_from_dict(result.spec))
    field("data", images_in_words(result.data, result.images, result.validation_images))
    field("recipe", f"{result.recipe['name']}: {_recipe_in_words(result.recipe)}")
    _print_curve(read_metrics(folder), result.validation_images)
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
    trainings = "one seed" if len(result.seeds) == 1 else f"mean of {len(result.seeds)} seeds"
    return f"{result.in_words()} (95 %) of {result.test_images:,} test images, {trainings}"


def print_accuracies(result: RunResult) -> None:
    """Print each kind of accuracy, of several seeds with their mean and the deviation between them."""
    seeds = result.seeds
    rows = [_accuracy_row(result, name, words) for name, words in FIGURES.items() if result.mean(name) is not None]
    losses, times = (fmean(values) for values in zip(*((s.loss, s.seconds) for s in seeds), strict=True))
    rows.append(("test loss", f"{losses:.4f}", "", " ".join(f"{seed.loss:.4f}" for seed in seeds)))
    each = ", ".join(seconds_in_words(seed.seconds) for seed in seeds)
    rows.append(("time of training", seconds_in_words(times), "", each))
    if len(seeds) > 1:
        numbers = ", ".join(str(seed.seed) for seed in seeds)
        show(table(("", "mean", "deviation", f"seeds {numbers}"), rows, left=(0, 3)))
    else:
        show(table(("", f"seed {seeds[0].seed}"), [row[:2] for row in rows]))
    out("")
    field("", f"±: half of the 95 % interval that so many images leave{NOTE if len(seeds) > 1 else ''}", 0)


def _accuracy_row(result: RunResult, name: str, words: str) -> tuple[str, ...]:
    images, deviation = result.images_of(name), result.deviation(name)
    values = [value for seed in result.seeds if (value := getattr(seed, name)) is not None]
    spread = "" if deviation is None else percent(deviation, images)
    return words, result.in_words(name), spread, " ".join(percent(value, images) for value in values)


def _recipe_in_words(recipe: Mapping[str, Any]) -> str:
    """What every recipe has, and what is on beside."""
    extras = ("cutmix", "cutout", "trivial_augment", "label_smoothing", "ema")
    words = f"{recipe.get('optimizer')}, learning rate {recipe.get('learning_rate')}"
    words += f", batch {recipe.get('batch_size')}, {recipe.get('epochs')} epochs"
    return ", ".join([words, *(extra.replace("_", " ") for extra in extras if recipe.get(extra))])


def _print_curve(rows: Sequence[EpochRow], images: int) -> None:
    """Accuracy on so many validation images of the first seed, epoch by epoch."""
    values = [row.accuracy for row in rows if row.seed == rows[0].seed and row.accuracy is not None]
    if values:
        first, last = (percent(value, images) for value in (values[0], values[-1]))
        out(f"validation  {sparkline(values)}  {first} to {last}, seed {rows[0].seed}")


def _show_unfinished(folder: Path, as_json: bool) -> None:
    try:
        held = read_json(read_text(folder / RUN_SETTINGS))
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
    _print_curve(rows, about["validation_images"])
    if rows:
        field("time", f"{seconds_in_words(sum(row.seconds for row in rows))} of training so far")
    out("")
    field("next", "the same nas-budget train command resumes it")
