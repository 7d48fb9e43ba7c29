"""A network and the limits on it, as options, and as what they describe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from nas_budget.arch.budget import FORMATS, WORDS, Budget, parse_quantity
from nas_budget.arch.latency import LatencyModel, parse_latency
from nas_budget.arch.spec import AnySpec, spec_from_json
from nas_budget.cli.options.completion import ACTIVATIONS, BLOCKS, NUMBER_FORMATS
from nas_budget.cli.options.declare import BUDGET, NETWORK, option
from nas_budget.errors import SpecError, UsageError
from nas_budget.untrusted import read_factor, read_text

EXAMPLES = {
    "channels": "32,64,128",
    "blocks": "4 or 4,5,3",
    "kernels": "3 or 3,5,3",
    "strides": "1,2,2",
    "pool": "2, or global",
    "dropout": "0.2",
    "expansions": "6 or 1,6,6",
}


@dataclass(frozen=True)
class NetworkOptions:
    """Everything that describes a network but for its widths and images; an empty text is the default."""

    blocks: Annotated[str, option("Blocks of every stage, or of each (4,5,3).", NETWORK, "4")] = ""
    kernels: Annotated[str, option("Kernel size of every stage, or of each; odd.", NETWORK, "3")] = ""
    pool: Annotated[str, option("Size of the last average pool, or global.", NETWORK, "2")] = ""
    stem_kernel: Annotated[str, option("Kernel size of the first convolution.", NETWORK, "3")] = ""
    shortcut_kernel: Annotated[str, option("Kernel size of shortcuts that change shape.", NETWORK, "3")] = ""
    strides: Annotated[str, option("Stride of each stage's first block.", NETWORK, "1,2,2,...")] = ""
    block: Annotated[str, option(f"Kind of block: {', '.join(BLOCKS)}.", NETWORK, "basic", choices=BLOCKS)] = ""
    se_reduction: Annotated[
        str, option("Reduction of a squeeze-excitation in every block, such as 16; 0 for none.", NETWORK, "0")
    ] = ""
    stem_width: Annotated[
        str, option("Width of the first convolution; 0 for that of the first stage.", NETWORK, "0")
    ] = ""
    stem_stride: Annotated[str, option("Stride of the first convolution.", NETWORK, "1")] = ""
    head_width: Annotated[str, option("Width of a 1x1 convolution before the last pool; 0 for none.", NETWORK, "0")] = (
        ""
    )
    activation: Annotated[str, option(f"{', '.join(ACTIVATIONS)}.", NETWORK, "relu", choices=ACTIVATIONS)] = ""
    expansions: Annotated[
        str,
        option("Width inside blocks as a factor, of all stages or each; bottleneck, inverted.", NETWORK, "1/4, 6"),
    ] = ""
    groups: Annotated[str, option("Groups of a bottleneck's middle convolution (ResNeXt).", NETWORK, "1")] = ""
    dropout: Annotated[str, option("Share of features dropped before the classifier.", NETWORK, "0")] = ""

    def values(self, channels: str = "") -> dict[str, Any]:
        """What was given, with these widths, as fields of `ResNetSpec`; an error names all that cannot be read."""
        values: dict[str, Any] = {}
        problems = []
        for name, text in {"channels": channels, **asdict(self)}.items():
            try:
                if text:
                    values[name] = _value(name, text)
            except ValueError:
                problems.append(f"{name}: cannot read {text!r}; write numbers such as {EXAMPLES.get(name, '3')}")
        if problems:
            raise SpecError(problems)
        return values


@dataclass(frozen=True)
class ImageNetworkOptions(NetworkOptions):
    """A network, and the images that it takes."""

    image_size: Annotated[str, option("Height and width of the input (pixels).", NETWORK, "32")] = ""
    in_channels: Annotated[str, option("Channels of the input.", NETWORK, "3")] = ""
    classes: Annotated[str, option("Outputs of the classifier.", NETWORK, "10")] = ""


@dataclass(frozen=True)
class BudgetOptions:
    """Limits on what a network costs; an empty text, or "none", is no limit."""

    budget: Annotated[str, option("Most parameters, such as 5M, 250k, 4907445, or none.", BUDGET, "5M")] = "5M"
    max_macs: Annotated[str, option("Most multiply-accumulates for one image, such as 30M.", BUDGET)] = ""
    max_weight_bytes: Annotated[str, option("Most bytes of weights, such as 250kB or 1MiB.", BUDGET)] = ""
    weight_format: Annotated[
        str,
        option(f"Number format of those: {', '.join(NUMBER_FORMATS)}.", BUDGET, "fp32", choices=NUMBER_FORMATS),
    ] = "fp32"
    max_activation_bytes: Annotated[str, option("Most bytes of live elements for one image.", BUDGET)] = ""
    activation_format: Annotated[
        str,
        option(f"Number format of those: {', '.join(NUMBER_FORMATS)}.", BUDGET, "fp32", choices=NUMBER_FORMATS),
    ] = "fp32"
    max_latency: Annotated[str, option("Most predicted time for one image, such as 5ms or 800us.", BUDGET)] = ""
    latency_table: Annotated[
        str, option("Times of layers on the device it is for: a CSV file (docs/how-to/device-budget.md).", BUDGET)
    ] = ""

    def read(self) -> Budget:
        """The budget."""
        return Budget(
            _limit("--budget", self.budget, WORDS["params"]),
            _limit("--max-macs", self.max_macs, WORDS["macs"]),
            _limit("--max-weight-bytes", self.max_weight_bytes),
            _limit("--max-activation-bytes", self.max_activation_bytes),
            self.weight_format,
            self.activation_format,
            _latency(self.max_latency),
            model_of(self.latency_table),
        )


@dataclass(frozen=True)
class BudgetChanges:
    """Limits in place of those that a run recorded; an empty text leaves one as it is, "none" removes it."""

    budget: Annotated[
        str, option("Most parameters, such as 5M, 250k, 4907445, or none.", BUDGET, "the run's or none")
    ] = ""
    max_macs: Annotated[
        str, option("Most multiply-accumulates for one image, such as 30M, or none.", BUDGET, "the run's or none")
    ] = ""
    max_weight_bytes: Annotated[
        str, option("Most bytes of weights, such as 250kB or 1MiB, or none.", BUDGET, "the run's or none")
    ] = ""
    weight_format: Annotated[
        str,
        option(
            f"Number format of those: {', '.join(NUMBER_FORMATS)}.", BUDGET, "the run's or fp32", choices=NUMBER_FORMATS
        ),
    ] = ""
    max_activation_bytes: Annotated[
        str, option("Most bytes of live elements for one image, or none.", BUDGET, "the run's or none")
    ] = ""
    activation_format: Annotated[
        str,
        option(
            f"Number format of those: {', '.join(NUMBER_FORMATS)}.", BUDGET, "the run's or fp32", choices=NUMBER_FORMATS
        ),
    ] = ""
    max_latency: Annotated[
        str, option("Most predicted time for one image, such as 5ms or 800us, or none.", BUDGET, "the run's or none")
    ] = ""
    latency_table: Annotated[
        str, option("Times of layers on the device it is for: a CSV file.", BUDGET, "the run's or none")
    ] = ""

    def read(self) -> dict[str, Any]:
        """What was given, as fields of `Budget`."""
        texts = {
            "params": ("--budget", self.budget, WORDS["params"]),
            "macs": ("--max-macs", self.max_macs, WORDS["macs"]),
            "weight_bytes": ("--max-weight-bytes", self.max_weight_bytes, "bytes"),
            "activation_bytes": ("--max-activation-bytes", self.max_activation_bytes, "bytes"),
        }
        limits: dict[str, Any] = {field: _limit(name, text, of) for field, (name, text, of) in texts.items() if text}
        if self.max_latency:
            limits["latency_ns"] = _latency(self.max_latency)
        if self.latency_table:
            limits["latency_model"] = model_of(self.latency_table)
        return limits | {name: getattr(self, name) for name in FORMATS if getattr(self, name)}


@dataclass(frozen=True)
class BudgetOfRun(BudgetChanges):
    """The same for networks that may be of no run: those have the usual limit on parameters."""

    budget: Annotated[
        str, option("Most parameters, such as 5M, 250k, 4907445, or none.", BUDGET, "the run's or 5M")
    ] = ""


def _limit(name: str, text: str, of: str = "bytes") -> int | None:
    return None if text in ("", "none") else parse_quantity(text, name, of)


def _latency(text: str) -> int | None:
    return None if text in ("", "none") else parse_latency(text, "--max-latency")


def model_of(table: str) -> LatencyModel | None:
    """The model fitted to a table of latencies; None without one."""
    if not table:
        return None
    from nas_budget.arch.latency_table import fit_latency, read_latency_table  # loads NumPy

    return fit_latency(read_latency_table(Path(table)))


def _value(name: str, text: str) -> Any:
    if name == "dropout":
        return float(text)
    if name in ("block", "activation") or (name == "pool" and text == "global"):
        return text
    numbers = [read_factor(part) if name == "expansions" else int(part) for part in text.split(",")]
    return numbers if name == "channels" or len(numbers) > 1 else numbers[0]


def read_spec(file: Path) -> AnySpec:
    """The spec of a JSON file."""
    try:
        return spec_from_json(read_text(file))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except SpecError as error:
        raise SpecError([f"{file}: {problem}" for problem in error.problems]) from None
