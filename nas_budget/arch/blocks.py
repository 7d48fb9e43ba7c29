"""The kinds of block: the one table that says which convolutions each has.

`train/engine` has a module for each kind; a test builds them and compares the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ACTIVATIONS = ("relu", "relu6", "hard-swish", "silu")


@dataclass(frozen=True)
class Conv:
    """One convolution of a block's main path.

    Attributes:
        source: What its input is as wide as: "in" (the block's input), "mid" or "out" (the stage).
        target: What its output is as wide as: "in", "mid" or "out".
        kernel: Its kernel size; 0 for the stage's.
        strided: Whether it carries the block's stride.
        groups: "one": each output channel sees every input channel; "groups": those of its group alone, of as many
            groups as the network's `groups`; "each": one alone (depthwise).
        expands: Whether it is left out where the expansion is 1.
    """

    source: str
    target: str
    kernel: int = 0
    strided: bool = False
    groups: str = "one"
    expands: bool = False

    def n_groups(self, width: int, groups: int) -> int:
        """Its groups, in a network of `groups`, where its input has `width` channels."""
        return {"one": 1, "groups": groups, "each": width}[self.groups]

    def timed_as(self, groups: int) -> str:
        """The kind of layer under which its time is predicted, in a network of `groups`."""
        if self.groups == "groups":
            return "grouped" if groups > 1 else "conv"
        return "depthwise" if self.groups == "each" else "conv"


@dataclass(frozen=True)
class Family:
    """A kind of block.

    Attributes:
        convs: The convolutions of the main path, in order.
        expansion: "mid" is a width times this, unless a spec says otherwise; 0 where no convolution is as wide as that.
        of: Which width that is: "in" or "out".
        preact: Batch norm and activation before each convolution instead of after it. The shortcut's
            convolution then has no batch norm, the stem neither, and one more follows the last stage.
        linear: No activation follows the last convolution, and none the shortcut.
        projects: Whether there is a convolution in the shortcut where the shape changes; without, there is no shortcut.
        squeezed: After which convolution a squeeze-excitation stands, from 1; 0 for the last.
        source: Where the family comes from.
    """

    convs: tuple[Conv, ...]
    expansion: float = 0
    of: str = "out"
    preact: bool = False
    linear: bool = False
    projects: bool = True
    squeezed: int = 0
    source: str = ""

    @property
    def grouped(self) -> bool:
        """Whether a convolution has as many groups as the network says."""
        return any(conv.groups == "groups" for conv in self.convs)

    @property
    def least_expansion(self) -> float:
        """The least expansion that is allowed: what expands does not narrow."""
        return 1 if any(conv.expands for conv in self.convs) else 1 / MAX_EXPANSION

    def convs_at(self, expansion: float) -> tuple[Conv, ...]:
        """The convolutions of a block with this expansion."""
        return tuple(conv for conv in self.convs if not (conv.expands and expansion == 1))

    def squeezes(self, conv: Conv) -> bool:
        """Whether a squeeze-excitation, where there is one, follows the convolution."""
        return conv is self.convs[self.squeezed - 1]


MAX_EXPANSION = 64
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
        (
            Conv("in", "mid", kernel=1),
            Conv("mid", "mid", strided=True, groups="groups"),
            Conv("mid", "out", kernel=1),
        ),
        expansion=1 / 4,
        source="He et al. 2015, arXiv:1512.03385, figure 5 right, the stride on the middle convolution; with groups "
        "Xie et al. 2016, arXiv:1611.05431, figure 3c",
    ),
    "separable": Family(
        (
            Conv("in", "in", strided=True, groups="each"),
            Conv("in", "out", kernel=1),
            Conv("out", "out", groups="each"),
            Conv("out", "out", kernel=1),
        ),
        source="basic, each convolution as in Howard et al. 2017, arXiv:1704.04861, figure 3 right",
    ),
    "inverted": Family(
        (
            Conv("in", "mid", kernel=1, expands=True),
            Conv("mid", "mid", strided=True, groups="each"),
            Conv("mid", "out", kernel=1),
        ),
        expansion=6,
        of="in",
        linear=True,
        projects=False,
        squeezed=2,
        source="Sandler et al. 2018, arXiv:1801.04381, figure 4d; squeeze-excitation where Howard et al. 2019, "
        "arXiv:1905.02244, figure 4, have it",
    ),
}


def inner_width(width: int, expansion: float, groups: int) -> int:
    """`width` times the expansion, rounded down to a multiple of the groups: at least one channel for each."""
    # The floating-point product of whole numbers, or of 70 and 0.7, may lie just below the whole number that is meant.
    return max(1, int(width * expansion + 1e-9) // groups) * groups


def squeezed(width: int, reduction: int) -> int:
    """Features between the two layers of a squeeze-excitation (Hu et al. 2017, arXiv:1709.01507)."""
    return max(1, width // reduction)
