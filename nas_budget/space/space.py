"""`SearchSpace`: which networks a search may propose, and the coordinates it proposes them in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES, MAX_EXPANSION
from nas_budget.arch.spec import MAX_BLOCKS, MAX_CHANNELS, MAX_KERNEL, MAX_STRIDE
from nas_budget.errors import SpecError
from nas_budget.space.dimensions import Dimension

MAX_STAGES = 16
Pool = int | Literal["global"]

PER_STAGE = ("channels", "blocks", "kernels", "expansions", "strides")
"""What each stage of a network has."""
OPTIONS = (
    "pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction", "stem_width", "activation", "groups",
    "stem_stride", "head_width",
)  # fmt: skip
"""What a network has once and a space may leave open; the space's choices have the names of the spec's fields."""


@dataclass(frozen=True)
class SearchSpace:
    """What may vary between the networks of a search, and within which bounds.

    Widths are not proposed one by one. A proposal gives the growth of the width from each stage to the next, and a
    size from 0 to 1: from the smallest to the largest network of that shape that fits. So every proposal can be made
    to fit. A field with one value is fixed and takes no part in the search. `FeasibleSpace` joins a space and a
    budget; `count_networks`, `count_fitting`, `sample` and `explore` say what a space holds.

    Attributes:
        stages: Fewest and most stages.
        blocks: Fewest and most blocks of a stage.
        kernels: Kernel sizes a stage may have.
        pool: Sizes of the last average pool; one larger than the map is the whole map.
        stem_kernel: Kernel sizes of the first convolution.
        shortcut_kernel: Kernel sizes of a shortcut that changes shape.
        block: Kinds of block.
        se_reduction: Reductions of a squeeze-excitation in every block; 0 is none.
        stem_width: Widths of the first convolution; 0 is that of the first stage.
        first_stride: Strides of the first stage; 2 makes every map smaller and a network cheaper.
        strides: Strides of each later stage.
        width: Narrowest and widest stage.
        width_step: Widths are multiples of it.
        growth: Least and most growth of the width from one stage to the next; below 1 it narrows.
        fill: Least and most of the largest network of a shape that fits, as a share of its parameters.
        dropout: Share of features dropped before the classifier.
        activation: Activations.
        groups: Groups of the middle convolution of a bottleneck. Other kinds of block have one in any case.
        expansions: Expansions a stage may have, of the kinds of block that have one; 0 is what is usual.
        stem_stride: Strides of the first convolution.
        head_width: Widths of a 1x1 convolution before the last pool; 0 is none.
        image_size: Height and width of the images in pixels.
        in_channels: Channels of the images.
        classes: Outputs of the classifier.

    Raises:
        SpecError: Bounds that are empty or the wrong way round, or NaN; it lists every problem at once.

    Examples:
        >>> space = SearchSpace(stages=(3, 3), blocks=(1, 2), kernels=(3,), pool=(2,), shortcut_kernel=(1,))
        >>> [dimension.name for dimension in space.dimensions()]
        ['blocks_1', 'blocks_2', 'blocks_3', 'growth_2', 'growth_3', 'size']
        >>> from nas_budget import count_networks
        >>> count_networks(SearchSpace(stages=(2, 2), blocks=(1, 2), kernels=(3,), width=(8, 16), width_step=8))
        96
    """

    stages: tuple[int, int] = (3, 5)
    blocks: tuple[int, int] = (1, 4)
    kernels: tuple[int, ...] = (3, 5)
    pool: tuple[Pool, ...] = (2, 4, "global")
    stem_kernel: tuple[int, ...] = (3,)
    shortcut_kernel: tuple[int, ...] = (1, 3)
    block: tuple[str, ...] = ("basic",)
    se_reduction: tuple[int, ...] = (0,)
    stem_width: tuple[int, ...] = (0,)
    first_stride: tuple[int, ...] = (1,)
    strides: tuple[int, ...] = (2,)
    width: tuple[int, int] = (8, 512)
    width_step: int = 1
    growth: tuple[float, float] = (0.5, 3.0)
    fill: tuple[float, float] = (0.02, 1.0)
    dropout: float = 0.0
    image_size: int = 32
    in_channels: int = 3
    classes: int = 10
    activation: tuple[str, ...] = ("relu",)
    groups: tuple[int, ...] = (1,)
    expansions: tuple[float, ...] = (0,)
    stem_stride: tuple[int, ...] = (1,)
    head_width: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise SpecError(problems)

    def _problems(self) -> Iterator[str]:
        for name, least in ("stages", 1), ("blocks", 1), ("width", 1), ("growth", 1e-3), ("fill", 1e-6):
            low, high = getattr(self, name)
            if not (least <= low <= high and isfinite(high)):
                yield f"{name}: [{low}, {high}] is empty; give the least, of at least {least:g}, then the most"
        for name, most in ("stages", MAX_STAGES), ("blocks", MAX_BLOCKS), ("width", MAX_CHANNELS):
            if getattr(self, name)[1] > most:
                yield f"{name}: {getattr(self, name)[1]:,} is too much; at most {most:,} is allowed"
        yield from self._choice_problems()
        if self.fill[1] > 1:
            yield f"fill: {self.fill[1]} is more than the whole budget; at most 1 is allowed"
        if self.width_step < 1 or self.width[1] // self.width_step * self.width_step < self.width[0]:
            yield f"width_step: no multiple of {self.width_step} is within width {list(self.width)}"
        if not 0 <= self.dropout < 1:
            yield f"dropout: {self.dropout} is not a share; allowed is 0 up to, but not, 1"

    def _choice_problems(self) -> Iterator[str]:
        for name in "kernels", "stem_kernel", "shortcut_kernel":
            sizes = getattr(self, name)
            if not sizes or any(not 1 <= size <= MAX_KERNEL or size % 2 == 0 for size in sizes):
                yield f"{name}: {list(sizes)} not allowed; give odd sizes of at most {MAX_KERNEL}, such as [3, 5]"
        if not self.pool or any(value != "global" and value < 1 for value in self.pool):
            yield f'pool: {list(self.pool)} not allowed; give whole numbers of 1 or more, or "global"'
        bounds = dict.fromkeys(("first_stride", "strides", "stem_stride"), (1, MAX_STRIDE))
        bounds |= dict.fromkeys(("se_reduction", "stem_width", "head_width"), (0, MAX_CHANNELS))
        for name, (least, most) in (bounds | {"groups": (1, MAX_CHANNELS)}).items():
            values = getattr(self, name)
            if not values or any(not least <= value <= most for value in values):
                yield f"{name}: {list(values)} not allowed; give whole numbers from {least} to {most:,}"
        if not self.expansions or any(not 0 <= value <= MAX_EXPANSION for value in self.expansions):
            yield f"expansions: {list(self.expansions)} not allowed; give numbers from 0 to {MAX_EXPANSION}"
        for name, known in ("block", FAMILIES), ("activation", ACTIVATIONS):
            if not getattr(self, name) or any(value not in known for value in getattr(self, name)):
                yield f"{name}: {list(getattr(self, name))} not allowed; known are {', '.join(known)}"

    @property
    def in_words(self) -> str:
        """Stages, blocks, kernels and widths in one line."""
        kernels = " or ".join(map(str, self.kernels))
        shape = f"{_range(self.stages)} stages of {_range(self.blocks)} blocks"
        return f"{shape}, kernels {kernels}, widths {_range(self.width)}"

    def dimensions(self) -> tuple[Dimension, ...]:
        """The coordinates of a proposal; those with a single value are left out.

        A proposal always has coordinates for the most stages, and those of absent stages are
        ignored: every sampler can then work on it.
        """
        n = self.stages[1]
        every = [Dimension("stages", *self.stages, whole=True)]
        every += [Dimension(f"blocks_{i}", *self.blocks, whole=True) for i in range(1, n + 1)]
        every += [Dimension(f"kernel_{i}", choices=self.kernels) for i in range(1, n + 1)]
        every += [Dimension(f"expansion_{i}", choices=self.expansions) for i in range(1, n + 1)]
        every += [Dimension(f"growth_{i}", *self.growth, log=True) for i in range(2, n + 1)]
        every += [Dimension(name, choices=getattr(self, name)) for name in (*OPTIONS, "first_stride")]
        every += [Dimension(f"stride_{i}", choices=self.strides) for i in range(2, n + 1)]
        every.append(Dimension("size", 0.0, 1.0 if self.fill[0] < self.fill[1] else 0.0))
        return tuple(d for d in every if len(set(d.choices)) > 1 or d.low < d.high)


def _range(bounds: tuple[int, int]) -> str:
    return f"{bounds[0]}" if bounds[0] == bounds[1] else f"{bounds[0]}-{bounds[1]}"
