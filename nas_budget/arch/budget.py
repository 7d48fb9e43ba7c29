"""`Budget`, the hard limits of a network; `Verdict` and `Margin`, by how much a network keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from nas_budget.arch.cost import BYTES_PER_NUMBER, Cost, cost
from nas_budget.arch.latency import LONGEST_NS, LatencyModel, milliseconds
from nas_budget.arch.spec import AnySpec
from nas_budget.errors import QuantityError, UsageError

SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
MOST = 10**15
WORDS = {
    "params": "parameters",
    "macs": "MACs",
    "weight_bytes": "bytes of weights",
    "activation_bytes": "bytes of activations",
    "latency_ns": "ms of predicted latency",
}
COUNTED = (WORDS["params"], WORDS["macs"])
"""Limits that a limit in bytes may be mistaken for."""
QUANTITY = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]{1,2})?) ?((?:[kmg]i?)?)(b?)", re.IGNORECASE)


@dataclass(frozen=True)
class Margin:
    """One limit beside what is used of it.

    Attributes:
        name: The field of `Budget`, such as "params".
        limit: What is allowed.
        used: What the network uses.

    Examples:
        >>> Margin("params", limit=5_000_000, used=4_907_445).margin
        92555
    """

    name: str
    limit: int
    used: int

    @property
    def words(self) -> str:
        """What the limit is of."""
        return WORDS[self.name]

    def number(self, value: int) -> str:
        """A number in the unit of `words`, as it is shown.

        Examples:
            >>> Margin("params", 10_000, 4_034).number(4_034), Margin("latency_ns", 5_000_000, 1).number(5_000_000)
            ('4,034', '5')
        """
        return shown(self.name, value)

    @property
    def margin(self) -> int:
        """Limit minus use; negative when over."""
        return self.limit - self.used


@dataclass(frozen=True)
class Verdict:
    """Whether a network fits, with a margin for each limit that is set.

    Using a limit up exactly fits. A verdict of a budget without limits has no margins, and fits.

    Attributes:
        margins: One for each limit that is set, in the order of the fields of `Budget`.

    Examples:
        >>> verdict = Verdict((Margin("params", 100, 4_034), Margin("macs", 10**6, 10**6)))
        >>> verdict.fits, verdict.excess
        (False, '4,034 parameters (100 allowed)')
    """

    margins: tuple[Margin, ...]

    @property
    def fits(self) -> bool:
        """True when no limit is passed; using a limit up exactly fits."""
        return all(m.margin >= 0 for m in self.margins)

    @property
    def excess(self) -> str:
        """The limits that are passed, in words: "4,034 parameters (100 allowed)"."""
        return ", ".join(
            f"{m.number(m.used)} {m.words} ({m.number(m.limit)} allowed)" for m in self.margins if m.margin < 0
        )

    def to_dict(self) -> dict[str, Any]:
        """`fits`, and `margins` by limit with its limit, use and margin."""
        margins = {m.name: {"limit": m.limit, "used": m.used, "margin": m.margin} for m in self.margins}
        return {"fits": self.fits, "margins": margins}


@dataclass(frozen=True)
class Budget:
    """Limits a network must keep; None is no limit.

    A network fits if it keeps every limit that is set. `Budget()` has one: 5,000,000 parameters. The definitions of
    what is counted are those of `Cost`.

    Attributes:
        params: Trainable parameters.
        macs: Multiply-accumulates for one image.
        weight_bytes: Bytes of parameters and buffers in the format `weight_format`.
        activation_bytes: Bytes of the most live elements for one image in the format `activation_format`.
        weight_format: "fp32", "fp16" or "int8".
        activation_format: Likewise.
        latency_ns: Nanoseconds for one image, as `latency_model` predicts them.
        latency_model: How long layers take on the device that the network is for.

    Raises:
        QuantityError: A limit that is not a whole number of 1 or more, an unknown format, or no model of latencies.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> budget = Budget(params=5_000_000, weight_bytes=5_000_000, weight_format="int8")
        >>> str(budget)
        '5,000,000 parameters, 5,000,000 bytes of int8 weights'
        >>> [m.margin for m in budget.check(ResNetSpec((32, 64, 96, 128, 185))).margins]
        [92555, 83465]
    """

    params: int | None = 5_000_000
    macs: int | None = None
    weight_bytes: int | None = None
    activation_bytes: int | None = None
    weight_format: str = "fp32"
    activation_format: str = "fp32"
    latency_ns: int | None = None
    latency_model: LatencyModel | None = None

    def __post_init__(self) -> None:
        for name in LIMITS:
            limit = getattr(self, name)
            if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
                raise QuantityError(
                    f"{name}: a limit of {limit!r} is not allowed; give a whole number of 1 or more, such as 5_000_000 "
                    "(of a text, parse_quantity gives it)"
                )
        for name in FORMATS:
            if getattr(self, name) not in BYTES_PER_NUMBER:
                known = ", ".join(BYTES_PER_NUMBER)
                raise QuantityError(f"{name}: {getattr(self, name)!r} is unknown; known are {known}")
        if self.latency_ns is not None and self.latency_ns > LONGEST_NS:
            raise QuantityError(f"latency_ns: {self.latency_ns} is not allowed; give at most {LONGEST_NS:,}")
        model: Any = self.latency_model
        if model is not None and not isinstance(model, LatencyModel):  # as it is read back from a file
            object.__setattr__(self, "latency_model", LatencyModel.from_dict(model))

    def check(self, network: AnySpec | Cost) -> Verdict:
        """The verdict on a spec, or on a cost already counted.

        Raises:
            UsageError: The budget limits what is not counted for this network, or its model of latencies lacks a layer.
        """
        used = network if isinstance(network, Cost) else cost(network)
        return self.check_counts({name: self._use(used, name) for name in LIMITS if getattr(self, name)})

    def check_counts(self, used: Mapping[str, int]) -> Verdict:
        """The verdict on counts, by the name of each limit that is set; bytes are in the budget's formats."""
        limits = ((name, getattr(self, name)) for name in LIMITS)
        return Verdict(tuple(Margin(name, limit, used[name]) for name, limit in limits if limit))

    def scaled(self, share: float) -> Budget:
        """The budget with every limit multiplied by a share of it, 0 < share <= 1, and at least 1."""
        limits = {name: getattr(self, name) for name in LIMITS}
        shrunk: dict[str, Any] = {name: limit and max(1, int(limit * share)) for name, limit in limits.items()}
        return replace(self, **shrunk)

    def _use(self, used: Cost, name: str) -> int:
        if name == "latency_ns":
            return self._predicted_ns(used)
        value = used.weight_bytes[self.weight_format] if name == "weight_bytes" else getattr(used, name)
        if value is None:
            raise UsageError(f"{name}: not counted for networks of a family of your own; leave that limit out")
        return self.activation_bytes_of(value) if name == "activation_bytes" else int(value)

    def _predicted_ns(self, used: Cost) -> int:
        if self.latency_model is None:
            raise UsageError(
                "latency_ns: nothing says how long layers take; give a latency_model too (--latency-table)"
            )
        if not used.timed:
            raise UsageError("latency: not predicted for networks of a family of your own; leave that limit out")
        return self.latency_model.network_ns(used.timed)

    def activation_bytes_of(self, in_fp32: int) -> int:
        """Bytes of activations in the budget's format, of those in fp32 that `Cost` counts."""
        return in_fp32 // BYTES_PER_NUMBER["fp32"] * BYTES_PER_NUMBER[self.activation_format]

    def to_dict(self) -> dict[str, Any]:
        """The limits as JSON-ready values; those on latency are left out where there is no model of it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.latency_model is None:
            return {name: value for name, value in values.items() if value is not None or name not in LATENCY}
        return values | {"latency_model": self.latency_model.to_dict()}

    def __str__(self) -> str:
        """The limits that are set, in words."""
        words = {**WORDS, "weight_bytes": f"bytes of {self.weight_format} weights"}
        if self.activation_format != "fp32":
            words["activation_bytes"] = f"bytes of {self.activation_format} activations"
        set_limits = [f"{shown(name, getattr(self, name))} {words[name]}" for name in LIMITS if getattr(self, name)]
        return ", ".join(set_limits) or "no limit"


def shown(name: str, value: int) -> str:
    """A number of a limit as it is shown beside its `WORDS`: of a latency milliseconds."""
    return milliseconds(value) if name == "latency_ns" else f"{value:,}"


FORMATS = ("weight_format", "activation_format")
"""Fields of a budget that say in which format bytes are counted."""
LATENCY = ("latency_ns", "latency_model")
LIMITS = tuple(f.name for f in fields(Budget) if f.name not in (*FORMATS, "latency_model"))
NO_LIMIT = Budget(params=None)
"""A budget that every network keeps."""


def parse_quantity(value: str | int | float, name: str = "limit", of: str = "bytes") -> int:
    """The whole number of a text such as "5M", "4,907,445", "1.5k", "250kB" or "64KiB".

    k, M, G are powers of 1000 and Ki, Mi, Gi of 1024. A B for bytes may follow where the number is of bytes.

    Args:
        value: The text, or the number itself.
        name: What it is for, in an error.
        of: What is counted: "bytes", or anything else, such as "parameters", which takes no B.

    Raises:
        QuantityError: It cannot be read, is not whole, is below 1 or beyond any use, or is in another unit.

    Examples:
        >>> parse_quantity("250kB"), parse_quantity("5M", of="parameters")
        (250000, 5000000)
        >>> parse_quantity("30MB", "--max-macs", of="MACs")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nas_budget.errors.QuantityError: --max-macs: '30MB' is in bytes and this counts MACs; write 30M, or ...
    """
    match = QUANTITY.fullmatch(str(value).strip())
    if not match or isinstance(value, bool):
        such = "5000000, 250kB or 64KiB" if of == "bytes" else "5000000, 5M or 250k"
        raise QuantityError(f"{name}: cannot read {value!r}; write a number such as {such}")
    if match[3] and of != "bytes":
        plain = str(value).strip()[:-1].strip()
        limit = f", or for bytes of weights --max-weight-bytes {str(value).replace(' ', '')}" if of in COUNTED else ""
        in_file = " (budget.weight_bytes in a study file)" if limit else ""
        raise QuantityError(f"{name}: {value!r} is in bytes and this counts {of}; write {plain}{limit}{in_file}")
    number = Decimal(match[1].replace(",", "").replace("_", "")) * SUFFIXES[match[2].lower()]
    if not 1 <= number <= MOST or number != int(number):
        raise QuantityError(f"{name}: {value!r} is not allowed; give a whole number from 1 to 10^15, such as 5M")
    return int(number)
