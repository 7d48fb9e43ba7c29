"""`cost`: parameters, MACs and bytes of a network, exact to the parameter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nas_budget.arch.blocks import FAMILIES
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.arch.latency import LayerShape
from nas_budget.arch.layers import Layer, layers
from nas_budget.arch.spec import AnySpec, ResNetSpec

BYTES_PER_NUMBER = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class PartCost:
    """What one part of the network costs.

    Attributes:
        name: "stem", "stage 1", "stage 2", ... or "head".
        params: Trainable parameters.
        macs: Multiply-accumulates for one image.
        out_shape: Channels, height and width of its output.
        timed: Its layers whose time a `LatencyModel` predicts.
    """

    name: str
    params: int
    macs: int
    out_shape: tuple[int, int, int]
    timed: tuple[LayerShape, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What a network uses.

    A convolution of kernel k from n to m channels in g groups has k * k * (n / g) * m parameters and no bias (a
    depthwise one, whose groups are its channels, k * k * n); a batch norm of n channels has 2 n parameters and 2 n
    buffers; a linear layer has n * m + m parameters. The MACs of a convolution are its parameters times the pixels of
    its output.

    Attributes:
        params: Trainable parameters, batch norm's scale and shift included.
        macs: Multiply-accumulates of convolutions and linear layers for one image.
        buffers: Running means and variances of batch norm. (The batch counter that torch keeps
            beside them is not needed to run the network and not counted.)
        activation_bytes: Bytes of the most live elements while one image runs in fp32, a block's input held
            until its shortcut is added; batch norm, activations and addition work in place. None for a network of a
            family of the user's own, where it is not counted.
        depth: Convolutions and linear layers on the longest path, squeeze-excitations not counted; None likewise.
        parts: The same by part, in order; empty likewise.
        integer_bytes: Bytes of weights that are whole numbers, which such a network may have, as they are stored.

    Examples:
        >>> from nas_budget.arch.spec import ResNetSpec
        >>> used = cost(ResNetSpec((8,), blocks=1, pool="global", classes=2))
        >>> used.params, used.buffers, used.weight_bytes["fp16"]
        (1434, 48, 2964)
        >>> 3 * 3 * 3 * 8 + 2 * 8 + 2 * (3 * 3 * 8 * 8 + 2 * 8) + (8 * 2 + 2)  # stem, two convolutions, head
        1434
    """

    params: int
    macs: int
    buffers: int
    activation_bytes: int | None
    depth: int | None
    parts: tuple[PartCost, ...]
    integer_bytes: int = 0

    @property
    def timed(self) -> tuple[LayerShape, ...]:
        """The layers whose time a `LatencyModel` predicts; empty of a network of a family of the user's own."""
        return tuple(shape for part in self.parts for shape in part.timed)

    @property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of parameters and buffers, by number format. Whole numbers keep the bytes that they are stored in."""
        floats = self.params + self.buffers
        return {name: size * floats + self.integer_bytes for name, size in BYTES_PER_NUMBER.items()}

    @property
    def activations_by_format(self) -> dict[str, int] | None:
        """`activation_bytes` by number format; None where they are not counted."""
        if self.activation_bytes is None:
            return None
        n_elements = self.activation_bytes // BYTES_PER_NUMBER["fp32"]
        return {name: size * n_elements for name, size in BYTES_PER_NUMBER.items()}

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready values; `stages` holds the parts."""
        return {
            "params": self.params,
            "macs": self.macs,
            "weight_bytes": self.weight_bytes,
            "activation_bytes": self.activation_bytes,
            "buffers": self.buffers,
            "depth": self.depth,
            "stages": [
                {"name": p.name, "params": p.params, "macs": p.macs, "out_shape": list(p.out_shape)} for p in self.parts
            ],
        }


@lru_cache(maxsize=4_096)
def cost(spec: AnySpec) -> Cost:
    """What the network uses, counted in closed form without building it.

    A `FamilySpec` brings its cost along.

    MACs equal half of what `torch.utils.flop_counter.FlopCounterMode` counts; parameters and
    buffers equal those of the built module. The results for the 4,096 specs asked for last are kept.

    Examples:
        >>> from nas_budget.arch.spec import ResNetSpec
        >>> used = cost(ResNetSpec((32, 64, 96, 128, 185)))
        >>> used.params, used.macs, used.weight_bytes["int8"]
        (4907445, 226502006, 4916535)
        >>> [part.params for part in used.parts]
        [928, 74240, 296064, 692928, 1255680, 2585745, 1860]
    """
    if isinstance(spec, FamilySpec):
        return Cost(spec.params, spec.macs, spec.buffers, None, None, (), spec.integer_bytes)
    walk = layers(spec)
    return Cost(
        params=sum(layer.params for layer in walk),
        macs=sum(layer.macs for layer in walk),
        buffers=sum(layer.buffers for layer in walk),
        activation_bytes=BYTES_PER_NUMBER["fp32"] * max(layer.live_elements for layer in walk),
        depth=_depth(spec),
        parts=_parts(walk),
    )


def _depth(spec: ResNetSpec) -> int:
    family, stages = FAMILIES[spec.block], zip(spec.blocks, spec.expansions, strict=True)
    return 2 + bool(spec.head_width) + sum(n * len(family.convs_at(expansion)) for n, expansion in stages)


def _parts(walk: tuple[Layer, ...]) -> tuple[PartCost, ...]:
    grouped: dict[str, list[Layer]] = {}
    for layer in walk:
        grouped.setdefault(layer.part, []).append(layer)
    return tuple(
        PartCost(
            name, sum(x.params for x in part), sum(x.macs for x in part), part[-1].out_shape,
            tuple(x.timed_shape for x in part if x.timed_as),
        )
        for name, part in grouped.items()
    )  # fmt: skip
