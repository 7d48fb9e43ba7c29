"""`nas-budget count`: what a network costs, and whether it fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console import costs
from nas_budget.cli.console.output import logger
from nas_budget.cli.options import network as options
from nas_budget.cli.options.completion import complete_device, complete_precision
from nas_budget.cli.options.help import OUTPUT
from nas_budget.cli.options.network import NETWORK_PANEL, make_budget, network_values, option, read_spec
from nas_budget.errors import NothingFitsError, UsageError

if TYPE_CHECKING:
    from nas_budget.train.profile.benchmark import Measurement

NO_NETWORK = "no network given; write --channels 32,64,96,128,185, or name a spec file"
ALONE = {"explain": "explain", "show_layers": "layers", "measure": "measure"}
"""Arguments that go with one network, and what their options are called."""


def count(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Specs as JSON, such as runs/quickstart/best.json; several are compared."),
    ] = None,
    channels: Annotated[
        list[str] | None, option("Width of each stage, such as 32,64,96,128,185; repeat it to compare.", NETWORK_PANEL)
    ] = None,
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
    image_size: options.ImageSize = "",
    in_channels: options.InChannels = "",
    classes: options.Classes = "",
    module: Annotated[
        str, option("Any torch module instead: package.module:factory, or factory(key=value).", NETWORK_PANEL)
    ] = "",
    input_: Annotated[
        str, option("Shape of one input of that module.", NETWORK_PANEL, "value", flag="--input")
    ] = "3,32,32",
    budget: options.Params = "5M",
    max_macs: options.MaxMacs = "",
    max_weight_bytes: options.MaxWeightBytes = "",
    weight_format: options.WeightFormat = "fp32",
    max_activation_bytes: options.MaxActivationBytes = "",
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
        str, option("For --measure: auto, cpu, cuda or cuda:1.", OUTPUT, "auto", offers=complete_device)
    ] = "",
    precision: Annotated[
        str, option("For --measure: auto, fp32, bf16 or fp16.", OUTPUT, "auto", offers=complete_precision)
    ] = "",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Count networks exactly and check them against a budget.

    Exit code 0 when all fit, 3 when one does not.
    """
    given = dict(locals())
    limits = make_budget(given)
    if (device or precision) and not measure:
        raise UsageError(f"--{'device' if device else 'precision'} goes with --measure; add it")
    if module:
        fits = _count_module(given)
    else:
        specs = _specs(given)
        if len(specs) > 1:
            if alone := [option for option in ALONE if given[option]]:
                raise UsageError(f"--{ALONE[alone[0]]} takes one network, not {len(specs)}")
            fits = costs.compare(specs, limits, as_json)
        else:
            measured = _measurer(device or "auto", precision or "auto") if measure else None
            fits = costs.tell(specs[0], limits, explain, show_layers, as_json, measured, logger(quiet))
    if not fits:
        raise typer.Exit(NothingFitsError.exit_code)


def _measurer(device_name: str, precision_name: str) -> Callable[[ResNetSpec], Measurement]:
    """What measures a network on this device.

    Raises:
        UsageError: The device or the number format is not to be had.
    """
    from nas_budget.train.engine.device import choose_device, choose_precision
    from nas_budget.train.profile.benchmark import measure

    device = choose_device(device_name)
    precision = choose_precision(precision_name, device)
    return lambda spec: measure(spec, device, precision)


def _specs(given: dict[str, Any]) -> list[ResNetSpec]:
    """The networks of the files, or of each --channels with the other options."""
    files, widths = given["files"] or [], given["channels"] or []
    if files:
        values = network_values({**given, "channels": ",".join(widths)})
        if values:
            raise UsageError(f"{files[0]} describes the whole network; leave out --{min(values).replace('_', '-')}")
        return [read_spec(file) for file in files]
    if not widths:
        raise UsageError(NO_NETWORK)
    return [ResNetSpec(**network_values({**given, "channels": text})) for text in widths]


def _count_module(given: dict[str, Any]) -> bool:
    if (
        given["files"]
        or given["channels"]
        or any(given[option] for option in ALONE)
        or network_values({**given, "channels": ""})
    ):
        raise UsageError("--module describes the whole network; only --input and limits go with it")
    try:
        shape = [int(part) for part in given["input_"].split(",")]
    except ValueError:
        raise UsageError(f"--input: cannot read {given['input_']!r}; write sizes such as 3,32,32") from None
    from nas_budget.train.profile.count_module import count_module

    return costs.tell_module(count_module(given["module"], shape), make_budget(given), given["as_json"])
