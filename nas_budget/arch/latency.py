"""`LatencyModel`: how long the layers of a network take on a device, predicted from some that were timed there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from math import ceil, isfinite
from typing import Any

from nas_budget.errors import QuantityError, UsageError

KINDS = ("conv", "depthwise", "grouped", "linear")
"""Kinds of layer whose time is predicted; what stands between them has no time of its own."""
NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "μs": 10**3, "ns": 1}
TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?([a-zµμ]*)", re.IGNORECASE)
LONGEST_NS = 10**12
"""The longest limit: a thousand seconds."""
MOST_NS = 10**13
"""What a layer takes at most, so that sums of whole nanoseconds stay within 64 bits. It is over every limit."""

Terms = tuple[Any, Any, Any, Any]
"""Nanoseconds of a layer, and more for each pair of channels and pixel, for each element, for each pair of channels."""


@dataclass(frozen=True, order=True)
class LayerShape:
    """A layer as far as its time depends on it.

    Attributes:
        kind: "conv"; "depthwise" or "grouped" where each output channel sees one or some input channels; or "linear".
        in_channels: Channels, or features, that it reads.
        out_channels: Channels, or features, that it writes.
        kernel: Kernel size; 1 of a linear layer.
        stride: Likewise.
        size: Height and width of the map it reads in pixels; 1 of a linear layer.
        groups: Groups of a convolution.

    Examples:
        >>> layer = LayerShape("depthwise", 96, 96, kernel=3, stride=2, size=32, groups=96)
        >>> layer.macs, str(layer)
        (221184, 'depthwise 96 to 96 channels, kernel 3, stride 2, 32x32, 96 groups')
    """

    kind: str
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    size: int = 1
    groups: int = 1

    @property
    def areas(self) -> tuple[int, int]:
        """Pixels that it reads and writes, of one channel."""
        return self.size**2, (-(-self.size // self.stride)) ** 2

    @property
    def pairs(self) -> int:
        """Pairs of an output channel and an input channel that it sees."""
        return self.in_channels // self.groups * self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.pairs * self.kernel**2 * self.areas[1]

    def __str__(self) -> str:
        """The layer in words."""
        if self.kind == "linear":
            return f"linear {self.in_channels} to {self.out_channels} features"
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        shape = f"kernel {self.kernel}, stride {self.stride}, {self.size}x{self.size}"
        return f"{self.kind} {self.in_channels} to {self.out_channels} channels, {shape}{groups}"


@dataclass(frozen=True)
class LatencyModel:
    """How long each layer of a network takes on a device; the network takes their sum.

    A layer takes a constant, and more for each multiply-accumulate, for each element that it reads or writes and for
    each weight. These four numbers are those of its kind and kernel size. None is negative, and none is less for a
    larger kernel. So no layer is predicted to take less time than a smaller one of its kind. Predictions are rounded
    up to whole nanoseconds layer by layer: their sums are exact.

    Attributes:
        source: Where it comes from, such as the name of a table.
        terms: Kind, kernel size and the four numbers of each, in nanoseconds. That of multiply-accumulates is for all
            positions of the kernel together, that of weights likewise.

    Examples:
        >>> model = LatencyModel("device.csv", (("conv", 3, (1000.0, 0.5, 0.0, 0.0)),))
        >>> model.layer_ns(LayerShape("conv", 8, 16, kernel=3, size=4))
        2024
        >>> model.layer_ns(LayerShape("conv", 8, 16, kernel=5, size=4))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nas_budget.errors.UsageError: device.csv: has no conv of kernel 5, ... (conv 8 to 16 channels, kernel 5, ...
    """

    source: str
    terms: tuple[tuple[str, int, Terms], ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatencyModel:
        """The model of `to_dict`.

        Raises:
            QuantityError: It holds anything else.
        """
        try:
            found = [(kind, kernel, tuple(map(float, numbers))) for kind, kernel, numbers in values["terms"]]
            fine = all(
                kind in KINDS and isinstance(kernel, int) and len(numbers) == 4 and _are_times(numbers)
                for kind, kernel, numbers in found
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            fine = False
        if not fine:
            raise QuantityError(f"latency_model: {str(values)[:80]!r} is no model of latencies")
        return cls(str(values.get("source", "")), tuple((k, size, (n[0], n[1], n[2], n[3])) for k, size, n in found))

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON-ready values."""
        terms = [[kind, kernel, [*numbers]] for kind, kernel, numbers in self.terms]
        return {**asdict(self), "terms": terms}

    def of(self, kind: str, kernel: int, example: LayerShape | None = None) -> Terms:
        """The four numbers of a kind of layer and a kernel size.

        Raises:
            UsageError: No such layer was timed; `example` is one that needs it.
        """
        for known, size, numbers in self.terms:
            if known == kind and size == kernel:
                return numbers
        kernels = [size for known, size, _ in self.terms if known == kind]
        of_kernel = "" if kind == "linear" else f" of kernel {kernel}"
        has = f"only of kernel {', '.join(map(str, kernels))}" if kernels else "nor any other"
        such = f" ({example})" if example else ""
        raise UsageError(
            f"{self.source}: has no {kind}{of_kernel}, {has}, and a network needs one{such}; time such layers and add "
            "them (nas-budget explore --layers-to-time lists them), or leave them out of the space"
        )

    def layer_ns(self, layer: LayerShape) -> int:
        """Nanoseconds of a layer, rounded up.

        Raises:
            UsageError: No such layer was timed.
        """
        terms = self.of(layer.kind, layer.kernel, layer)
        ns: float = unrounded_ns(terms, layer.pairs, layer.in_channels, layer.out_channels, *layer.areas)
        return ceil(min(ns, MOST_NS))

    def network_ns(self, layers: Sequence[LayerShape]) -> int:
        """Nanoseconds of all layers of a network."""
        return sum(map(self.layer_ns, layers))


def _are_times(numbers: Sequence[float]) -> bool:
    return all(isfinite(number) and number >= 0 for number in numbers)


def unrounded_ns(terms: Terms, pairs: Any, n_in: Any, n_out: Any, area_in: Any, area_out: Any) -> Any:
    """Nanoseconds of a layer before they are rounded, of numbers or arrays of them; both give the same to the bit."""
    constant, of_pixel, of_element, of_pair = terms
    return constant + of_pixel * (pairs * area_out) + of_element * (n_in * area_in + n_out * area_out) + of_pair * pairs


def parse_latency(value: Any, name: str = "latency") -> int:
    """Nanoseconds of a text such as "5ms", "800us" or "0.02s".

    Args:
        value: The text.
        name: What it is for, in an error.

    Raises:
        QuantityError: It is no time, has no unit, or is no whole number of nanoseconds up to a thousand seconds.

    Examples:
        >>> parse_latency("5ms"), parse_latency("0.02s"), parse_latency("800us")
        (5000000, 20000000, 800000)
        >>> parse_latency("5", "--max-latency")
        Traceback (most recent call last):
        nas_budget.errors.QuantityError: --max-latency: '5' has no unit; write a time such as 5ms, 800us or 0.02s
    """
    match = TIME.fullmatch(str(value).strip())
    unit = match[2].lower() if match else ""
    if not match or isinstance(value, bool) or (unit and unit not in NS):
        raise QuantityError(f"{name}: cannot read {value!r}; write a time such as 5ms, 800us or 0.02s")
    if not unit:
        raise QuantityError(f"{name}: {value!r} has no unit; write a time such as 5ms, 800us or 0.02s")
    number = Decimal(match[1]) * NS[unit]
    if not 1 <= number <= LONGEST_NS or number != int(number):
        raise QuantityError(f"{name}: {value!r} is not allowed; give 1ns to 1000s, such as 5ms")
    return int(number)


def milliseconds(ns: int) -> str:
    """Nanoseconds as a number of milliseconds.

    Examples:
        >>> milliseconds(5_000_000), milliseconds(4_213_456), milliseconds(213_456)
        ('5', '4.213', '0.213')
    """
    text = f"{ns / 10**6:,.{3 if abs(ns) >= 10**5 else 6}f}"
    return text.rstrip("0").rstrip(".")
