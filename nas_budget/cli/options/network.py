"""A network and the limits on it, as options, and as what they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from nas_budget.arch.budget import Budget, parse_quantity
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.options.completion import BLOCKS, WEIGHT_FORMATS, one_of
from nas_budget.cli.options.declare import BUDGET, NETWORK, Offer, option
from nas_budget.errors import SpecError, UsageError


def _network(default: str, text: str, offers: Offer | None = None) -> Any:
    return option(text, NETWORK, default, offers=offers)


@dataclass(frozen=True)
class NetworkOptions:
    """Everything that describes a network but for its widths and images; an empty text is the default."""

    blocks: Annotated[str, _network("4", "Blocks of every stage, or of each (4,5,3).")] = ""
    kernels: Annotated[str, _network("3", "Kernel size of every stage, or of each; odd.")] = ""
    pool: Annotated[str, _network("2", "Size of the last average pool, or global.")] = ""
    stem_kernel: Annotated[str, _network("3", "Kernel size of the first convolution.")] = ""
    shortcut_kernel: Annotated[str, _network("3", "Kernel size of shortcuts that change shape.")] = ""
    strides: Annotated[str, _network("1,2,2,...", "Stride of each stage's first block.")] = ""
    block: Annotated[str, _network("basic", f"Kind of block: {', '.join(BLOCKS)}.", one_of(*BLOCKS))] = ""
    se_reduction: Annotated[
        str, _network("0", "Reduction of a squeeze-excitation in every block, such as 16; 0 for none.")
    ] = ""
    stem_width: Annotated[str, _network("0", "Width of the first convolution; 0 for that of the first stage.")] = ""
    dropout: Annotated[str, _network("0", "Share of features dropped before the classifier.")] = ""

    def values(self, channels: str = "") -> dict[str, Any]:
        """What was given, with these widths, as fields of `ResNetSpec`.

        Raises:
            SpecError: Texts that are not numbers; all of them at once.
        """
        return network_values({"channels": channels, **asdict(self)})


@dataclass(frozen=True)
class ImageNetworkOptions(NetworkOptions):
    """A network, and the images that it takes."""

    image_size: Annotated[str, _network("32", "Height and width of the input (pixels).")] = ""
    in_channels: Annotated[str, _network("3", "Channels of the input.")] = ""
    classes: Annotated[str, _network("10", "Outputs of the classifier.")] = ""


@dataclass(frozen=True)
class BudgetOptions:
    """Limits on what a network costs; an empty text, or "none", is no limit."""

    budget: Annotated[str, option("Most parameters, such as 5M, 250k, 4907445, or none.", BUDGET, "5M")] = "5M"
    max_macs: Annotated[str, option("Most multiply-accumulates for one image, such as 30M.", BUDGET)] = ""
    max_weight_bytes: Annotated[str, option("Most bytes of weights, such as 250kB or 1MiB.", BUDGET)] = ""
    weight_format: Annotated[
        str,
        option(f"Number format of those: {', '.join(WEIGHT_FORMATS)}.", BUDGET, "fp32", offers=one_of(*WEIGHT_FORMATS)),
    ] = "fp32"
    max_activation_bytes: Annotated[str, option("Most bytes of live elements (fp32, one image).", BUDGET)] = ""

    def read(self) -> Budget:
        """The budget.

        Raises:
            QuantityError: A limit that is no number.
        """
        return Budget(
            _limit("--budget", self.budget),
            _limit("--max-macs", self.max_macs),
            _limit("--max-weight-bytes", self.max_weight_bytes),
            _limit("--max-activation-bytes", self.max_activation_bytes),
            self.weight_format,
        )


def _limit(name: str, text: str) -> int | None:
    return None if text in ("", "none") else parse_quantity(text, name)


EXAMPLES = {
    "channels": "32,64,128",
    "blocks": "4 or 4,5,3",
    "kernels": "3 or 3,5,3",
    "strides": "1,2,2",
    "pool": "2, or global",
    "dropout": "0.2",
}


def network_values(given: Mapping[str, str]) -> dict[str, Any]:
    """The values of a network's options that are not empty, as fields of `ResNetSpec`.

    Raises:
        SpecError: Texts that are not numbers; all of them at once.
    """
    values: dict[str, Any] = {}
    problems = []
    for name, text in given.items():
        try:
            if text:
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
