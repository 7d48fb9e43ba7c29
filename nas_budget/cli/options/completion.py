"""What the shell offers while a command is typed; nothing here loads anything slow."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import typer

from nas_budget.cli.options.presets import presets
from nas_budget.errors import NasBudgetError
from nas_budget.records.paths import BEST_SPEC, JOURNAL, WEIGHTS
from nas_budget.records.run_folder import RUN, STUDY, folders, kind_of

RUNS = Path("runs")
RECIPES = ("fast", "brief", "evening", "paper", "strong")
SAMPLERS = ("bayes", "tpe", "gp", "nsga2", "cmaes", "evolution", "random")
AIMS = ("front", "best")
PRUNERS = ("front", "halving", "hyperband", "median", "none")
DATA = ("auto", "cifar10", "cifar100", "fashion-mnist", "svhn", "shapes")
INT8_FORMATS = ("onnx-int8", "litert-int8", "c")
FORMATS = ("onnx", "torch", "python", *INT8_FORMATS)
NUMBER_FORMATS = ("fp32", "fp16", "int8")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")
BLOCKS = ("basic", "preact", "bottleneck", "separable", "inverted")
ACTIVATIONS = ("relu", "relu6", "hard-swish", "silu")
PARTS = ("test", "train")
"""Parts of a data set that can be evaluated."""


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Offers names; where none begins with what is typed, the shell offers files."""

    def offer(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return offer


def _run_folders(holds: Callable[[Path], bool]) -> Callable[[typer.Context, str], list[str]]:
    """Offers the run folders that hold something; where none begins with what is typed, the shell offers files."""

    def offer(ctx: typer.Context, incomplete: str) -> list[str]:
        runs = Path(ctx.params.get("runs_dir") or RUNS)
        try:
            names = sorted(str(path) for path in folders(runs) if holds(path))
        except NasBudgetError:
            return []
        return [shlex.quote(name) for name in names if name.startswith(incomplete)]

    return offer


def complete_preset(incomplete: str) -> list[str]:
    """Names of the study files that come with the package."""
    return [name for name in presets() if name.startswith(incomplete)]


def complete_named(ctx: typer.Context, incomplete: str) -> list[str]:
    """What `show` takes: run folders, and their bare names."""
    found = complete_folder(ctx, f"{RUNS}/{incomplete}")
    return [*complete_folder(ctx, incomplete), *(name.replace(f"{RUNS}/", "", 1) for name in found)]


complete_folder = _run_folders(lambda folder: bool(kind_of(folder)))
complete_study = _run_folders(lambda folder: kind_of(folder) == STUDY and (folder / BEST_SPEC).exists())
complete_trained = _run_folders(lambda folder: kind_of(folder) == RUN and (folder / WEIGHTS).exists())
complete_journal = _run_folders(lambda folder: (folder / JOURNAL).exists())
