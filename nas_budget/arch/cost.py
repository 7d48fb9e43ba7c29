"""What a network costs, exact to the parameter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nas_budget.arch.blocks import FAMILIES
from nas_budget.arch.layers import Layer, layers
from nas_budget.arch.spec import ResNetSpec

BYTES_PER_WEIGHT = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class PartCost:
    """What one part of the network costs: "stem", "stage 1", ... or "head"."""

    name: str
    params: int
    macs: int
    out_shape: tuple[int, int, int]


@dataclass(frozen=True)
class Cost:
    """What a network uses.

    Attributes:
        params: Trainable parameters, batch norm's scale and shift included.
        macs: Multiply-accumulates of convolutions and linear layers for one image.
        buffers: Running means and variances of batch norm. (The batch counter that torch keeps
            beside them is not needed to run the network and not counted.)
        activation_bytes: Bytes of the most live elements while one image runs in fp32, a block's input held
            until its shortcut is added; batch norm, ReLU and addition work in place.
        depth: Convolutions and linear layers on the longest path, squeeze-excitations not counted.
        parts: The same by part, in order.
    """

    params: int
    macs: int
    buffers: int
    activation_bytes: int
    depth: int
    parts: tuple[PartCost, ...]

    @property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of parameters and buffers, by number format."""
        return {name: size * (self.params + self.buffers) for name, size in BYTES_PER_WEIGHT.items()}

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
def cost(spec: ResNetSpec) -> Cost:
    """What the network uses, counted in closed form without building it.

    MACs equal half of what `torch.utils.flop_counter.FlopCounterMode` counts; parameters and
    buffers equal those of the built module.
    """
    walk = layers(spec)
    return Cost(
        params=sum(layer.params for layer in walk),
        macs=sum(layer.macs for layer in walk),
        buffers=sum(layer.buffers for layer in walk),
        activation_bytes=BYTES_PER_WEIGHT["fp32"] * max(layer.live_elements for layer in walk),
        depth=2 + len(FAMILIES[spec.block].convs) * sum(spec.blocks),
        parts=_parts(walk),
    )


def _parts(walk: tuple[Layer, ...]) -> tuple[PartCost, ...]:
    grouped: dict[str, list[Layer]] = {}
    for layer in walk:
        grouped.setdefault(layer.part, []).append(layer)
    return tuple(
        PartCost(name, sum(x.params for x in part), sum(x.macs for x in part), part[-1].out_shape)
        for name, part in grouped.items()
    )
