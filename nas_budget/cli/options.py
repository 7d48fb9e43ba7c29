"""Options that several commands share: a network and a budget, from texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.arch.budget import Budget, parse_quantity
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import SpecError, UsageError


def _text(default: str, text: str) -> Any:
    return typer.Option(help=text, show_default=default or False)


Blocks = Annotated[str, _text("4", "Blocks of every stage, or of each (4,5,3).")]
Kernels = Annotated[str, _text("3", "Kernel size of every stage, or of each; odd.")]
Pool = Annotated[str, _text("2", "Size of the last average pool, or global.")]
StemKernel = Annotated[str, _text("3", "Kernel size of the first convolution.")]
ShortcutKernel = Annotated[str, _text("3", "Kernel size of shortcuts that change shape.")]
Strides = Annotated[str, _text("1,2,2,...", "Stride of each stage's first block.")]
Block = Annotated[str, _text("basic", "Kind of block: basic, preact or bottleneck.")]
Squeeze = Annotated[str, _text("0", "Reduction of a squeeze-excitation in every block, such as 16; 0 for none.")]
StemWidth = Annotated[str, _text("0", "Width of the first convolution; 0 for that of the first stage.")]
Dropout = Annotated[str, _text("0", "Share of features dropped before the classifier.")]
ImageSize = Annotated[str, _text("32", "Height and width of the input (pixels).")]
InChannels = Annotated[str, _text("3", "Channels of the input.")]
Classes = Annotated[str, _text("10", "Outputs of the classifier.")]

Params = Annotated[str, typer.Option(help="Most parameters, such as 5M, 250k, 4907445, or none.")]
MaxMacs = Annotated[str, _text("", "Most multiply-accumulates for one image, such as 30M.")]
MaxWeightBytes = Annotated[str, _text("", "Most bytes of weights, such as 250kB or 1MiB.")]
WeightFormat = Annotated[str, typer.Option(help="Number format of those weights: fp32, fp16 or int8.")]
MaxActivationBytes = Annotated[str, _text("", "Most bytes of live tensors (fp32, one image).")]

NETWORK = (
    "blocks", "kernels", "pool", "stem_kernel", "shortcut_kernel", "strides", "block", "squeeze", "stem_width",
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
