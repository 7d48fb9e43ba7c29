"""`ResNetNetworks`: the residual networks of a space that fit, for samplers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.blocks import FAMILIES
from nas_budget.arch.spec import LATER, ResNetSpec
from nas_budget.search.samplers.network_space import Column
from nas_budget.space.dimensions import Dimension
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.network_rows import Rows, count_rows, rows_of, spec_of
from nas_budget.space.random_networks import mutated_networks, random_networks, size_bounds
from nas_budget.space.space import OPTIONS
from nas_budget.space.spec_factory import make_spec, snap_width, stride_patterns


class ResNetNetworks(FeasibleSpace):
    """A `FeasibleSpace` with what a `NetworkSpace` has beside: rows, relatives and features.

    Examples:
        >>> from nas_budget import Budget, SearchSpace
        >>> networks = ResNetNetworks(SearchSpace(stages=(2, 2), width=(4, 64)), Budget(params=20_000))
        >>> rows = networks.random(50, np.random.default_rng(0))
        >>> networks.fits(networks.spec(rows, 0)), int(networks.params(rows).max()) <= 20_000
        (True, True)
    """

    def dimensions(self) -> tuple[Dimension, ...]:
        """The coordinates of a proposal."""
        return self.space.dimensions()

    def decode_largest(self, point: Mapping[str, Any]) -> ResNetSpec:
        """The spec of a proposal, as large as fits."""
        return self.decode({**point, "size": 1.0})

    def random(self, n: int, rng: np.random.Generator, sizes: tuple[float, float] = (0.0, 1.0)) -> Rows:
        """Up to `n` random networks as rows, their sizes spread evenly between two on a log scale."""
        return random_networks(self, n, rng, sizes)

    def mutated(self, parents: Rows, rng: np.random.Generator) -> Rows:
        """Relatives of networks, of each at most one."""
        return mutated_networks(self, parents, rng)

    def rows(self, specs: Sequence[ResNetSpec]) -> Rows:
        """The rows of specs."""
        return rows_of(self.space, specs)

    def spec(self, rows: Rows, i: int) -> ResNetSpec:
        """The spec of a row."""
        return spec_of(self.space, rows, i)

    def params(self, rows: Rows) -> NDArray[np.int64]:
        """Parameters of each row."""
        return count_rows(self.space, rows, self.budget)["params"]

    def features(self, rows: Rows) -> Iterator[Column]:
        """Cost, widths, depth, kernels, resolution, head and block of each row."""
        counted = count_rows(self.space, rows, self.budget, "macs")
        yield "log_params", "cost", np.log(counted["params"])
        yield "log_macs", "cost", np.log(counted["macs"])
        widths, present = rows["channels"], rows["channels"] > 0
        # An absent stage has the width of the last one: the same network, had it one stage more of no block.
        filled = np.maximum.accumulate(np.where(present, np.arange(widths.shape[1]), 0), axis=1)
        for i, log_width in enumerate(np.log(np.take_along_axis(widths, filled, axis=1)).T, start=1):
            yield f"log_width_{i}", "widths", log_width
        blocks = np.where(present, rows["blocks"], 0)
        depth = blocks.sum(axis=1)
        yield "log_blocks", "depth", np.log(depth)
        yield "mean_stage", "depth", blocks @ np.arange(widths.shape[1]) / depth  # where the blocks are
        yield "stages", "depth", present.sum(axis=1).astype(float)
        yield "log_kernel", "kernels", (blocks * np.log(rows["kernels"])).sum(axis=1) / depth
        usual = np.array([FAMILIES[block].expansion or 1 for block in rows["block"].tolist()])[:, None]
        expanded = np.log(np.where(rows["expansions"] == 0, usual, rows["expansions"]) / usual)
        yield "log_expansion", "block", (blocks * expanded).sum(axis=1) / depth
        strides = np.log2(rows["strides"])
        yield "first_stride", "resolution", strides[:, 0]
        yield "log_reduction", "resolution", strides.sum(axis=1) + np.log2(rows["stem_stride"])
        yield "stem_stride", "resolution", np.log2(rows["stem_stride"])
        yield "log_pool", "head", np.log(rows["pool"])
        yield "stem_kernel", "head", np.log(rows["stem_kernel"])
        yield "shortcut_kernel", "head", np.log(rows["shortcut_kernel"])
        stem = np.where(rows["stem_width"] == 0, widths[:, 0], rows["stem_width"])
        yield "log_stem", "head", np.log(stem / widths[:, 0])
        yield "has_head", "head", (rows["head_width"] > 0).astype(float)
        yield "log_head", "head", np.log(np.maximum(rows["head_width"], 1))
        for activation in self.space.activation:
            yield f"activation_{activation}", "activation", (rows["activation"] == activation).astype(float)
        yield "log_groups", "block", np.log(rows["groups"])
        for block in self.space.block:
            yield f"block_{block}", "block", (rows["block"] == block).astype(float)
        yield "has_se", "block", (rows["se_reduction"] > 0).astype(float)
        yield "log_se", "block", np.log(np.maximum(rows["se_reduction"], 1))

    def size_bounds(self) -> tuple[float, float]:
        """Logarithms of the least and the most parameters of networks to propose."""
        return size_bounds(self)

    def share_fitting(self, n: int, rng: Random) -> float:
        """Share of `n` networks that fit, drawn as other tools draw them: each width on its own, whatever it costs."""
        return sum(self.fits(self._drawn(rng)) for _ in range(n)) / n

    def _drawn(self, rng: Random) -> ResNetSpec:
        space = self.space
        n = rng.randint(*space.stages)
        return make_spec(
            space,
            [snap_width(space, rng.uniform(*space.width)) for _ in range(n)],
            [rng.randint(*space.blocks) for _ in range(n)],
            [rng.choice(space.kernels) for _ in range(n)],
            strides=rng.choice([*stride_patterns(space, n)]),
            options={name: _one_of(getattr(space, name), rng, name in LATER) for name in OPTIONS},
            expansions=[_one_of(space.expansions, rng, True) for _ in range(n)],
        )


def _one_of(values: Sequence[Any], rng: Random, sparing: bool) -> Any:
    """One of some values at random; where there is only one, `sparing` draws no random number for it."""
    return values[0] if sparing and len(values) == 1 else rng.choice(values)
