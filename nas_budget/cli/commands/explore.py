"""`nas-budget explore`: what of a space fits a budget, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.options.declare import NETWORK, OUTPUT, AsJson, Preset, Quiet, option, study_file
from nas_budget.cli.options.study import StudyKeys

Keys = Annotated[
    dict[str, Any],
    StudyKeys(
        "budget", "max_macs", "max_weight_bytes", "weight_format", "max_activation_bytes", "data", set_panel=NETWORK,
        data={"text": "Images the networks are for; their size and classes count.", "panel": NETWORK},
    ),
]  # fmt: skip


def explore(
    file: Annotated[Path | None, typer.Argument(help="A study file, such as studies/quickstart.toml.")] = None,
    *,
    keys: Keys,
    preset: Preset = None,
    sample: Annotated[
        int, option("Print so many networks, drawn uniformly from those that fit.", OUTPUT, "value", least=0)
    ] = 0,
    seed: Annotated[int, option("Fixes which networks are drawn.", OUTPUT, "value", least=0)] = 0,
    output: Annotated[
        Path | None, option("Where to write the page.", OUTPUT, "runs/NAME/space.html", flag="--output -o")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Count what of a space fits a budget, without training.

    The page shows where parameters go and which values never fit.
    Exit code 3 when nothing fits.
    """
    from nas_budget.cli.jobs.explore import explore_space, print_sample, read_space

    name, space, limits = read_space(study_file(file, preset), keys, quiet)
    if sample:
        print_sample(space, limits, sample, seed, as_json)
    else:
        explore_space(name, space, limits, seed, output, as_json, quiet)
