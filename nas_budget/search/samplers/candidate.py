"""`Candidate`: a network and its recipe, and the spaces that hold all candidates of a search."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.spec import AnySpec, spec_from_dict
from nas_budget.search.samplers.network_space import NetworkSpace
from nas_budget.space.dimensions import Dimension
from nas_budget.space.network_rows import Rows, n_rows
from nas_budget.train.optim.recipe import Recipe

RANGES = ("learning_rate", "weight_decay")
"""What a recipe may leave open between two values."""
CHOICES = ("batch_size", "optimizer")
"""What it may leave open as a list."""
CHANGED = 0.3
"""Probability that a relative of a candidate has another value of an open field of the recipe."""


@dataclass(frozen=True)
class Candidate:
    """A network and the recipe that trains it.

    Two equal candidates are trained in the same way, so a search tries only one of them.

    Attributes:
        spec: The network.
        recipe: How it is trained.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> candidate = Candidate(ResNetSpec((8, 16), blocks=1), Recipe(epochs=3))
        >>> Candidate.from_dict(candidate.to_dict()) == candidate
        True
    """

    spec: AnySpec
    recipe: Recipe

    def to_dict(self) -> dict[str, Any]:
        """The candidate as plain values."""
        return {"spec": self.spec.to_dict(), "recipe": dict(vars(self.recipe))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        """The candidate of plain values."""
        return cls(spec_from_dict(values["spec"]), Recipe(**values["recipe"]))


@dataclass(frozen=True)
class RecipeSpace:
    """A recipe and what of it may vary.

    Attributes:
        base: The recipe; its values hold where nothing varies.
        ranges: Least and most value of a number, by the recipe's field; searched on a log scale.
        choices: Values to choose from, by the recipe's field.

    Examples:
        >>> space = RecipeSpace(Recipe(), {"learning_rate": (0.01, 0.4)}, {"optimizer": ("sgd", "muon")})
        >>> [dimension.name for dimension in space.dimensions()]
        ['learning_rate', 'optimizer']
        >>> space.decode({"learning_rate": 0.1234, "optimizer": "muon"}).learning_rate
        0.12
        >>> space.decode({}).learning_rate  # the middle, on a log scale
        0.063
    """

    base: Recipe
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values, with a list for what may vary."""
        return asdict(self.base) | {
            name: list(values) for name, values in (*self.ranges.items(), *self.choices.items())
        }

    def dimensions(self) -> tuple[Dimension, ...]:
        """The coordinates of a proposal."""
        ranges = [Dimension(name, low, high, log=True) for name, (low, high) in self.ranges.items() if low < high]
        return (*ranges, *(Dimension(name, choices=values) for name, values in self.choices.items() if len(values) > 1))

    def random(self, n: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """`n` random values for each field that may vary."""
        drawn: dict[str, NDArray[Any]] = {
            name: np.exp(rng.uniform(log(low), log(high), n)) for name, (low, high) in self.ranges.items()
        }
        return drawn | {name: rng.choice(values, n) for name, values in self.choices.items()}

    def decode(self, point: Mapping[str, Any]) -> Recipe:
        """The recipe of a proposal; numbers of a range are rounded to two digits, so that recipes can be equal.

        What is not proposed is the middle of its range, or the first of its choices.
        """
        middles = {name: (low * high) ** 0.5 for name, (low, high) in self.ranges.items()}
        open_values: dict[str, Any] = {
            name: float(f"{point.get(name, middle):.1e}") for name, middle in middles.items()
        }
        return replace(
            self.base, **open_values, **{name: point.get(name, values[0]) for name, values in self.choices.items()}
        )


@dataclass(frozen=True)
class CandidateSpace:
    """Every candidate that a search may try: a network that fits, with any recipe of a recipe space.

    Attributes:
        networks: Those inside the budget.
        recipes: Recipes they may be trained by.

    Examples:
        >>> from nas_budget import Budget, SearchSpace, cost
        >>> from nas_budget.search.samplers.resnet_networks import ResNetNetworks
        >>> networks = ResNetNetworks(SearchSpace(stages=(2, 2)), Budget(params=20_000))
        >>> space = CandidateSpace(networks, RecipeSpace(Recipe()))
        >>> candidate = space.decode({"size": 1.0, "growth_2": 2.0})
        >>> cost(candidate.spec).params <= 20_000
        True
        >>> space.unseen(candidate, seen={candidate}) == candidate
        False
    """

    networks: NetworkSpace
    recipes: RecipeSpace

    def dimensions(self) -> tuple[Dimension, ...]:
        """The coordinates of a proposal: those of the network, then those of the recipe."""
        return (*self.networks.dimensions(), *self.recipes.dimensions())

    def decode(self, point: Mapping[str, Any]) -> Candidate:
        """The candidate of a proposal, always inside space and budget."""
        return Candidate(self.networks.decode(point), self.recipes.decode(point))

    def encode(self, candidate: Candidate) -> dict[str, Any]:
        """The coordinates nearest to a candidate; those it has no value for are left out."""
        recipe = {d.name: getattr(candidate.recipe, d.name) for d in self.recipes.dimensions()}
        inside = {d.name: recipe[d.name] for d in self.recipes.dimensions() if d.contains(recipe[d.name])}
        return self.networks.encode(candidate.spec) | inside

    def random(self, n: int, rng: np.random.Generator, sizes: tuple[float, float] = (0.0, 1.0)) -> Rows:
        """Up to `n` random candidates as rows: sizes spread evenly between two on a log scale, a random recipe each."""
        rows = self.networks.random(n, rng, sizes)
        return rows | self.recipes.random(n_rows(rows), rng)

    def mutated(self, parents: Rows, rng: np.random.Generator) -> Rows:
        """Relatives of candidates: the network changed, and at times what the recipe leaves open."""
        rows = self.networks.mutated(parents, rng)
        n = n_rows(rows)
        for name, drawn in self.recipes.random(n, rng).items():
            rows[name] = np.where(rng.random(n) < CHANGED, drawn, rows[name])
        return rows

    def rows(self, candidates: Sequence[Candidate]) -> Rows:
        """Candidates as rows."""
        open_fields = (*self.recipes.ranges, *self.recipes.choices)
        recipes = {name: np.array([getattr(one.recipe, name) for one in candidates]) for name in open_fields}
        return self.networks.rows([one.spec for one in candidates]) | recipes

    def candidate(self, rows: Rows, i: int) -> Candidate:
        """The candidate of a row."""
        open_fields = (*self.recipes.ranges, *self.recipes.choices)
        recipe = self.recipes.decode({name: rows[name][i].item() for name in open_fields})
        return Candidate(self.networks.spec(rows, i), recipe)

    def unseen(self, candidate: Candidate, seen: Collection[Candidate]) -> Candidate | None:
        """The candidate itself, or the one with the nearest network not seen with its recipe; None if none is left."""
        if candidate not in seen:
            return candidate
        taken = {other.spec for other in seen if other.recipe == candidate.recipe}
        spec = self.networks.unseen(candidate.spec, taken)
        return None if spec is None else replace(candidate, spec=spec)
