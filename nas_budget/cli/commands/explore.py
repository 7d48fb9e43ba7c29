"""`nas-budget explore`: a space against a budget, without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_budget.cli.commands.search import parse_assignment, toml_value
from nas_budget.cli.console.output import logger, out, out_json, show, table
from nas_budget.cli.console.progress import progress
from nas_budget.cli.options import network as options
from nas_budget.cli.options.completion import complete_data, complete_weight_format
from nas_budget.cli.options.help import OUTPUT
from nas_budget.cli.options.network import BUDGET_PANEL, NETWORK_PANEL, option
from nas_budget.records.formatting import in_short
from nas_budget.records.paths import SPACE_PAGE

if TYPE_CHECKING:
    from nas_budget.arch.budget import Budget
    from nas_budget.space.explore import Exploration
    from nas_budget.space.space import SearchSpace

KEYS = {
    "budget": "budget.params",
    "max_macs": "budget.macs",
    "max_weight_bytes": "budget.weight_bytes",
    "weight_format": "budget.weight_format",
    "max_activation_bytes": "budget.activation_bytes",
    "data": "data.name",
}
"""The key of a study file that each option sets."""


def explore(
    file: Annotated[Path | None, typer.Argument(help="A study file, such as studies/quickstart.toml.")] = None,
    budget: Annotated[str | None, option("Most parameters, such as 5M or 250k.", BUDGET_PANEL, "5M")] = None,
    max_macs: Annotated[
        str | None, option("Most multiply-accumulates for one image, or none.", BUDGET_PANEL, "by device")
    ] = None,
    max_weight_bytes: Annotated[str | None, option("Most bytes of weights, such as 250kB.", BUDGET_PANEL)] = None,
    weight_format: Annotated[
        str | None,
        option("Number format of those: fp32, fp16 or int8.", BUDGET_PANEL, "fp32", offers=complete_weight_format),
    ] = None,
    max_activation_bytes: Annotated[str | None, option("Most bytes of live tensors (one image).", BUDGET_PANEL)] = None,
    data: Annotated[
        str | None,
        option(
            "Images the networks are for; their size and classes count.", NETWORK_PANEL, "auto", offers=complete_data
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, option("Any key of the study file, as space.width=[16,256].", NETWORK_PANEL, flag="--set")
    ] = None,
    sample: Annotated[
        int, option("Print so many networks drawn evenly from those that fit.", OUTPUT, "value", least=0)
    ] = 0,
    seed: Annotated[int, option("Of what is drawn.", OUTPUT, "value", least=0)] = 0,
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
    given = dict(locals())
    overrides = {key: toml_value(given[option]) for option, key in KEYS.items() if given[option] is not None}
    overrides.update(map(parse_assignment, set_ or []))
    name, space, limits = _read(file, overrides, logger(quiet))
    if sample:
        _print_sample(space, limits, sample, seed, as_json)
        return
    from nas_budget.report.pages.space import write_space_page
    from nas_budget.space.explore import explore as look

    logger(quiet)(f"counting what fits {limits} ...")
    with progress("exploring", quiet) as tell:
        found = look(space, limits, seed, tell)
    page = output or Path("runs") / name / SPACE_PAGE
    write_space_page(found, page, name)
    if as_json:
        out_json({**_json(found), "page": str(page)})
        return
    _print(found)
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


def _print_sample(space: SearchSpace, limits: Budget, n: int, seed: int, as_json: bool) -> None:
    from nas_budget.arch.cost import cost
    from nas_budget.space.sampling import sample

    drawn = sample(space, n, limits, seed)
    if as_json:
        out_json([spec.to_dict() for spec in drawn])
        return
    rows = [(f"{cost(spec).params:,}", f"{cost(spec).macs:,}", str(spec)) for spec in drawn]
    show(table(("params", "MACs", "network"), rows, left=(2,)))


def _print(found: Exploration) -> None:
    about = "" if found.bounds is None else "about "
    share = f"{found.share:.1%}" if found.share >= 0.001 else f"{found.share:.1e} of them"
    out(f"budget    {found.budget}")
    out(f"space     {found.n_networks:,} networks")
    out(f"fits      {about}{found.n_fitting:,} ({share}), " + ("exactly" if found.bounds is None else _bounds(found)))
    if found.n_near is not None and found.n_fitting:
        out(f"          {found.n_near:,} of them ({found.n_near / found.n_fitting:.1%}) use 90% or more of a limit")
    if found.hints:
        out("WARNING   less than 10% fits; ranges that would, each by itself:")
        for hint in found.hints:
            out(f"          {hint}")
    out(f"\nwhere it goes: the mean of {len(found.costs['params']):,} networks drawn evenly from those that fit")
    show(table(("stages", "part", "params", "MACs"), _part_rows(found), left=(0, 1)))
    out("\nhow large they are: smallest, quartiles and largest of those drawn")
    show(table(("", "0%", "25%", "50%", "75%", "100%"), _size_rows(found)))
    from nas_budget.report.figures.space import never

    if values := never(found.choices):
        out(f"\nnever fits: {'; '.join(values)}")


def _bounds(found: Exploration) -> str:
    low, high = found.bounds or (0.0, 0.0)
    return f"certainly {low:.3g} to {high:.3g}: too many to count exactly"


def _part_rows(found: Exploration) -> list[tuple[str, ...]]:
    """Mean share of each part, for each count of stages."""
    import numpy as np

    n_stages = np.count_nonzero(found.rows["channels"], axis=1)
    params, macs = found.part_shares("params"), found.part_shares("macs")
    rows = []
    for n in np.unique(n_stages):
        names = ["stem", *[f"stage {i}" for i in range(1, n + 1)], "head"]
        for name, place in zip(names, [*range(n + 1), -1], strict=True):
            means = (f"{shares[n_stages == n, place].mean():.1%}" for shares in (params, macs))
            rows.append((str(n) if name == "stem" else "", name, *means))
    return rows


def _size_rows(found: Exploration) -> list[tuple[str, ...]]:
    import numpy as np

    words = {"params": "parameters", "macs": "MACs", "activation_bytes": "activations (B)"}
    return [
        (word, *(in_short(float(value)) for value in np.quantile(found.costs[name], (0, 0.25, 0.5, 0.75, 1))))
        for name, word in words.items()
    ]


def _json(found: Exploration) -> dict[str, Any]:
    return {
        "budget": found.budget.to_dict(),
        "n_networks": found.n_networks,
        "n_fitting": found.n_fitting,
        "exact": found.bounds is None,
        "bounds": found.bounds,
        "share": found.share,
        "n_near": found.n_near,
        "parts": [dict(zip(("stages", "part", "params", "macs"), row, strict=True)) for row in _part_rows(found)],
        "hints": list(found.hints),
        "choices": [vars(choice) for choice in found.choices],
    }
