"""Proposals that always fit: from the coordinates of a space to a spec inside the budget."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil, log
from operator import mul
from typing import Any

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.space import SearchSpace, pooled
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError

BISECTIONS = 20
"""Halvings of the width multiplier, enough to resolve widths of thousands to a hundredth of a channel."""


@dataclass(frozen=True)
class FeasibleSpace:
    """The part of a space that is inside a budget.

    Raises:
        NothingFitsError: Not even the cheapest network of the space fits.
    """

    space: SearchSpace
    budget: Budget

    def __post_init__(self) -> None:
        if not any(self.fits(spec) for spec in self.space.smallest()):
            cheapest = min(self.space.smallest(), key=self._worst_share)
            over = [m for m in self.budget.check(cheapest).margins if m.margin < 0]
            needs = ", ".join(f"{m.used:,} {m.name} ({m.limit:,} allowed)" for m in over)
            raise NothingFitsError(
                f"nothing in the space fits: its cheapest network ({cheapest}) needs {needs}; "
                "raise the limit or allow narrower, shallower stages"
            )

    def _worst_share(self, spec: ResNetSpec) -> float:
        return max(m.used / m.limit for m in self.budget.check(spec).margins)

    def fits(self, spec: ResNetSpec) -> bool:
        """Whether the spec keeps every limit."""
        return self.budget.check(spec).fits

    def smallest(self) -> ResNetSpec:
        """A network with every number at its least, that fits."""
        return next(filter(self.fits, self.space.smallest()))

    def decode(self, point: Mapping[str, Any]) -> ResNetSpec:
        """The spec of a proposal, always inside the space and the budget.

        The widths have the proposed growth, and are the largest whose parameters keep the proposed
        size: on a log scale between the least and the most of `space.fill`, as a share of the largest
        network of that shape that fits. A shape too deep for the budget at its narrowest loses
        blocks, then kernel size, until it fits.

        Args:
            point: A value for each of `space.dimensions()`.
        """
        spec = self._shrink(self._shape(point))
        growth = [point.get(f"growth_{i}", self.space.growth[0]) for i in range(2, len(spec.channels) + 1)]
        relative = list(accumulate(growth, mul, initial=1.0))
        largest = cost(self._widest(spec, relative, self.budget)).params
        low, high = self._size_bounds(spec, largest)
        most = low * (high / low) ** point.get("size", 1.0)
        return self._widest(spec, relative, replace(self.budget, params=min(largest, ceil(most))))

    def encode(self, spec: ResNetSpec) -> dict[str, Any]:
        """The coordinates nearest to a spec, so that a sampler can learn from it; choices it has not are left out."""
        values: dict[str, Any] = {"stages": len(spec.channels), "first_stride": spec.strides[0]}
        values.update({name: getattr(spec, name) for name in ("stem_kernel", "shortcut_kernel")})
        values["pool"] = next((p for p in self.space.pool if pooled(p, spec.maps[-1]) == spec.pool_size), None)
        for i, (blocks, kernel) in enumerate(zip(spec.blocks, spec.kernels, strict=True), start=1):
            values |= {f"blocks_{i}": blocks, f"kernel_{i}": kernel}
        for i, (before, after) in enumerate(pairwise(spec.channels), start=2):
            values[f"growth_{i}"] = min(max(after / before, self.space.growth[0]), self.space.growth[1])
        relative = [width / spec.channels[0] for width in spec.channels]
        largest = cost(self._widest(spec, relative, self.budget)).params
        low, high = self._size_bounds(spec, largest)
        values["size"] = min(max(log(cost(spec).params / low) / log(high / low), 0.0), 1.0) if low < high else 1.0
        bounds = {d.name: d for d in self.space.dimensions()}
        return {name: v for name, v in values.items() if name in bounds and bounds[name].contains(v)}

    def _size_bounds(self, spec: ResNetSpec, largest: int) -> tuple[float, float]:
        """Least and most parameters a size from 0 to 1 stands for."""
        narrowest = cost(replace(spec, channels=(self.space.narrowest,) * len(spec.channels))).params
        low = max(self.space.fill[0] * largest, min(largest, narrowest))
        return low, max(self.space.fill[1] * largest, low)

    def unseen(self, spec: ResNetSpec, seen: Collection[ResNetSpec | None]) -> ResNetSpec | None:
        """The spec itself, or the nearest feasible one not in `seen`; None when none is left.

        Distance is the number of single changes (one width, one block, one kernel, ...).
        """
        reached: set[ResNetSpec] = set()
        for start in (spec, *filter(self.fits, self.space.smallest())):
            for candidate in self._outward(start, reached):
                if candidate not in seen:
                    return candidate
        return None

    def _outward(self, start: ResNetSpec, reached: set[ResNetSpec]) -> Iterator[ResNetSpec]:
        edge = [start] if start not in reached else []
        while edge:
            reached.update(edge)
            yield from edge
            near = dict.fromkeys(near for spec in edge for near in self.space.neighbours(spec))
            edge = [spec for spec in near if spec not in reached and self.fits(spec)]

    def _shape(self, point: Mapping[str, Any]) -> ResNetSpec:
        """The proposed spec at its narrowest."""
        space = self.space
        n = int(point.get("stages", space.stages[0]))
        return space.make(
            (space.narrowest,) * n,
            [int(point.get(f"blocks_{i}", space.blocks[0])) for i in range(1, n + 1)],
            [int(point.get(f"kernel_{i}", space.kernels[0])) for i in range(1, n + 1)],
            *(point.get(name, getattr(space, name)[0])
              for name in ("pool", "stem_kernel", "shortcut_kernel", "first_stride")),
        )  # fmt: skip

    def _shrink(self, spec: ResNetSpec) -> ResNetSpec:
        while not self.fits(spec):
            smaller = self._one_smaller(spec)
            if smaller is None:
                return next(filter(self.fits, self._by_likeness(spec)))
            spec = smaller
        return spec

    def _one_smaller(self, spec: ResNetSpec) -> ResNetSpec | None:
        for name, least in ("blocks", self.space.blocks[0]), ("kernels", min(self.space.kernels)):
            values = list(getattr(spec, name))
            if max(values) > least:
                stage = values.index(max(values))
                values[stage] = values[stage] - 1 if name == "blocks" else least
                smaller: dict[str, Any] = {name: tuple(values)}
                return replace(spec, **smaller)
        return None

    def _by_likeness(self, spec: ResNetSpec) -> list[ResNetSpec]:
        return sorted(
            self.space.smallest(), key=lambda s: (abs(len(s.channels) - len(spec.channels)), s.pool != spec.pool)
        )

    def _widest(self, spec: ResNetSpec, relative: list[float], budget: Budget) -> ResNetSpec:
        """The spec with the largest widths in these proportions that fits, or the narrowest of them."""

        def scaled(multiplier: float) -> ResNetSpec:
            return replace(spec, channels=tuple(self.space.snap(multiplier * r) for r in relative))

        low, high = 0.0, self.space.widest / min(relative)
        if budget.check(scaled(high)).fits:
            return scaled(high)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if budget.check(scaled(middle)).fits:
                low = middle
            else:
                high = middle
        return scaled(low)
