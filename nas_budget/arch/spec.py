"""`ResNetSpec`: a residual network as plain data, to be counted, stored, compared and built."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from operator import index
from typing import Any, Literal

from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES, MAX_EXPANSION
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.errors import SpecError
from nas_budget.untrusted import read_json

MAX_STAGES = 100
MAX_CHANNELS = 65_536
MAX_BLOCKS = 1_000
MAX_BLOCKS_IN_ALL = 10_000
"""Those of every stage together: counting them is a matter of a second."""
MAX_KERNEL = 31
MAX_STRIDE = 8
MAX_IMAGE_SIZE = 4_096
LATER = {"activation": "relu", "groups": 1, "stem_stride": 1, "head_width": 0}
"""Fields that came when specs had been stored, and when `to_dict` leaves them out: old texts stay as they are."""


@dataclass(frozen=True, init=False)
class ResNetSpec:
    """A residual network: stem, stages of residual blocks, average pool, linear classifier.

    The defaults are those of the reference network, so `ResNetSpec((32, 64, 96, 128, 185))` is it. One number for
    `blocks`, `kernels` or `strides` stands for every stage. Two specs are equal if they are the same network: a
    `stem_width` equal to the first stage's is stored as 0. Specs are hashable. Source: He et al. 2015,
    arXiv:1512.03385.

    Attributes:
        channels: Width of each stage.
        blocks: Residual blocks in each stage.
        kernels: Kernel size of a stage's blocks; odd. Of the 1x1 convolutions in a block it says nothing.
        pool: Size of the average pool before the classifier, or "global" for the whole map.
        stem_kernel: Kernel size of the first convolution; odd.
        shortcut_kernel: Kernel size of a shortcut's convolution where the shape changes; odd.
        strides: Stride of each stage's first block; 1, then 2 in every later stage.
        block: Kind of block: "basic", "preact", "bottleneck", "separable" (a basic block of depthwise and 1x1
            convolutions) or "inverted" (an inverted residual: wide inside, depthwise there, narrow at its ends).
        se_reduction: Reduction of the squeeze-excitation in every block, such as 16; 0 for none.
        stem_width: Width of the first convolution; 0 for that of the first stage.
        dropout: Share of features dropped before the classifier in training; 0 <= dropout < 1.
        image_size: Height and width of the input in pixels.
        in_channels: Channels of the input.
        classes: Outputs of the classifier.
        activation: "relu", "relu6", "hard-swish" or "silu"; a squeeze-excitation has ReLU and sigmoid in any case.
        groups: Groups of the middle convolution of a bottleneck; its width inside is a multiple of them.
        expansions: Width inside each stage's blocks, as a multiple of the stage's (bottleneck) or of the block's input
            (inverted, where 1 leaves the convolution out that expands); 0 for what is usual: 1/4, and 6.
        stem_stride: Stride of the first convolution.
        head_width: Width of a 1x1 convolution before the last pool; 0 for none.

    Raises:
        SpecError: The network cannot be built; it lists every problem at once.

    Examples:
        >>> spec = ResNetSpec((16, 32, 64), blocks=3, shortcut_kernel=1, pool="global")
        >>> print(spec)
        16-32-64, blocks 3, kernel 3, pool global, shortcut 1
        >>> spec.strides, spec.maps
        ((1, 2, 2), (32, 16, 8))
        >>> ResNetSpec.from_json(spec.to_json()) == spec
        True
        >>> print(ResNetSpec((16, 24), blocks=2, block="inverted", expansions=(1, 6), activation="relu6"))
        inverted, 16-24, blocks 2, kernel 3, pool 2, expansion 1-6, relu6
    """

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    kernels: tuple[int, ...]
    pool: int | Literal["global"]
    stem_kernel: int
    shortcut_kernel: int
    strides: tuple[int, ...]
    block: str
    se_reduction: int
    stem_width: int
    dropout: float
    image_size: int
    in_channels: int
    classes: int
    activation: str
    groups: int
    expansions: tuple[float, ...]
    stem_stride: int
    head_width: int

    def __init__(
        self,
        channels: Sequence[int],
        blocks: int | Sequence[int] = 4,
        kernels: int | Sequence[int] = 3,
        pool: int | Literal["global"] = 2,
        stem_kernel: int = 3,
        shortcut_kernel: int = 3,
        strides: int | Sequence[int] | None = None,
        block: str = "basic",
        se_reduction: int = 0,
        stem_width: int = 0,
        dropout: float = 0.0,
        image_size: int = 32,
        in_channels: int = 3,
        classes: int = 10,
        activation: str = "relu",
        groups: int = 1,
        expansions: float | Sequence[float] = 0,
        stem_stride: int = 1,
        head_width: int = 0,
    ) -> None:
        n_stages = len(channels) if isinstance(channels, Sequence) else 0
        if n_stages and stem_width == channels[0]:
            stem_width = 0  # the same network has the same spec
        usual_strides = (1,) + (2,) * (n_stages - 1)
        values = {
            "channels": tuple(map(_plain, channels)) if n_stages else channels,
            "blocks": _each_stage(blocks, n_stages),
            "kernels": _each_stage(kernels, n_stages),
            "pool": pool,
            "stem_kernel": stem_kernel,
            "shortcut_kernel": shortcut_kernel,
            "strides": _each_stage(usual_strides if strides is None else strides, n_stages),
            "block": block,
            "se_reduction": se_reduction,
            "stem_width": stem_width,
            "dropout": dropout,
            "image_size": image_size,
            "in_channels": in_channels,
            "classes": classes,
            "activation": activation,
            "groups": groups,
            "expansions": _each_stage(expansions, n_stages),
            "stem_stride": stem_stride,
            "head_width": head_width,
        }
        for name, value in values.items():
            object.__setattr__(self, name, _plain(value))
        if problems := list(_problems(self)):
            raise SpecError(problems)
        usual = FAMILIES[block].expansion
        object.__setattr__(self, "expansions", tuple(_number(value or usual) for value in self.expansions))

    @property
    def stem_map(self) -> int:
        """Height and width of the first convolution's output in pixels."""
        return map_sizes(self.image_size, [self.stem_stride])[0]

    @property
    def maps(self) -> tuple[int, ...]:
        """Height and width of each stage's output in pixels."""
        return map_sizes(self.stem_map, self.strides)

    @property
    def stem_channels(self) -> int:
        """Width of the first convolution, with 0 resolved."""
        return self.stem_width or self.channels[0]

    @property
    def pool_size(self) -> int:
        """Size of the average pool in pixels, with "global" resolved."""
        return self.maps[-1] if self.pool == "global" else self.pool

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, tuples as lists; those of `LATER` only where they say something."""
        usual = {**LATER, "expansions": (FAMILIES[self.block].expansion,) * len(self.channels)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name not in usual or value != usual[name]
        }

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to an equal spec."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ResNetSpec:
        """The spec of a dictionary such as `to_dict` gives; missing fields take their defaults.

        Raises:
            SpecError: Unknown or missing fields, or a network that cannot be built.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict):
            raise SpecError([f"spec: {values!r} is not an object of {', '.join(known)}"])
        problems = [f"{key}: unknown field; known are {', '.join(known)}" for key in values if key not in known]
        if "channels" not in values:
            problems.append("channels: missing; give the width of each stage")
        if problems:
            raise SpecError(problems)
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> ResNetSpec:
        """The spec of a JSON text such as `to_json` gives.

        Raises:
            SpecError: Not JSON, unknown fields, or a network that cannot be built.
        """
        try:
            values = read_json(text)
        except ValueError as error:
            raise SpecError([f"spec: not JSON ({error})"]) from None
        return cls.from_dict(values)

    @property
    def brief(self) -> str:
        """Widths and blocks of each stage, such as "32-64 x 2-2"."""
        return f"{'-'.join(map(str, self.channels))} x {'-'.join(map(str, self.blocks))}"

    def __str__(self) -> str:
        """One short line: widths, blocks, kernels and what differs from the defaults."""
        parts = [
            "-".join(map(str, self.channels)),
            f"blocks {_short(self.blocks)}",
            f"kernel {_short(self.kernels)}",
            f"pool {self.pool}",
        ]
        if self.block != "basic":
            parts.insert(0, self.block)
        options = {
            "SE": (self.se_reduction, 0),
            "shortcut": (self.shortcut_kernel, 3),
            "stem": (self.stem_kernel, 3),
            "stem width": (self.stem_width, 0),
            "stem stride": (self.stem_stride, 1),
            "groups": (self.groups, 1),
            "expansion": (_short(self.expansions), _short((FAMILIES[self.block].expansion,))),
            "head width": (self.head_width, 0),
        }
        parts += [f"{word} {value}" for word, (value, usual) in options.items() if value != usual]
        if self.activation != "relu":
            parts.append(self.activation)
        if self.strides != (1,) + (2,) * (len(self.strides) - 1):
            parts.append(f"strides {_short(self.strides)}")
        return ", ".join(parts)


