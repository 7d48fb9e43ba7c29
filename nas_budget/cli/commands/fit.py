"""`nas-budget fit` and `explore`: the widest network of a shape inside a budget, and what of a space fits one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.arch.budget import LIMITS
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console import costs
from nas_budget.cli.console.output import log, out, out_json
from nas_budget.cli.options.declare import BUDGET, NETWORK, OUTPUT, AsJson, Preset, Quiet, option, study_file
from nas_budget.cli.options.network import BudgetOptions, ImageNetworkOptions
from nas_budget.cli.options.study import StudyKeys
from nas_budget.errors import UsageError

Keys = Annotated[
    dict[str, Any],
    StudyKeys(
        "budget", "max_macs", "max_weight_bytes", "weight_format", "max_activation_bytes", "activation_format",
        "max_latency", "latency_table", "block", "activation", "data", set_panel=NETWORK,
        block={"panel": NETWORK}, activation={"panel": NETWORK},
        data={"text": "Images the networks are for; their size and classes count.", "panel": NETWORK},
    ),
]  # fmt: skip


def fit(
    *,
    shape: Annotated[str, option("Widths in proportion, such as 1:2:4.", NETWORK)] = "",
    channels: Annotated[str, option("Widths to scale, such as 32,64,128, instead of a shape.", NETWORK)] = "",
    network: ImageNetworkOptions,
    limits: BudgetOptions,
    step: Annotated[int, option("Widths are multiples of it.", BUDGET, "value")] = 1,
    spend: Annotated[
        bool,
        option("Spend what rounding leaves by moving widths a little.", BUDGET, "value", flag="--spend/--no-spend"),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Find the widest network of a shape that keeps every limit.

    Exit code 3 when not even the narrowest does.
    """
    proportions = _proportions(shape, channels)
    budget = limits.read()
    if not any(getattr(budget, name) for name in LIMITS):
        raise UsageError("no limit given; write --budget 5M or --max-macs 30M")
    if budget.latency_ns and not budget.latency_model:
        from nas_budget.cli.jobs.latency import with_model  # loads torch

        budget = with_model(budget, [ResNetSpec((8,) * len(proportions), **network.values())], log)
    from nas_budget.arch.fit import fit as fit_shape

    fitted = fit_shape(proportions, budget, step, spend, **network.values())
    if as_json:
        used = cost(fitted.spec)
        about = {"multiplier": fitted.multiplier, "scaled": list(fitted.scaled), "spec": fitted.spec.to_dict()}
        out_json({**about, **used.to_dict(), **budget.check(used).to_dict(), **costs.latency_json(used, budget)})
        return
    widths = ",".join(map(str, fitted.spec.channels))
    scaled = ",".join(map(str, fitted.scaled))
    moved = "" if scaled == widths else f" ({scaled}), the remainder spent"
    out(f"channels {widths}: the shape times {fitted.multiplier:.2f}{moved}\n")
    costs.print_costs(fitted.spec, budget, explained=False, show_layers=False, as_json=False)


def _proportions(shape: str, channels: str) -> list[float]:
    if bool(shape) == bool(channels):
        raise UsageError("give a shape to scale: either --shape 1:2:4 or --channels 32,64,128")
    text, separator = (shape, ":") if shape else (channels, ",")
    try:
        return [float(part) for part in text.split(separator)]
    except ValueError:
        option, example = ("--shape", "1:2:4") if shape else ("--channels", "32,64,128")
        raise UsageError(f"{option}: cannot read {text!r}; write numbers such as {example}") from None


def explore(
    file: Annotated[Path | None, typer.Argument(help="A study file, such as studies/quickstart.toml.")] = None,
    *,
    keys: Keys,
    preset: Preset = None,
    sample: Annotated[
        int, option("Print so many networks, drawn uniformly from those that fit.", OUTPUT, "value", least=0)
    ] = 0,
    seed: Annotated[int, option("Fixes which networks are drawn.", OUTPUT, "value", least=0)] = 0,
    layers_to_time: Annotated[
        bool,
        option("Print a table of layers to be timed for --latency-table, as CSV.", OUTPUT, flag="--layers-to-time"),
    ] = False,
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
    from nas_budget.cli.jobs.explore import explore_space, print_layers_to_time, print_sample, read_space

    if layers_to_time:
        print_layers_to_time(study_file(file, preset), keys, quiet)
        return
    name, space, limits = read_space(study_file(file, preset), keys, quiet)
    if sample:
        print_sample(space, limits, sample, seed, as_json)
    else:
        explore_space(name, space, limits, seed, output, as_json, quiet)
