"""Options that commands share: what is read, where files lie, and what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.options.completion import DEVICES, complete_trained, one_of
from nas_budget.cli.options.declare import NETWORK, OUTPUT, TRAINING, option

Source = Annotated[
    Path,
    typer.Argument(help="A run folder of nas-budget train, or a model.safetensors.", autocompletion=complete_trained),
]
Ema = Annotated[bool, option("Use the EMA weights.", NETWORK, flag="--ema")]
Device = Annotated[str, option(f"{', '.join(DEVICES)} or cuda:1.", TRAINING, "value", offers=one_of(*DEVICES))]
DataDir = Annotated[str | None, option("Folder of the data sets.", TRAINING, "NAS_BUDGET_DATA, or the user's cache")]
RunsDir = Annotated[Path, option("Folder of the runs.", OUTPUT, "value")]
DryRun = Annotated[bool, option("Print the plan and leave.", OUTPUT, flag="--dry-run")]
AsJson = Annotated[bool, option("Print JSON.", OUTPUT, flag="--json")]
Quiet = Annotated[bool, option("Print only what went wrong, and the result.", OUTPUT, flag="--quiet -q")]
