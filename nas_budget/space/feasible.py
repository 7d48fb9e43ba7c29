"""`FeasibleSpace`: proposals that always fit, from the coordinates of a space to a spec inside the budget."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, pairwise, product
from math import ceil, log
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.blocks import FAMILIES
from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import BYTES_PER_NUMBER, cost
from nas_budget.arch.cost_table import Counts, columns_of, cost_table, fits_table
from nas_budget.arch.fit import scaled_widths
from nas_budget.arch.spec import ResNetSpec, map_sizes
from nas_budget.errors import NothingFitsError
from nas_budget.space.neighbors import neighbors
from nas_budget.space.space import OPTIONS, PER_STAGE, SearchSpace
from nas_budget.space.spec_factory import (
    choices_of,
    clip_pool,
    growth_bounds,
    least_widths,
    make_spec,
    options_of,
    parts_of,
    settled,
    smallest_specs,
    width_grid,
)

Shape = dict[str, Any]
"""A network but for its widths: blocks, kernels, expansions, strides and options, as `make_spec` takes them."""


@dataclass(frozen=True)
class FeasibleSpace:
    """The part of a space that is inside a budget, and the coordinates that a sampler moves in.

    `decode` makes a network of any point, and that network always fits: no proposal is wasted. A point gives a shape
    (blocks, kernels, strides, ...), the growth of the width from stage to stage, and a size from 0 to 1. The size is
    on a log scale between two shares of the largest network of that shape that fits, `space.fill`. `encode` is the
    way back, as near as the rounding of widths allows. `unseen` steps to a neighbor where a network was tried before.

    Attributes:
        space: The networks.
        budget: Limits on each of them.

    Raises:
        NothingFitsError: Not even the cheapest network of the space fits; it names that network and what it needs.

    Examples:
        >>> from nas_budget import Budget, SearchSpace, cost
        >>> feasible = FeasibleSpace(SearchSpace(stages=(3, 3)), Budget(params=1_000_000))
        >>> spec = feasible.decode({"growth_2": 2.0, "growth_3": 2.0, "size": 1.0})
        >>> spec.channels, cost(spec).params
        ((57, 113, 227), 998335)
        >>> feasible.encode(spec)["size"]
        1.0
    """

    space: SearchSpace
    budget: Budget

    def __post_init__(self) -> None:
        if not any(map(self.fits, smallest_specs(self.space))):
            raise nothing_fits(self.space, self.budget)

    def fits(self, spec: ResNetSpec) -> bool:
        """Whether the spec keeps every limit."""
        return self.budget.check(spec).fits

    @cached_property
    def most_params(self) -> int:
        """The most parameters that a network may have: by the budget's limits, or what the largest of the space has."""
        space, n = self.space, self.space.stages[1]
        most = {name: max(getattr(space, name)) for name in ("stem_kernel", "shortcut_kernel", "stem_width")}
        most |= {"pool": 1, "stem_stride": min(space.stem_stride), "activation": space.activation[0]}
        # Groups widen a narrow inside and spare weights elsewhere, and a head may do either: all of them are counted.
        free = ("block", "se_reduction", "groups", "head_width")
        width, blocks, kernel = ((value,) * n for value in (width_grid(space)[-1], space.blocks[1], max(space.kernels)))
        strides = (min(space.first_stride), *[min(space.strides)] * (n - 1))
        largest = max(
            cost(
                make_spec(
                    space, width, blocks, kernel, (max(choices_of(space, values[0], "expansions")),) * n, strides,
                    {**most, **dict(zip(free, values, strict=True))},
                )
            ).params
            for values in product(*(getattr(space, name) for name in free))
        )  # fmt: skip
        in_bytes = self.budget.weight_bytes
        most_in_bytes = in_bytes // BYTES_PER_NUMBER[self.budget.weight_format] if in_bytes else largest
        return min(largest, self.budget.params or largest, most_in_bytes)

    @cached_property
    def smallest(self) -> ResNetSpec:
        """A network with every number at its least, that fits."""
        return next(filter(self.fits, smallest_specs(self.space)))

    def decode(self, point: Mapping[str, Any]) -> ResNetSpec:
        """The spec of a proposal, always inside the space and the budget.

        The widths have the proposed growth, and are the largest whose parameters keep the proposed
        size: on a log scale between the least and the most of `space.fill`, as a share of the largest
        network of that shape that fits. A shape too deep for the budget at its narrowest loses
        blocks, then kernel size, until it fits.

        Args:
            point: A value for each of `space.dimensions()`.
        """
        shape = self._shape(point)
        widths, params = self._fitting_widths(shape, self._proportions(shape, point))
        if not len(widths):
            shape = self._shrink(shape)
            widths, params = self._fitting_widths(shape, self._proportions(shape, point))
        if not len(widths):
            return self._narrowest(shape)
        low, high = self._size_bounds(shape, int(params[-1]))
        # On a log scale equal steps of the size are equal factors of the parameters, at every scale of networks.
        most = ceil(low * (high / low) ** point.get("size", 1.0))
        # Wider rows need not have more parameters everywhere on the grid, so the last row that is small enough counts.
        small = np.flatnonzero(params <= min(int(params[-1]), most))
        return make_spec(self.space, widths[small[-1]].tolist(), **shape) if small.size else self._narrowest(shape)

    def encode(self, spec: ResNetSpec) -> dict[str, Any]:
        """The coordinates nearest to a spec, so that a sampler can learn from it; choices it has not are left out."""
        values: dict[str, Any] = {"stages": len(spec.channels), "first_stride": spec.strides[0]}
        values |= options_of(spec)
        values["pool"] = next((p for p in self.space.pool if clip_pool(p, spec.maps[-1]) == spec.pool_size), None)
        # Several choices may build the same network; the first of them stands for all.
        values["stem_width"] = next(
            (w for w in self.space.stem_width if spec.stem_channels == (w or spec.channels[0])), None
        )
        usual = FAMILIES[spec.block].expansion
        for i, (blocks, kernel, expansion, stride) in enumerate(
            zip(spec.blocks, spec.kernels, spec.expansions, spec.strides, strict=True), start=1
        ):
            values |= {f"blocks_{i}": blocks, f"kernel_{i}": kernel, f"stride_{i}": stride}
            values[f"expansion_{i}"] = next((e for e in self.space.expansions if (e or usual) == expansion), None)
        least, most = self.space.growth
        # Rounded widths may grow by a little more or less than a proposal can ask for.
        growth = [min(max(after / before, least), most) for before, after in pairwise(spec.channels)]
        values |= {f"growth_{i}": value for i, value in enumerate(growth, start=2)}
        relative = list(accumulate(growth, mul, initial=1.0))
        shape = _shape_of(spec)
        _, params = self._fitting_widths(shape, relative)
        low, high = self._size_bounds(shape, int(params[-1]) if len(params) else cost(self._narrowest(shape)).params)
        # The size solves params = low * (high / low) ** size, as `decode` has it.
        values["size"] = min(max(log(cost(spec).params / low) / log(high / low), 0.0), 1.0) if low < high else 1.0
        bounds = {d.name: d for d in self.space.dimensions()}
        return {name: v for name, v in values.items() if name in bounds and bounds[name].contains(v)}

    def _size_bounds(self, shape: Shape, largest: int) -> tuple[float, float]:
        """Least and most parameters a size from 0 to 1 stands for."""
        # Below the narrowest network there is nothing: without this floor many sizes would stand for the same one.
        low = max(self.space.fill[0] * largest, min(largest, cost(self._narrowest(shape)).params))
        return low, max(self.space.fill[1] * largest, low)

    def unseen(self, spec: ResNetSpec, seen: Collection[ResNetSpec | None]) -> ResNetSpec | None:
        """The spec itself, or the nearest feasible one not in `seen`; None when none is left.

        Distance is the number of single changes (one width, one block, one kernel, ...).
        """
        # Limits can cut a space in parts that single changes do not join: the smallest networks are other starts.
        reached: set[ResNetSpec] = set()
        for start in (spec, *filter(self.fits, smallest_specs(self.space))):
            for candidate in self._outward(start, reached):
                if candidate not in seen:
                    return candidate
        return None

    def _outward(self, start: ResNetSpec, reached: set[ResNetSpec]) -> Iterator[ResNetSpec]:
        edge = [start] if start not in reached else []  # breadth first: the nearest networks come first
        while edge:
            reached.update(edge)
            yield from edge
            near = dict.fromkeys(near for spec in edge for near in neighbors(self.space, spec))
            edge = [spec for spec in near if spec not in reached and self.fits(spec)]

    def _shape(self, point: Mapping[str, Any]) -> Shape:
        """The proposed network but for its widths."""
        space = self.space
        n = int(point.get("stages", space.stages[0]))
        strides = [point.get(f"stride_{i}", space.strides[0]) for i in range(2, n + 1)]
        expansions = [point.get(f"expansion_{i}", space.expansions[0]) for i in range(1, n + 1)]
        options = {name: point.get(name, getattr(space, name)[0]) for name in OPTIONS}
        expansions, options = settled(space, expansions, options)
        return {
            "blocks": tuple(int(point.get(f"blocks_{i}", space.blocks[0])) for i in range(1, n + 1)),
            "kernels": tuple(int(point.get(f"kernel_{i}", space.kernels[0])) for i in range(1, n + 1)),
            "expansions": expansions,
            "strides": (point.get("first_stride", space.first_stride[0]), *strides),
            "options": options,
        }

    def _proportions(self, shape: Shape, point: Mapping[str, Any]) -> list[float]:
        """Growths multiply up to the widths in proportion to the first; the size says what they are multiplied by."""
        growth = [point.get(f"growth_{i}", self.space.growth[0]) for i in range(2, len(shape["blocks"]) + 1)]
        return list(accumulate(growth, mul, initial=1.0))

    def _narrowest(self, shape: Shape) -> ResNetSpec:
        return make_spec(self.space, least_widths(self.space, len(shape["blocks"])), **shape)

    def _shrink(self, shape: Shape) -> Shape:
        """The shape, with blocks and kernels taken away until its narrowest network fits, or another that does."""
        # From the deepest stage, one at a time: the result stays as like the proposal as it can, so samplers can learn.
        while not self.fits(self._narrowest(shape)):
            smaller = self._one_smaller(shape)
            if smaller is None:
                return self._most_like(shape)
            shape = smaller
        return shape

    def _one_smaller(self, shape: Shape) -> Shape | None:
        expansion = min(choices_of(self.space, shape["options"]["block"], "expansions"))
        bounds = {"blocks": self.space.blocks[0], "kernels": min(self.space.kernels), "expansions": expansion}
        for name, least in bounds.items():
            values = list(shape[name])
            if max(values) > least:
                stage = values.index(max(values))
                values[stage] = values[stage] - 1 if name == "blocks" else least
                return {**shape, name: tuple(values)}
        return None

    def _most_like(self, shape: Shape) -> Shape:
        """Of the smallest networks that fit the one most like the shape."""
        options = self._clipped(shape)

        def unlikeness(spec: ResNetSpec) -> tuple[int, int]:
            differ = sum(getattr(spec, name) != value for name, value in options.items())
            return abs(len(spec.channels) - len(shape["blocks"])), differ

        best = min(filter(self.fits, smallest_specs(self.space)), key=unlikeness)
        return _shape_of(best)

    def _clipped(self, shape: Shape) -> dict[str, Any]:
        """The options of a shape, with a pool that its last map has."""
        size = map_sizes(self.space.image_size, (shape["options"]["stem_stride"], *shape["strides"]))[-1]
        return {**shape["options"], "pool": clip_pool(shape["options"]["pool"], size)}

    def _fitting_widths(self, shape: Shape, relative: Sequence[float]) -> tuple[Counts, Counts]:
        """Every multiple of these proportions that fits, narrowest first, shape (N, stages); and their parameters."""
        space, grid = self.space, width_grid(self.space)
        widths, _ = scaled_widths(relative, grid.step, grid[0], grid[-1])
        # Rounding, and the ends of the grid, may bend the proportions beyond what the space allows.
        widths = widths[growing(space, widths)]
        if not len(widths):
            return widths, np.zeros(0, np.int64)
        image = {name: getattr(space, name) for name in ("image_size", "in_channels", "classes")}
        parts = {name: shape[name] for name in PER_STAGE if name != "channels"}
        # One table for all multiples is cheaper than a binary search that counts them one by one.
        counted = cost_table(
            widths,
            **parts,
            **self._clipped(shape),
            **image,
            columns=columns_of(self.budget),
            latency=self.budget.latency_model,
        )
        fits = fits_table(counted, self.budget)
        return widths[fits], counted["params"][fits]


