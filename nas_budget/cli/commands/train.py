"""`nas-budget train`: the full training of one network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.options.completion import RECIPES, complete_study
from nas_budget.cli.options.declare import NETWORK, OUTPUT, TRAINING, AsJson, DataDir, DryRun, Quiet, RunsDir, option
from nas_budget.cli.options.network import NetworkOptions, read_spec
from nas_budget.cli.options.runs import find_run, run_named
from nas_budget.cli.options.study import StudyKeys
from nas_budget.cli.serve.signals import signals
from nas_budget.errors import UsageError
from nas_budget.records.paths import SPEC
from nas_budget.records.run_folder import STUDY, kind_of

STUDY_RECIPE = "study"
"""The recipe's name for that of the study's trial."""
Keys = Annotated[
    dict[str, Any],
    StudyKeys(
        "recipe", "epochs", "data", "images", "seed", "device", "precision", "threads", "budget", "max_macs",
        "max_weight_bytes", "weight_format", "max_activation_bytes", "activation_format", "max_latency",
        "latency_table",
        set_panel=TRAINING,
        recipe={
            "text": "strong, evening, fast, brief, paper, or study for that of the trial.", "default": "strong",
            "choices": (*RECIPES, STUDY_RECIPE),
        },
        images={"default": "all"},
        seed={"text": "The first seed: it fixes initial weights and order of images."},
        budget={
            "text": "Most parameters, or none. With --study: its best network that fits.",
            "default": "study's or 5M",
        },
        max_macs={"default": "study's or none"},
        max_weight_bytes={"default": "study's or none"},
        weight_format={"default": "study's or fp32"},
        max_activation_bytes={"default": "study's or none"},
        activation_format={"default": "study's or fp32"},
        max_latency={"default": "study's or none"},
        latency_table={"default": "study's or none"},
    ),
]  # fmt: skip


@dataclass(frozen=True)
class TrainingOptions:
    """What is no key of a study file: the time, and arguments of `full_training_config`."""

    time: Annotated[
        str | None,
        option("Time for all seeds, such as 2h: as many epochs as fit, instead of --epochs.", TRAINING),
    ] = None
    all_images: Annotated[
        bool,
        option("Train on all images: none for validation, accuracy only at the end.", TRAINING, flag="--all-images"),
    ] = False
    n_seeds: Annotated[
        int, option("Trainings, with seeds from --seed on.", TRAINING, "value", flag="--seeds", least=1)
    ] = 1
    deterministic: Annotated[
        bool, option("The same numbers from the same seed on the same device.", TRAINING, flag="--deterministic")
    ] = False
    compiled: Annotated[
        bool,
        option("Compile the network first; for full trainings, needs a C++ compiler.", TRAINING, flag="--compile"),
    ] = False
    graphed: Annotated[
        bool | None,
        option("Replay steps from a CUDA graph.", TRAINING, "where faster", flag="--graph/--no-graph"),
    ] = None
    name: Annotated[str | None, option("Name of the run.", OUTPUT, "network, recipe, time")] = None


def train(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="A spec.json, a study file or recipe file (.toml), or one of each."),
    ] = None,
    *,
    study: Annotated[
        Path | None,
        option("Run folder of a study, such as runs/quickstart: its best network.", NETWORK, offers=complete_study),
    ] = None,
    best: Annotated[bool, option("With --study: the best network (as without).", NETWORK, flag="--best")] = False,
    trial: Annotated[int | None, option("With --study: the network of this trial.", NETWORK)] = None,
    channels: Annotated[str, option("Width of each stage, such as 32,64,96,128,185.", NETWORK)] = "",
    network: NetworkOptions,
    keys: Keys,
    how: TrainingOptions,
    data_dir: DataDir = None,
    runs_dir: RunsDir = Path("runs"),
    show_layers: Annotated[bool, option("torchinfo's summary of the network too.", OUTPUT, flag="--layers")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Give one network its full training.

    Test images are read once, at its end. Run the same command again to resume after an interruption.
    """
    spec_file, study_file = _by_kind(files or [])
    if sum([spec_file is not None, study is not None, bool(channels)]) > 1:
        raise UsageError("the network is given twice; give one of a spec.json, --study and --channels")
    if study is None and (trial is not None or best):
        raise UsageError("--trial and --best go with --study, such as --study runs/quickstart")
    study = study and find_run(study, STUDY)
    recipe = keys.get("recipe.name")
    if recipe == STUDY_RECIPE:
        del keys["recipe.name"]
    given = _network(spec_file, channels, network)
    from nas_budget.cli.jobs.train import plan_training, print_plan, print_result, run_to_end

    with signals() as interrupt:
        planned = plan_training(
            given, study, trial, study_file, keys, runs_dir, data_dir, interrupt.stop.is_set, quiet,
            spec_file=spec_file, recipe=recipe, **asdict(how),
        )  # fmt: skip
        if dry_run or not quiet:
            print_plan(planned, dry_run, as_json, show_layers)
        if dry_run:
            return
        run = planned.run
        interrupt.wait_for_step = True
        result = run_to_end(run, quiet)
        interrupt.wait_for_step = False
        print_result(run, result, as_json)


def _by_kind(files: list[Path]) -> tuple[Path | None, Path | None]:
    """The spec and the study file among the arguments."""
    found: dict[str, Path] = {}
    for file in files:
        if file.suffix not in (".json", ".toml") or file.suffix in found:
            folder = run_named(file)
            kind = folder and kind_of(folder)
            network = folder and f"; the network of that run is {folder / SPEC}"
            hint = f"; a study goes with --study {file}" if kind == STUDY else network or ""
            if str(file).isdigit():
                hint = "; lists have commas between their values: --channels 32,64,96"
            raise UsageError(f"{file}: not expected; give at most one spec (.json) and one study file (.toml){hint}")
        found[file.suffix] = file
    return found.get(".json"), found.get(".toml")


def _network(file: Path | None, channels: str, network: NetworkOptions) -> tuple[str, dict[str, Any]] | None:
    """Name and values of the network of a spec file or of --channels; None where it is neither."""
    values = network.values(channels)
    if values and not channels:
        raise UsageError(f"--{min(values).replace('_', '-')}: goes with --channels, which is missing")
    if file:
        stem = f"{file.resolve().parent.name}-best" if file.stem == "best" else file.stem
        return stem, read_spec(file).to_dict()
    return (channels.replace(",", "-"), values) if values else None
