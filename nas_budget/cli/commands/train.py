"""`nas-budget train`: the full training of one network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.commands.search import parse_assignment, toml_value
from nas_budget.cli.console.output import logger
from nas_budget.cli.options import network as options
from nas_budget.cli.options.completion import complete_full_recipe, complete_study
from nas_budget.cli.options.help import OUTPUT
from nas_budget.cli.options.network import (
    BUDGET_PANEL,
    NETWORK_PANEL,
    TRAINING_PANEL,
    network_values,
    option,
    read_spec,
)
from nas_budget.cli.serve.signals import signals
from nas_budget.errors import UsageError

KEYS = {
    "budget": "budget.params",
    "max_macs": "budget.macs",
    "data": "data.name",
    "images": "data.images",
    "epochs": "recipe.epochs",
    "recipe": "recipe.name",
    "seed": "search.seed",
    "device": "search.device",
    "precision": "search.precision",
    "threads": "search.threads",
}
"""The key of a study file that each option sets."""


def train(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="A spec.json, a study file or recipe file (.toml), or one of each."),
    ] = None,
    study: Annotated[
        Path | None,
        option(
            "Run folder of a study, such as runs/quickstart: its best network.", NETWORK_PANEL, offers=complete_study
        ),
    ] = None,
    best: Annotated[bool, option("With --study: the best network (as without).", NETWORK_PANEL, flag="--best")] = False,
    trial: Annotated[int | None, option("With --study: the network of this trial.", NETWORK_PANEL)] = None,
    channels: Annotated[str, option("Width of each stage, such as 32,64,96,128,185.", NETWORK_PANEL)] = "",
    blocks: options.Blocks = "",
    kernels: options.Kernels = "",
    pool: options.Pool = "",
    stem_kernel: options.StemKernel = "",
    shortcut_kernel: options.ShortcutKernel = "",
    strides: options.Strides = "",
    block: options.Block = "",
    se_reduction: options.SeReduction = "",
    stem_width: options.StemWidth = "",
    dropout: options.Dropout = "",
    recipe: Annotated[
        str | None,
        option(
            "strong, fast, brief, paper, or study for that of the trial.",
            TRAINING_PANEL,
            "strong",
            offers=complete_full_recipe,
        ),
    ] = None,
    epochs: Annotated[str | None, option("Passes over the images.", TRAINING_PANEL, "by recipe")] = None,
    data: options.Data = None,
    images: Annotated[str | None, option("Images to train on, or all.", TRAINING_PANEL, "all")] = None,
    all_images: Annotated[
        bool,
        option(
            "Hold no training images out; accuracy is then known at the end alone.", TRAINING_PANEL, flag="--all-images"
        ),
    ] = False,
    seeds: Annotated[int, option("Trainings, with seeds from --seed on.", TRAINING_PANEL, "value", least=1)] = 1,
    seed: Annotated[str | None, option("The first seed.", TRAINING_PANEL, "0")] = None,
    deterministic: Annotated[
        bool, option("The same numbers from the same seed on the same device.", TRAINING_PANEL, flag="--deterministic")
    ] = False,
    compiled: Annotated[
        bool,
        option(
            "Compile the network first; for full trainings, needs a C++ compiler.", TRAINING_PANEL, flag="--compile"
        ),
    ] = False,
    graphed: Annotated[
        bool, option("Replay passes from a CUDA graph: faster where steps are short.", TRAINING_PANEL, flag="--graph")
    ] = False,
    device: options.Device = None,
    precision: options.Precision = None,
    threads: Annotated[str | None, option("Threads on a CPU.", TRAINING_PANEL, "by network")] = None,
    set_: Annotated[
        list[str] | None, option("Any key of the study file, as section.key=value.", TRAINING_PANEL, flag="--set")
    ] = None,
    data_dir: options.DataDir = None,
    budget: Annotated[
        str | None,
        option("Most parameters, or none. With --study: its best network that fits.", BUDGET_PANEL, "study's or 5M"),
    ] = None,
    max_macs: Annotated[str | None, option("Most multiply-accumulates.", BUDGET_PANEL, "none")] = None,
    name: Annotated[str | None, option("Name of the run.", OUTPUT, "network and recipe")] = None,
    runs_dir: options.RunsDir = Path("runs"),
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Give one network its full training.

    Test images are read once, at its end. Run the same command again to go on after an interruption.
    """
    given = dict(locals())
    from nas_budget.cli.jobs.train import Asked, open_full_training, run_to_end, tell_plan, tell_result

    overrides = {
        key: toml_value(given[option])
        for option, key in KEYS.items()
        if given[option] is not None and (option, given[option]) != ("recipe", "study")
    }
    overrides.update(map(parse_assignment, set_ or []))
    spec_file, study_file = _by_kind(files or [])
    asked = Asked(
        network=_network(given, spec_file), study=study, trial=trial, study_file=study_file, overrides=overrides,
        recipe=recipe, name=name, n_seeds=seeds, all_images=all_images, deterministic=deterministic, compiled=compiled,
        graphed=graphed,
    )  # fmt: skip
    log = logger(quiet)
    with signals() as interrupt:
        opened = open_full_training(asked, runs_dir, data_dir)
        if dry_run or not quiet:
            tell_plan(opened, dry_run, as_json)
        if dry_run:
            return
        interrupt.wait_for_step = True
        result = run_to_end(opened, interrupt.asked.is_set, live=not quiet and sys.stderr.isatty(), log=log)
        interrupt.wait_for_step = False
        tell_result(opened, result, as_json)


def _by_kind(files: list[Path]) -> tuple[Path | None, Path | None]:
    """The spec and the study file among the arguments."""
    specs, studies = [f for f in files if f.suffix == ".json"], [f for f in files if f.suffix == ".toml"]
    others = [f for f in files if f.suffix not in (".json", ".toml")]
    if others or len(specs) > 1 or len(studies) > 1:
        wrong = others[0] if others else (specs if len(specs) > 1 else studies)[1]
        raise UsageError(f"{wrong}: not expected; give at most one spec (.json) and one study file (.toml)")
    return (specs[0] if specs else None), (studies[0] if studies else None)


def _network(given: dict[str, Any], spec_file: Path | None) -> tuple[str, dict[str, Any]] | None:
    """Name and values of the network of a spec file or of --channels; None where it is neither."""
    values = network_values(given)
    sources = [spec_file is not None, given["study"] is not None, bool(given["channels"])]
    if sum(sources) > 1:
        raise UsageError("the network is given twice; give one of a spec.json, --study and --channels")
    if given["study"] is None and (given["trial"] is not None or given["best"]):
        raise UsageError("--trial and --best go with --study, such as --study runs/quickstart")
    if values and not given["channels"]:
        raise UsageError(f"--{min(values).replace('_', '-')}: goes with --channels, which is missing")
    if spec_file:
        stem = f"{spec_file.resolve().parent.name}-best" if spec_file.stem == "best" else spec_file.stem
        return stem, read_spec(spec_file).to_dict()
    return (given["channels"].replace(",", "-"), values) if values else None
