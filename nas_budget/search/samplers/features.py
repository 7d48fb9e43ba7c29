"""`Features`: what a model of accuracy knows of a network and its recipe, as standardized numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.search.samplers.candidate import CHOICES, RANGES
from nas_budget.search.samplers.network_space import NetworkSpace
from nas_budget.space.network_rows import Rows, n_rows
from nas_budget.train.optim.recipe import CHOICES as RECIPE_CHOICES

Floats = NDArray[np.float64]
OPTIMIZERS = RECIPE_CHOICES["optimizer"]


class Features:
    """Numbers that say what matters of a network, such as its cost, widths and depth, and of its recipe.

    Costs, widths and depth are logarithms: a step of the same factor matters about as much at every scale. Each column
    has mean 0 and standard deviation 1 over the reference rows. Columns that are constant there are left out. Columns
    that say the same kind of thing form a group. A kernel with a length scale for each group can tell what matters from
    few trials.

    Args:
        networks: What a search may propose.
        rows: Networks and recipes as reference; they should cover the space.

    Attributes:
        groups: Group of each column, 0, 1, ..., shape (columns,).
        names: Name of each column.
    """

    def __init__(self, networks: NetworkSpace, rows: Rows) -> None:
        self.networks = networks
        found = [(name, group, values) for name, group, values in self._columns(rows) if np.ptp(values) > 1e-9]
        self.names = tuple(name for name, _, _ in found)
        kinds = sorted({group for _, group, _ in found})
        self.groups = np.array([kinds.index(group) for _, group, _ in found], int)
        self.log_size = float(next(self._columns(rows))[2].mean())
        table = np.array([values for _, _, values in found]).reshape(len(found), n_rows(rows))
        self.mean, self.scale = table.mean(axis=1), table.std(axis=1)

    def __call__(self, rows: Rows) -> Floats:
        """The features of networks and recipes, shape (N, columns)."""
        columns = {name: values for name, _, values in self._columns(rows) if name in self.names}
        table = np.array([columns[name] for name in self.names]).reshape(len(self.names), n_rows(rows))
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
        yield from self.networks.features(rows)
        for name in RANGES + CHOICES:
            if name in rows:
                yield from _recipe_columns(name, rows[name])


def _recipe_columns(name: str, values: NDArray[Any]) -> Iterator[tuple[str, str, Floats]]:
    if np.issubdtype(values.dtype, np.number):
        yield name, name, np.log(np.maximum(values.astype(float), 1e-12))
    else:
        for choice in OPTIMIZERS:
            yield f"{name}_{choice}", name, (values == choice).astype(float)
