"""The networks a search may propose, and the coordinates it proposes them in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor, isfinite
from typing import Any, Literal

from nas_budget.arch.spec import MAX_BLOCKS, MAX_CHANNELS, MAX_KERNEL, MAX_STRIDE, ResNetSpec
from nas_budget.errors import SpecError

MAX_STAGES = 16
Pool = int | Literal["global"]


def pooled(pool: Pool, size: int) -> int:
    """The pool's size on a map of this size: at most the whole map."""
    return size if pool == "global" else min(pool, size)


@dataclass(frozen=True)
class Dimension:
    """One coordinate of a proposal: a range, or choices when `choices` is not empty."""

    name: str
    low: float = 0
    high: float = 0
    choices: tuple[Any, ...] = ()
    whole: bool = False
    log: bool = False

    def contains(self, value: Any) -> bool:
        """Whether the value is one of the choices, or within the range."""
        return value in self.choices if self.choices else bool(self.low <= value <= self.high)


@dataclass(frozen=True)
class SearchSpace:
    """What may vary between the networks of a search, and within which bounds.

    Widths are not proposed one by one: a proposal gives the growth of the width from each stage to
    the next and a size from 0 to 1, from the smallest to the largest network of that shape that fits,
    so that its widths can be made to fit.

    Attributes:
        stages: Fewest and most stages.
        blocks: Fewest and most blocks of a stage.
        kernels: Kernel sizes a stage may have.
        pool: Sizes of the last average pool; one larger than the map is the whole map.
        stem_kernel: Kernel sizes of the first convolution.
        shortcut_kernel: Kernel sizes of a shortcut that changes shape.
        first_stride: Strides of the first stage; 2 makes every map smaller and a network cheaper.
        width: Narrowest and widest stage.
        width_step: Widths are multiples of it.
        growth: Least and most growth of the width from one stage to the next; below 1 it narrows.
        fill: Least and most of the largest network of a shape that fits, as a share of its parameters.
        dropout: Share of features dropped before the classifier.
        image_size: Height and width of the images in pixels.
        in_channels: Channels of the images.
        classes: Classes to tell apart.

    Raises:
        SpecError: Bounds that are empty or the wrong way round; it lists every problem at once.
    """

    stages: tuple[int, int] = (3, 5)
    blocks: tuple[int, int] = (1, 4)
    kernels: tuple[int, ...] = (3, 5)
    pool: tuple[Pool, ...] = (2, 4, "global")
    stem_kernel: tuple[int, ...] = (3,)
    shortcut_kernel: tuple[int, ...] = (1, 3)
    first_stride: tuple[int, ...] = (1,)
    width: tuple[int, int] = (8, 512)
    width_step: int = 1
    growth: tuple[float, float] = (0.5, 3.0)
    fill: tuple[float, float] = (0.02, 1.0)
    dropout: float = 0.0
    image_size: int = 32
    in_channels: int = 3
    classes: int = 10

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
        if not self.first_stride or any(not 1 <= value <= MAX_STRIDE for value in self.first_stride):
            yield f"first_stride: {list(self.first_stride)} not allowed; give whole numbers from 1 to {MAX_STRIDE}"

    @property
    def narrowest(self) -> int:
        """The smallest width on the grid."""
        return -(-self.width[0] // self.width_step) * self.width_step

    @property
    def widest(self) -> int:
        """The largest width on the grid."""
        return self.width[1] // self.width_step * self.width_step

    def dimensions(self) -> tuple[Dimension, ...]:
        """The coordinates of a proposal; those with a single value are left out.

        A proposal always has coordinates for the most stages, and those of absent stages are
        ignored: every sampler can then work on it.
        """
        n = self.stages[1]
        every = [Dimension("stages", *self.stages, whole=True)]
        every += [Dimension(f"blocks_{i}", *self.blocks, whole=True) for i in range(1, n + 1)]
        every += [Dimension(f"kernel_{i}", choices=self.kernels) for i in range(1, n + 1)]
        every += [Dimension(f"growth_{i}", *self.growth, log=True) for i in range(2, n + 1)]
        every += [
            Dimension(name, choices=getattr(self, name))
            for name in ("pool", "stem_kernel", "shortcut_kernel", "first_stride")
        ]
        every.append(Dimension("size", 0.0, 1.0 if self.fill[0] < self.fill[1] else 0.0))
        return tuple(d for d in every if len(set(d.choices)) > 1 or d.low < d.high)

    def snap(self, width: float) -> int:
        """The nearest allowed width."""
        on_grid = floor(width / self.width_step + 0.5) * self.width_step
        return min(max(on_grid, self.narrowest), self.widest)

    def make(
        self, channels: Sequence[int], blocks: Sequence[int], kernels: Sequence[int], pool: Pool,
        stem_kernel: int, shortcut_kernel: int, first_stride: int,
    ) -> ResNetSpec:  # fmt: skip
        """The spec with these parts, the same for all parts that build the same network.

        A pool larger than the last map becomes the whole map; where no block changes shape the kernel
        of shortcuts becomes the least.
        """
        strides = (first_stride,) + (2,) * (len(channels) - 1)
        size = self.image_size
        for stride in strides:
            size = -(-size // stride)
        if len(set(channels)) == 1 and size == self.image_size:
            shortcut_kernel = min(self.shortcut_kernel)
        return ResNetSpec(
            channels, blocks, kernels, pooled(pool, size), stem_kernel, shortcut_kernel, strides,
            self.dropout, self.image_size, self.in_channels, self.classes,
        )  # fmt: skip

    def smallest(self) -> tuple[ResNetSpec, ...]:
        """The networks with every number at its least, for each count of stages, pool and first stride."""
        return tuple(
            self.make(
                (self.narrowest,) * n, (self.blocks[0],) * n, (min(self.kernels),) * n, pool,
                min(self.stem_kernel), min(self.shortcut_kernel), stride,
            )
            for n in range(self.stages[0], self.stages[1] + 1)
            for stride in self.first_stride
            for pool in self.pool
        )  # fmt: skip

    def contains(self, spec: ResNetSpec) -> bool:
        """Whether the space may propose the spec; growth is held to within the rounding of widths."""
        n = len(spec.channels)
        if not self.stages[0] <= n <= self.stages[1] or spec.strides[1:] != (2,) * (n - 1):
            return False
        if spec != self.make(
            spec.channels, spec.blocks, spec.kernels, spec.pool,
            spec.stem_kernel, spec.shortcut_kernel, spec.strides[0],
        ):  # fmt: skip
            return False
        pools = {pooled(pool, spec.maps[-1]) for pool in self.pool}
        return (
            all(self.blocks[0] <= blocks <= self.blocks[1] for blocks in spec.blocks)
            and set(spec.kernels) <= set(self.kernels)
            and spec.stem_kernel in self.stem_kernel
            and spec.shortcut_kernel in self.shortcut_kernel
            and spec.strides[0] in self.first_stride
            and spec.pool in pools
            and all(w % self.width_step == 0 and self.narrowest <= w <= self.widest for w in spec.channels)
            and all(self._grows(a, b) for a, b in pairwise(spec.channels))
        )

    def _grows(self, before: int, after: int) -> bool:
        half = self.width_step / 2
        low = self.growth[0] * (before - half) - half
        high = self.growth[1] * (before + half) + half
        return min(floor(low), self.widest) <= after <= max(ceil(high), self.narrowest)

    def neighbours(self, spec: ResNetSpec) -> Iterator[ResNetSpec]:
        """Every spec of the space that differs in one number of one stage, or in one other choice."""
        for stage in range(len(spec.channels)):
            for step in self.width_step, -self.width_step:
                yield from self._changed(spec, "channels", stage, spec.channels[stage] + step)
            for step in 1, -1:
                yield from self._changed(spec, "blocks", stage, spec.blocks[stage] + step)
            for kernel in self.kernels:
                yield from self._changed(spec, "kernels", stage, kernel)
        for stride in self.first_stride:
            yield from self._changed(spec, "strides", 0, stride)
        for name in "pool", "stem_kernel", "shortcut_kernel":
            for value in getattr(self, name):
                yield from self._changed(spec, name, None, value)

    def _changed(self, spec: ResNetSpec, name: str, stage: int | None, value: Any) -> Iterator[ResNetSpec]:
        if stage is not None:
            values = list(getattr(spec, name))
            values[stage] = value
            value = tuple(values)
        try:
            changed = replace(spec, **{name: value})
        except SpecError:
            return
        if name in ("pool", "strides"):
            pool = min(changed.pool_size, changed.maps[-1])
            changed = replace(changed, pool=pool)
        if changed != spec and self.contains(changed):
            yield changed