AnySpec = ResNetSpec | FamilySpec
"""A network: a residual one, or one of a family of the user's own."""


def spec_from_dict(values: dict[str, Any]) -> AnySpec:
    """The spec of a dictionary such as `to_dict` of either kind gives.

    Raises:
        SpecError: It describes no network.
    """
    if isinstance(values, dict) and "family" in values:
        return FamilySpec.from_dict(values)
    return ResNetSpec.from_dict(values)


def spec_from_json(text: str) -> AnySpec:
    """The same of a JSON text."""
    try:
        values = read_json(text)
    except ValueError as error:
        raise SpecError([f"spec: not JSON ({error})"]) from None
    return spec_from_dict(values)


def _each_stage(value: Any, n_stages: int) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(_plain, value))
    return (_plain(value),) * n_stages


def _plain(value: Any) -> Any:
    """NumPy's whole numbers as Python's, so that a spec always goes to JSON."""
    return index(value) if hasattr(value, "__index__") and not isinstance(value, bool) else value


def _number(value: float) -> float:
    """A whole number as such, any other as Python's float."""
    return int(value) if value == int(value) else float(value)


def _short(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "-".join(f"{value:g}" for value in values)


def map_sizes(image_size: int, strides: Iterable[int]) -> tuple[int, ...]:
    """Height and width in pixels of the map after each stage; a stride rounds up, as padded convolutions do."""
    return tuple(accumulate(strides, lambda size, stride: -(-size // stride), initial=image_size))[1:]


def _problems(spec: ResNetSpec) -> Iterable[str]:
    n_stages = len(spec.channels) if isinstance(spec.channels, tuple) else 0
    if not n_stages:
        yield f"channels: {spec.channels!r} is not a list of widths, one for each stage, such as 32,64,128"
        return
    if n_stages > MAX_STAGES:
        yield f"channels: {n_stages:,} stages; allowed are 1 to {MAX_STAGES}"
        return
    wrong = [*_stage_problems(spec, n_stages), *_number_problems(spec)]
    yield from wrong
    if not wrong:
        yield from _pool_problems(spec)
        if (n := sum(spec.blocks)) > MAX_BLOCKS_IN_ALL:
            yield f"blocks: {n:,} in all; allowed are up to {MAX_BLOCKS_IN_ALL:,}"


def _stage_problems(spec: ResNetSpec, n_stages: int) -> Iterable[str]:
    yield from _range_problems("channels", spec.channels, 1, MAX_CHANNELS)
    for name, low, high in ("blocks", 1, MAX_BLOCKS), ("kernels", 1, MAX_KERNEL), ("strides", 1, MAX_STRIDE):
        values = getattr(spec, name)
        if len(values) != n_stages:
            yield f"{name}: {len(values)} values for {n_stages} stages; give one, or one for each stage"
        yield from _range_problems(name, values, low, high, odd=name == "kernels")
    if len(spec.expansions) != n_stages:
        yield f"expansions: {len(spec.expansions)} values for {n_stages} stages; give one, or one for each stage"


def _number_problems(spec: ResNetSpec) -> Iterable[str]:
    for name in "stem_kernel", "shortcut_kernel":
        yield from _range_problems(name, [getattr(spec, name)], 1, MAX_KERNEL, odd=True)
    yield from _range_problems("image_size", [spec.image_size], 1, MAX_IMAGE_SIZE)
    for name, least in ("in_channels", 1), ("classes", 1), ("se_reduction", 0), ("stem_width", 0), ("head_width", 0):
        yield from _range_problems(name, [getattr(spec, name)], least, MAX_CHANNELS)
    yield from _range_problems("stem_stride", [spec.stem_stride], 1, MAX_STRIDE)
    if not isinstance(spec.block, str) or spec.block not in FAMILIES:
        yield f"block: {spec.block!r} is unknown; known are {', '.join(FAMILIES)}"
    else:
        yield from _inner_problems(spec)
    if spec.activation not in ACTIVATIONS:
        yield f"activation: {spec.activation!r} is unknown; known are {', '.join(ACTIVATIONS)}"
    if not _is_number(spec.dropout) or not 0 <= spec.dropout < 1:
        yield f"dropout: {spec.dropout!r} is not a share; allowed is 0 up to, but not, 1"
    if spec.pool != "global":
        yield from _range_problems("pool", [spec.pool], 1, MAX_IMAGE_SIZE, also=' or "global"')


def _inner_problems(spec: ResNetSpec) -> Iterable[str]:
    """What is wrong with the inside of the blocks."""
    family = FAMILIES[spec.block]
    if not family.grouped and spec.groups != 1:
        grouped = ", ".join(name for name, other in FAMILIES.items() if other.grouped)
        yield f"groups: {spec.groups!r} not allowed for {spec.block} blocks; give 1, or another block ({grouped})"
    yield from _range_problems("groups", [spec.groups], 1, MAX_CHANNELS)
    if not family.expansion and any(spec.expansions):
        known = ", ".join(name for name, other in FAMILIES.items() if other.expansion)
        yield f"expansions: not allowed for {spec.block} blocks; leave them out, or give another block ({known})"
    least = family.least_expansion
    bad = [v for v in spec.expansions if not _is_number(v) or (v != 0 and not least <= v <= MAX_EXPANSION)]
    if bad:
        yield f"expansions: {bad[0]!r} not allowed; allowed are numbers from {least:g} to {MAX_EXPANSION}, and 0"


def _pool_problems(spec: ResNetSpec) -> Iterable[str]:
    size = spec.maps[-1]
    if spec.pool != "global" and spec.pool > size:
        yield (
            f'pool: {spec.pool} is larger than the last stage\'s {size}x{size} map; allowed is 1 to {size} or "global"'
        )


def _range_problems(
    name: str, values: Sequence[Any], low: int, high: int, odd: bool = False, also: str = ""
) -> Iterable[str]:
    what = "odd numbers" if odd else "whole numbers"
    bad = [v for v in values if not _is_int(v) or not low <= v <= high or (odd and v % 2 == 0)]
    if bad:
        shown = ", ".join(dict.fromkeys(map(repr, bad)))
        yield f"{name}: {shown} not allowed; allowed are {what} from {low} to {high:,}{also}"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or isinstance(value, float)