def growing(space: SearchSpace, widths: Counts) -> NDArray[np.bool_]:
    """Which rows of widths keep to the growth of the space; zeros at the end of a row are absent stages."""
    low, high = _growth_bounds(space)
    before, after = widths[:, :-1], widths[:, 1:]
    grows: NDArray[np.bool_] = ((after == 0) | (low[before] <= after) & (after <= high[before])).all(axis=1)
    return grows


@cache
def _growth_bounds(space: SearchSpace) -> Counts:
    """Narrowest and widest that may follow each width from 0 to the widest, shape (2, widest + 1)."""
    return np.array([growth_bounds(space, width) for width in range(width_grid(space)[-1] + 1)]).T


def _shape_of(spec: ResNetSpec) -> Shape:
    return {name: value for name, value in parts_of(spec).items() if name != "channels"}


def nothing_fits(space: SearchSpace, budget: Budget) -> NothingFitsError:
    """What to say where nothing of a space fits: its cheapest network, and what that needs."""

    def worst_share(spec: ResNetSpec) -> float:
        return max(m.used / m.limit for m in budget.check(spec).margins)

    cheapest = min(smallest_specs(space), key=worst_share)
    return NothingFitsError(
        f"nothing in the space fits: its cheapest network ({cheapest}) needs {budget.check(cheapest).excess}; "
        "raise the limit or allow narrower, shallower stages"
    )
