"""Options that several commands share: a network and a budget, from texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.arch.budget import Budget, parse_quantity
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.options.completion import (
    DATA,
    complete_block,
    complete_data,
    complete_device,
    complete_precision,
    complete_weight_format,
)
from nas_budget.cli.options.help import OUTPUT
from nas_budget.errors import SpecError, UsageError

NETWORK_PANEL, BUDGET_PANEL, TRAINING_PANEL, SEARCH_PANEL = "Network", "Budget", "Training", "Search"


def option(
    text: str, panel: str | None, default: str = "", flag: str = "", offers: Callable[..., list[str]] | None = None,
    least: int | None = None,
) -> Any:  # fmt: skip
    """An option of a command.

    Args:
        text: What it is.
        panel: Of the help it stands in.
        default: In words; "value" where the value says it, empty where there is none to tell.
        flag: Its name, where that is not the argument's.
        offers: What the shell completes it with.
        least: The smallest number allowed.
    """
    shown = True if default == "value" else default or False
    return typer.Option(
        *flag.split(), help=text, rich_help_panel=panel, autocompletion=offers, show_default=shown, min=least
    )


def _network(default: str, text: str, **more: Any) -> Any:
    return option(text, NETWORK_PANEL, default, **more)


Blocks = Annotated[str, _network("4", "Blocks of every stage, or of each (4,5,3).")]
Kernels = Annotated[str, _network("3", "Kernel size of every stage, or of each; odd.")]
Pool = Annotated[str, _network("2", "Size of the last average pool, or global.")]
StemKernel = Annotated[str, _network("3", "Kernel size of the first convolution.")]
ShortcutKernel = Annotated[str, _network("3", "Kernel size of shortcuts that change shape.")]
Strides = Annotated[str, _network("1,2,2,...", "Stride of each stage's first block.")]
Block = Annotated[str, _network("basic", "Kind of block: basic, preact or bottleneck.", offers=complete_block)]
SeReduction = Annotated[str, _network("0", "Reduction of a squeeze-excitation in every block, such as 16; 0 for none.")]
StemWidth = Annotated[str, _network("0", "Width of the first convolution; 0 for that of the first stage.")]
Dropout = Annotated[str, _network("0", "Share of features dropped before the classifier.")]
ImageSize = Annotated[str, _network("32", "Height and width of the input (pixels).")]
InChannels = Annotated[str, _network("3", "Channels of the input.")]
Classes = Annotated[str, _network("10", "Outputs of the classifier.")]

Params = Annotated[str, option("Most parameters, such as 5M, 250k, 4907445, or none.", BUDGET_PANEL, "5M")]
MaxMacs = Annotated[str, option("Most multiply-accumulates for one image, such as 30M.", BUDGET_PANEL)]
MaxWeightBytes = Annotated[str, option("Most bytes of weights, such as 250kB or 1MiB.", BUDGET_PANEL)]
WeightFormat = Annotated[
    str, option("Number format of those: fp32, fp16 or int8.", BUDGET_PANEL, "fp32", offers=complete_weight_format)
]
MaxActivationBytes = Annotated[str, option("Most bytes of live tensors (fp32, one image).", BUDGET_PANEL)]

Data = Annotated[
    str | None,
    option(f"{', '.join(DATA)} or an .npz file.", TRAINING_PANEL, "auto", offers=complete_data),
]
Device = Annotated[str | None, option("auto, cpu, cuda or cuda:1.", TRAINING_PANEL, "auto", offers=complete_device)]
Precision = Annotated[
    str | None, option("auto, fp32, bf16 or fp16.", TRAINING_PANEL, "auto", offers=complete_precision)
]
DataDir = Annotated[
    str | None, option("Folder of the data sets.", TRAINING_PANEL, "NAS_BUDGET_DATA, or the user's cache")
]
RunsDir = Annotated[Path, option("Folder of the runs.", OUTPUT, "value")]
DryRun = Annotated[bool, option("Print the plan and leave.", OUTPUT, flag="--dry-run")]
AsJson = Annotated[bool, option("Print JSON.", OUTPUT, flag="--json")]
Quiet = Annotated[bool, option("Say only what went wrong, and the result.", OUTPUT, flag="--quiet -q")]

NETWORK = (
    "blocks", "kernels", "pool", "stem_kernel", "shortcut_kernel", "strides", "block", "se_reduction", "stem_width",
    "dropout", "image_size", "in_channels", "classes",
)  # fmt: skip
"""Names of the options of a network but for its widths; those of `ResNetSpec`."""

EXAMPLES = {
    "channels": "32,64,128",
    "blocks": "4 or 4,5,3",
    "kernels": "3 or 3,5,3",
    "strides": "1,2,2",
    "pool": "2, or global",
    "dropout": "0.2",
}


def make_budget(given: dict[str, Any]) -> Budget:
    """The budget of a command's arguments; an empty text or "none" is no limit."""
    names = ("budget", "max_macs", "max_weight_bytes", "max_activation_bytes")
    texts = {name: given[name] for name in names}
    limits = [
        None if text in ("", "none") else parse_quantity(text, f"--{name.replace('_', '-')}")
        for name, text in texts.items()
    ]
    return Budget(limits[0], limits[1], limits[2], limits[3], given["weight_format"])


def network_values(given: dict[str, Any]) -> dict[str, Any]:
    """The values of a network's options that were given, as `ResNetSpec` takes them.

    Raises:
        SpecError: Texts that are not numbers; all of them at once.
    """
    values: dict[str, Any] = {}
    problems = []
    for name in ("channels", *NETWORK):
        if text := given.get(name):
            try:
                values[name] = _value(name, text)
            except ValueError:
                problems.append(f"{name}: cannot read {text!r}; write numbers such as {EXAMPLES.get(name, '3')}")
    if problems:
        raise SpecError(problems)
    return values


def _value(name: str, text: str) -> Any:
    if name == "dropout":
        return float(text)
    if name == "block" or (name == "pool" and text == "global"):
        return text
    numbers = [int(part) for part in text.split(",")]
    return numbers if name == "channels" or len(numbers) > 1 else numbers[0]


def read_spec(file: Path) -> ResNetSpec:
    """The spec of a JSON file.

    Raises:
        UsageError: It cannot be read.
        SpecError: It holds no network.
    """
    try:
        return ResNetSpec.from_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except SpecError as error:
        raise SpecError([f"{file}: {problem}" for problem in error.problems]) from None
