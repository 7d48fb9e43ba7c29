"""`nas-budget explore`: what of a space fits a budget, without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_budget.cli.console.exploration import exploration_json, print_exploration, print_sample
from nas_budget.cli.console.output import logger, out, out_json
from nas_budget.cli.console.progress import progress
from nas_budget.cli.options import run as options
from nas_budget.cli.options.declare import NETWORK, OUTPUT, option
from nas_budget.cli.options.study import StudyKeys
from nas_budget.records.paths import SPACE_PAGE

if TYPE_CHECKING:
    from nas_budget.arch.budget import Budget
    from nas_budget.space.space import SearchSpace

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
    sample: Annotated[
        int, option("Print so many networks, drawn uniformly from those that fit.", OUTPUT, "value", least=0)
    ] = 0,
    seed: Annotated[int, option("Fixes which networks are drawn.", OUTPUT, "value", least=0)] = 0,
    output: Annotated[
        Path | None, option("Where to write the page.", OUTPUT, "runs/NAME/space.html", flag="--output -o")
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Count what of a space fits a budget, without training.

    The page shows where parameters go and which values never fit.
    Exit code 3 when nothing fits.
    """
    name, space, limits = _read(file, keys, logger(quiet))
    if sample:
        print_sample(space, limits, sample, seed, as_json)
        return
    from nas_budget.report.pages.space import write_space_page
    from nas_budget.space.explore import explore as look

    logger(quiet)(f"counting what fits {limits} ...")
    with progress("exploring", quiet) as on_share:
        found = look(space, limits, seed, on_share)
    page = output or Path("runs") / name / SPACE_PAGE
    write_space_page(found, page, name)
    if as_json:
        out_json({**exploration_json(found), "page": str(page)})
        return
    print_exploration(found)
    out(f"\npage: {page}")


def _read(file: Path | None, overrides: dict[str, Any], log: Callable[[str], None]) -> tuple[str, SearchSpace, Budget]:
    """Name, space and budget of a study; what it leaves to the device is as a search here would have it."""
    from nas_budget.search.config.resolve import space_and_budget
    from nas_budget.search.config.settings import study_name
    from nas_budget.search.config.study_file import read_study_file

    sections = read_study_file(file, overrides)
    space, limits, chosen = space_and_budget(sections, log)
    if chosen:
        settings = ", ".join(f"{key}={value}" for key, value in chosen.items())
        log(f"chosen for this device, as a search would (change with --set): {settings}")
    return study_name(file, sections), space, limits
