"""The kinds of residual block: the one table that says which convolutions each has.

`train/engine` has a module for each kind; a test builds them and compares the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """One convolution of a block's main path.

    Attributes:
        source: What its input is as wide as: "in" (the block's input), "mid" or "out" (the stage).
        target: What its output is as wide as: "mid" or "out".
        kernel: Its kernel size; 0 for the stage's.
        strided: Whether it carries the block's stride.
    """

    source: str
    target: str
    kernel: int = 0
    strided: bool = False


@dataclass(frozen=True)
class Family:
    """A kind of residual block.

    Attributes:
        convs: The convolutions of the main path, in order.
        narrowing: "mid" is the stage's width divided by it, rounded down, and at least 1.
        preact: Batch norm and ReLU before each convolution instead of after it. The shortcut's
            convolution then has no batch norm, the stem neither, and one more follows the last stage.
        source: Where the family comes from.
    """

    convs: tuple[Conv, ...]
    narrowing: int = 1
    preact: bool = False
    source: str = ""


FAMILIES: Mapping[str, Family] = {
    "basic": Family(
        (Conv("in", "out", strided=True), Conv("out", "out")),
        source="He et al. 2015, arXiv:1512.03385, figure 5 left",
    ),
    "preact": Family(
        (Conv("in", "out", strided=True), Conv("out", "out")),
        preact=True,
        source="He et al. 2016, arXiv:1603.05027, figure 1b; Zagoruyko and Komodakis 2016, arXiv:1605.07146",
    ),
    "bottleneck": Family(
        (Conv("in", "mid", kernel=1), Conv("mid", "mid", strided=True), Conv("mid", "out", kernel=1)),
        narrowing=4,
        source="He et al. 2015, arXiv:1512.03385, figure 5 right, the stride on the middle convolution",
    ),
}


def mid_width(family: Family, width: int) -> int:
    """Width of "mid" in a stage of this width."""
    return max(1, width // family.narrowing)


def squeezed(width: int, reduction: int) -> int:
    """Features between the two layers of a squeeze-excitation (Hu et al. 2017, arXiv:1709.01507)."""
    return max(1, width // reduction)
