"""`NetworkSpace`: what samplers ask of the networks that a search may propose."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas_budget.space.dimensions import Dimension
from nas_budget.space.network_rows import Rows

Column = tuple[str, str, NDArray[np.float64]]
"""Name, group and values of a feature of some networks, one value each."""


class NetworkSpace(Protocol):
    """Networks that keep a budget, as specs and as rows of arrays.

    A spec stands for one network: it can be hashed and compared, and `arch.cost.cost` knows its cost. Whatever a space
    returns fits. Rows are what a model asks about many networks at once.
    """

    def dimensions(self) -> tuple[Dimension, ...]:
        """The coordinates of a proposal."""

    def decode(self, point: Mapping[str, Any]) -> Any:
        """The spec of a proposal, always inside the budget; the same for the same point."""

    def decode_largest(self, point: Mapping[str, Any]) -> Any:
        """The same, as large as fits."""

    def encode(self, spec: Any) -> dict[str, Any]:
        """The coordinates nearest to a spec; those it has no value for are left out."""

    def unseen(self, spec: Any, seen: Collection[Any]) -> Any | None:
        """The spec itself, or the nearest one not in `seen`; None when none is left."""

    def random(self, n: int, rng: np.random.Generator, sizes: tuple[float, float] = (0.0, 1.0)) -> Rows:
        """Up to `n` random networks, their sizes between two shares: 0 is the smallest, 1 the largest that fits."""

    def mutated(self, parents: Rows, rng: np.random.Generator) -> Rows:
        """Relatives of networks, of each at most one; fields that a space does not know travel along."""

    def rows(self, specs: Sequence[Any]) -> Rows:
        """The rows of specs."""

    def spec(self, rows: Rows, i: int) -> Any:
        """The spec of a row."""

    def params(self, rows: Rows) -> NDArray[np.int64]:
        """Parameters of each row."""

    def features(self, rows: Rows) -> Iterator[Column]:
        """What a model of accuracy may know of the networks; the first column is the logarithm of their parameters."""

    def size_bounds(self) -> tuple[float, float]:
        """Logarithms of the least and the most parameters of networks to propose."""

    def share_fitting(self, n: int, rng: Random) -> float:
        """Share of `n` networks that fit, drawn without regard to the budget."""
