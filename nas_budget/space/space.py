"""The networks a search may propose, and the coordinates it proposes them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING, Any, Literal

from nas_budget.arch.blocks import FAMILIES
from nas_budget.arch.spec import MAX_BLOCKS, MAX_CHANNELS, MAX_KERNEL, MAX_STRIDE, ResNetSpec
from nas_budget.errors import SpecError

if TYPE_CHECKING:
    from nas_budget.arch.budget import Budget

MAX_STAGES = 16
Pool = int | Literal["global"]

OPTIONS = ("pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction", "stem_width")
"""What a network has once and a space may leave open; the space's choices have the names of the spec's fields."""


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
        for name in "first_stride", "strides":
            if not getattr(self, name) or any(not 1 <= value <= MAX_STRIDE for value in getattr(self, name)):
                yield f"{name}: {list(getattr(self, name))} not allowed; give whole numbers from 1 to {MAX_STRIDE}"
        for name in "se_reduction", "stem_width":
            if not getattr(self, name) or any(not 0 <= value <= MAX_CHANNELS for value in getattr(self, name)):
                yield f"{name}: {list(getattr(self, name))} not allowed; give whole numbers from 0 to {MAX_CHANNELS:,}"
        if not self.block or any(block not in FAMILIES for block in self.block):
            yield f"block: {list(self.block)} not allowed; known are {', '.join(FAMILIES)}"

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
        every += [Dimension(name, choices=getattr(self, name)) for name in (*OPTIONS, "first_stride")]
        every += [Dimension(f"stride_{i}", choices=self.strides) for i in range(2, n + 1)]
        every.append(Dimension("size", 0.0, 1.0 if self.fill[0] < self.fill[1] else 0.0))
        return tuple(d for d in every if len(set(d.choices)) > 1 or d.low < d.high)

    def snap(self, width: float) -> int:
        """The nearest allowed width."""
        on_grid = floor(width / self.width_step + 0.5) * self.width_step
        return min(max(on_grid, self.narrowest), self.widest)

    def make(
        self, channels: Sequence[int], blocks: Sequence[int], kernels: Sequence[int], strides: Sequence[int],
        options: Mapping[str, Any],
    ) -> ResNetSpec:  # fmt: skip
        """The spec with these parts, the same for all parts that build the same network.

        A pool larger than the last map becomes the whole map; where no block changes shape the kernel
        of shortcuts becomes the least.

        Args:
            channels: Width of each stage.
            blocks: Blocks of each.
            kernels: Kernel size of each.
            strides: Stride of each.
            options: A value for each of `OPTIONS`.
        """
        size = self.maps(strides)[-1]
        options = {**options, "pool": pooled(options["pool"], size)}
        if len({options["stem_width"] or channels[0], *channels}) == 1 and size == self.image_size:
            options["shortcut_kernel"] = min(self.shortcut_kernel)
        image = {name: getattr(self, name) for name in ("dropout", "image_size", "in_channels", "classes")}
        return ResNetSpec(channels, blocks, kernels, strides=strides, **options, **image)

    def maps(self, strides: Sequence[int]) -> list[int]:
        """Height and width of the map after each of some stages of these strides."""
        return [*accumulate(strides, lambda size, stride: -(-size // stride), initial=self.image_size)][1:]

    def stride_patterns(self, n_stages: int) -> Iterator[tuple[int, ...]]:
        """Every choice of strides for so many stages."""
        return product(self.first_stride, *[self.strides] * (n_stages - 1))

    def least_widths(self, n_stages: int, first: int = 0) -> tuple[int, ...]:
        """The smallest widths of so many stages that keep to the growth; the first at least `first`."""
        widths = [max(self.narrowest, first)] + [self.narrowest] * (n_stages - 1)
        before: list[int] = []
        while widths != before:  # raise what is too narrow beside its neighbour until nothing is
            before = list(widths)
            for i, (left, right) in enumerate(pairwise(before)):
                low, high = self.growth_bounds(left)
                widths[i + 1] = max(widths[i + 1], self._up(low))
                if right > high:
                    widths[i] = max(widths[i], left + self.width_step)
        return tuple(widths)

    def _up(self, width: int) -> int:
        return -(-width // self.width_step) * self.width_step

    def smallest(self) -> tuple[ResNetSpec, ...]:
        """The networks with every number at its least, for each choice that has no least, such as strides."""
        least = {"stem_kernel": min(self.stem_kernel), "shortcut_kernel": min(self.shortcut_kernel)}
        se_reduction = 0 if 0 in self.se_reduction else max(self.se_reduction)
        return tuple(
            self.make(
                widths, (self.blocks[0],) * n, (min(self.kernels),) * n, strides,
                {**least, "pool": pool, "block": block, "se_reduction": se_reduction, "stem_width": stem_width},
            )
            for n in range(self.stages[0], self.stages[1] + 1)
            for strides in self.stride_patterns(n)
            for pool, block, stem_width in product(self.pool, self.block, self.stem_width)
            for widths in dict.fromkeys((self.least_widths(n), self.least_widths(n, self.snap(stem_width))))
        )  # fmt: skip

    def contains(self, spec: ResNetSpec) -> bool:
        """Whether the space may propose the spec; growth is held to within the rounding of widths."""
        n = len(spec.channels)
        if not self.stages[0] <= n <= self.stages[1]:
            return False
        options = {name: getattr(spec, name) for name in OPTIONS}
        if spec != self.make(spec.channels, spec.blocks, spec.kernels, spec.strides, options):
            return False
        stems = {width or spec.channels[0] for width in self.stem_width}
        return (
            all(self.blocks[0] <= blocks <= self.blocks[1] for blocks in spec.blocks)
            and set(spec.kernels) <= set(self.kernels)
            and all(options[name] in getattr(self, name) for name in OPTIONS if name not in ("pool", "stem_width"))
            and spec.stem_channels in stems
            and spec.pool in {pooled(pool, spec.maps[-1]) for pool in self.pool}
            and spec.strides[0] in self.first_stride
            and set(spec.strides[1:]) <= set(self.strides)
            and all(w % self.width_step == 0 and self.narrowest <= w <= self.widest for w in spec.channels)
            and all(self._grows(before, after) for before, after in pairwise(spec.channels))
        )

    def _grows(self, before: int, after: int) -> bool:
        low, high = self.growth_bounds(before)
        return low <= after <= high

    def growth_bounds(self, width: int) -> tuple[int, int]:
        """Narrowest and widest that may follow a stage of this width; growth is held to within rounding."""
        half = self.width_step / 2
        low = floor(self.growth[0] * (width - half) - half)
        high = ceil(self.growth[1] * (width + half) + half)
        return min(low, self.widest), max(high, self.narrowest)

    def count(self) -> int:
        """How many different networks the space holds, exactly."""
        from nas_budget.space.counting import count_all  # NumPy is loaded only by whoever counts

        return count_all(self)

    def count_fitting(self, budget: Budget) -> int:
        """How many different networks of the space keep every limit of the budget, exactly.

        Raises:
            SpaceTooLargeError: Too many to count in reasonable time; it says what would do.
        """
        from nas_budget.space.counting import count_fitting

        return count_fitting(self, budget)

    def sample(self, n: int, budget: Budget | None = None, seed: int = 0) -> list[ResNetSpec]:
        """`n` networks drawn, each on its own and all equally likely, from those that keep every limit.

        Raises:
            NothingFitsError: None does.
        """
        from nas_budget.space.sampling import sample

        return sample(self, n, budget, seed)
