"""`Features`: what a model of accuracy knows of a network and its recipe, as standardized numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.search.samplers.candidate import CHOICES, RANGES
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.network_rows import Rows, count_rows
from nas_budget.train.optim.recipe import CHOICES as RECIPE_CHOICES

Floats = NDArray[np.float64]
OPTIMIZERS = RECIPE_CHOICES["optimizer"]


class Features:
    """Numbers that say what matters of a network: its cost, widths, depth, kernels, resolution, and its recipe.

    Costs, widths and depth are logarithms: a step of the same factor matters about as much at every scale. Each column
    has mean 0 and standard deviation 1 over the reference rows. Columns that are constant there are left out. Columns
    that say the same kind of thing form a group. A kernel with a length scale for each group can tell what matters from
    few trials.

    Args:
        feasible: Space and budget.
        rows: Networks and recipes as reference; they should cover the space.

    Attributes:
        groups: Group of each column, 0, 1, ..., shape (columns,).
        names: Name of each column.
    """

    def __init__(self, feasible: FeasibleSpace, rows: Rows) -> None:
        self.feasible = feasible
        found = [(name, group, values) for name, group, values in self._columns(rows) if np.ptp(values) > 1e-9]
        self.names = tuple(name for name, _, _ in found)
        kinds = sorted({group for _, group, _ in found})
        self.groups = np.array([kinds.index(group) for _, group, _ in found], int)
        self.log_size = float(next(self._columns(rows))[2].mean())
        table = np.array([values for _, _, values in found]).reshape(len(found), len(rows["pool"]))
        self.mean, self.scale = table.mean(axis=1), table.std(axis=1)

    def __call__(self, rows: Rows) -> Floats:
        """The features of networks and recipes, shape (N, columns)."""
        columns = {name: values for name, _, values in self._columns(rows) if name in self.names}
        table = np.array([columns[name] for name in self.names]).reshape(len(self.names), len(rows["pool"]))
        standardized: Floats = (table.T - self.mean) / self.scale
        return standardized

    def log_params(self, features: Floats) -> Floats:
        """The logarithms of the parameters of networks with these features."""
        if "log_params" not in self.names:  # all networks of the space have one size
            return np.full(len(features), self.log_size)
        i = self.names.index("log_params")
        sizes: Floats = features[:, i] * self.scale[i] + self.mean[i]
        return sizes

    def _columns(self, rows: Rows) -> Iterator[tuple[str, str, Floats]]:
        """Name, group and values of each column."""
        counted = count_rows(self.feasible.space, rows, self.feasible.budget, "macs")
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
        strides = np.log2(rows["strides"])
        yield "first_stride", "resolution", strides[:, 0]
        yield "log_reduction", "resolution", strides.sum(axis=1)
        yield "log_pool", "head", np.log(rows["pool"])
        yield "stem_kernel", "head", np.log(rows["stem_kernel"])
        yield "shortcut_kernel", "head", np.log(rows["shortcut_kernel"])
        stem = np.where(rows["stem_width"] == 0, widths[:, 0], rows["stem_width"])
        yield "log_stem", "head", np.log(stem / widths[:, 0])
        for block in self.feasible.space.block:
            yield f"block_{block}", "block", (rows["block"] == block).astype(float)
        yield "has_se", "block", (rows["se_reduction"] > 0).astype(float)
        yield "log_se", "block", np.log(np.maximum(rows["se_reduction"], 1))
        for name in RANGES + CHOICES:
            if name in rows:
                yield from _recipe_columns(name, rows[name])


def _recipe_columns(name: str, values: NDArray[Any]) -> Iterator[tuple[str, str, Floats]]:
    if np.issubdtype(values.dtype, np.number):
        yield name, name, np.log(np.maximum(values.astype(float), 1e-12))
    else:
        for choice in OPTIMIZERS:
            yield f"{name}_{choice}", name, (values == choice).astype(float)
