"""`nas-budget count`: what a network costs, and whether it fits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_budget.arch.budget import Budget
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console import costs
from nas_budget.cli.console.output import logger
from nas_budget.cli.options.completion import DEVICES, PRECISIONS
from nas_budget.cli.options.declare import NETWORK, OUTPUT, AsJson, Quiet, option
from nas_budget.cli.options.network import BudgetOfRun, ImageNetworkOptions, read_spec
from nas_budget.cli.options.runs import find_spec, run_named
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.records.run_folder import recorded_limits

if TYPE_CHECKING:
    from nas_budget.train.profile.benchmark import Measurement


def count(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Specs (.json), or studies and runs by folder or name; several are compared."),
    ] = None,
    *,
    channels: Annotated[
        list[str] | None, option("Width of each stage, such as 32,64,96,128,185; repeat it to compare.", NETWORK)
    ] = None,
    network: ImageNetworkOptions,
    module: Annotated[
        str, option("Any torch module instead: package.module:factory, or factory(key=value).", NETWORK)
    ] = "",
    inputs: Annotated[
        list[str] | None,
        option("Shape of an input of that module, or name=shape; repeat it for more.", NETWORK, "3,32,32", "--input"),
    ] = None,
    input_dtypes: Annotated[
        list[str] | None,
        option("Number format of its inputs, such as int64; repeat it for each.", NETWORK, "float", "--input-dtype"),
    ] = None,
    limits: BudgetOfRun,
    explain: Annotated[
        bool, option("Where parameters and MACs go, and what one more of each would cost.", OUTPUT, flag="--explain")
    ] = False,
    show_layers: Annotated[
        bool, option("Every layer, and torchinfo's summary of the built network.", OUTPUT, flag="--layers")
    ] = False,
    measure: Annotated[
        bool, option("Speed and memory on this device too, in about ten seconds.", OUTPUT, flag="--measure")
    ] = False,
    device: Annotated[
        str, option("For --measure: auto, cpu, cuda, mps or cuda:1.", OUTPUT, "auto", choices=DEVICES)
    ] = "",
    precision: Annotated[
        str, option("For --measure: auto, fp32, bf16 or fp16.", OUTPUT, "auto", choices=PRECISIONS)
    ] = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Count networks exactly and check them against a budget.

    The limits of a study or run are its own, unless others are given.
    Exit code 0 when all fit, 3 when one does not.
    """
    given = limits.read()
    alone = [name for name, on in (("explain", explain), ("layers", show_layers), ("measure", measure)) if on]
    if (inputs or input_dtypes) and not module:
        raise UsageError(f"--input{'-dtype' if input_dtypes else ''} goes with --module; add it")
    if (device or precision) and not measure:
        raise UsageError(f"--{'device' if device else 'precision'} goes with --measure; add it")
    if module:
        if files or channels or alone or network.values():
            raise UsageError("--module describes the whole network; only --input and limits go with it")
        fits = costs.print_module_cost(module, inputs or [], input_dtypes or [], _budget(None, given), as_json)
    else:
        _check_widths(files or [], channels or [])
        places = [find_spec(file) for file in files or []]  # first, as the M of "5 M" is no file
        specs = _specs(places, channels or [], network)
        budgets = [_budget(recorded_limits(place.parent), given) for place in places] or [_budget(None, given)]
        budgets *= len(specs) // len(budgets)
        if untimed := next((one for one in budgets if one.latency_ns and not one.latency_model), None):
            from nas_budget.cli.jobs.latency import with_model  # loads torch

            model = with_model(untimed, specs, logger(quiet)).latency_model
            budgets = [replace(one, latency_model=one.latency_model or model) for one in budgets]
        if len(specs) > 1:
            if alone:
                raise UsageError(f"--{alone[0]} takes one network, not {len(specs)}")
            fits = costs.compare(specs, budgets, as_json)
        else:
            measurer = _measurer(device or "auto", precision or "auto", logger(quiet)) if measure else None
            fits = costs.print_costs(specs[0], budgets[0], explain, show_layers, as_json, measurer, logger(quiet))
    if not fits:
        raise typer.Exit(NothingFitsError.exit_code)


def _budget(recorded: Budget | None, given: dict[str, Any]) -> Budget:
    """The limits of a network: as given, else as its study or run recorded them, else the usual ones."""
    budget = replace(recorded or Budget(), **given)
    for name, limit in ("weight_format", "weight_bytes"), ("activation_format", "activation_bytes"):
        if name in given and getattr(budget, limit) is None:
            option, missing = (one.replace("_", "-") for one in (name, limit))
            raise UsageError(f"--{option} is the format of a limit; add --max-{missing}")
    return budget


def _measurer(
    device_name: str, precision_name: str, on_message: Callable[[str], None]
) -> Callable[[ResNetSpec], Measurement]:
    """What measures a network on this device."""
    from nas_budget.train.engine.device import choose_device, choose_precision, inference_precision
    from nas_budget.train.profile.benchmark import measure

    device = choose_device(device_name, on_message)
    precision = choose_precision(precision_name, device)
    if precision_name == "auto":
        precision = inference_precision(precision, device)
    return lambda spec: measure(spec, device, precision)


def _residual(file: Path) -> ResNetSpec:
    spec = read_spec(file)
    if not isinstance(spec, ResNetSpec):
        raise UsageError(
            f"{file}: a network of {spec.family}; nas-budget show has its cost, count --module counts modules"
        )
    return spec


def _check_widths(files: list[Path], widths: list[str]) -> None:
    """Refuse files that are widths."""
    if files and all(re.fullmatch(r"[\d,]+", str(file)) and not (file.exists() or run_named(file)) for file in files):
        given = ",".join([*widths, *map(str, files)])
        raise UsageError(
            f"{files[0]}: no such folder; a network is one list, with commas between the widths: --channels {given}"
        )


def _specs(files: list[Path], widths: list[str], network: ImageNetworkOptions) -> list[ResNetSpec]:
    """The networks of the files, or of each --channels with the other options."""
    if files:
        specs = [_residual(file) for file in files]
        if values := network.values(",".join(widths)):
            raise UsageError(f"{files[0]} describes the whole network; leave out --{min(values).replace('_', '-')}")
        return specs
    if not all(widths or [""]):
        raise UsageError("no network given; write --channels 32,64,96,128,185, or name a spec file")
    return [ResNetSpec(**network.values(text)) for text in widths]
