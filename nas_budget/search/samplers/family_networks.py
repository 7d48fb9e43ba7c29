"""`FamilyNetworks`: the networks of a family of the user's own that fit, for samplers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from math import ceil, log
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_budget.arch.budget import Budget
from nas_budget.arch.family_spec import Choice, FamilySpace, FamilySpec
from nas_budget.errors import NasBudgetError, NothingFitsError, UsageError
from nas_budget.search.samplers.network_space import Column
from nas_budget.space.dimensions import Dimension, family_dimensions
from nas_budget.space.network_rows import Rows
from nas_budget.train.modules.family import call_build
from nas_budget.train.profile.count_module import count_built
from nas_budget.train.profile.scale_to_budget import largest_fitting

MOST_DRAWN = 48
"""Networks that are drawn at once: each new one is built on the meta device to count it."""
LARGEST = 0.1
"""Share of them that counts as the largest in a family without a knob."""

Places = tuple[int, ...]
"""A network by the place of its choice in each dimension."""


class FamilyNetworks:
    """A `NetworkSpace` of the networks that a family builds.

    A proposal that does not fit is lowered: the knob first, to the largest choice that fits; where none does, another
    dimension by a choice, the one that is highest in its choices, and so on. The network of the first choices fits, so
    this ends. A combination for which `build` raises `ValueError` is taken for one that does not fit.

    Args:
        space: Dimensions of the family.
        budget: Limits on each network; bytes of activations are not counted.

    Raises:
        NothingFitsError: The network of the first choices does not fit; it says what that needs.
        NasBudgetError: A network cannot be built or counted.
    """

    def __init__(self, space: FamilySpace, budget: Budget) -> None:
        self.space, self.budget = space, budget
        self.names = [name for name, _ in space.choices]
        self.choices = [choices for _, choices in space.choices]
        self.knob = self.names.index(space.knob) if space.knob else None
        self.first = (0,) * len(self.names)
        smallest = self._at(self.first)
        if smallest is None:
            values = ", ".join(f"{name} {choices[0]}" for name, choices in space.choices)
            raise UsageError(f"family {space.family}: build raises ValueError for its first choices ({values})")
        if not self.fits(smallest):
            raise NothingFitsError(
                f"nothing of {space.family} fits for sure: the network of the first choices ({smallest.brief}) needs "
                f"{budget.check(smallest).excess}; raise the limit, or put cheaper choices first"
            )
        self.smallest = smallest

    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions that have several choices."""
        return family_dimensions(self.space)

    def fits(self, spec: FamilySpec) -> bool:
        """Whether the network keeps every limit."""
        return self.budget.check(spec).fits

    def decode(self, point: Mapping[str, Any]) -> FamilySpec:
        """The network of a proposal, lowered until it fits; a dimension without a value has its first choice."""
        return self._lowered(
            tuple(
                choices.index(point[name]) if name in point else 0
                for name, choices in zip(self.names, self.choices, strict=True)
            )
        )

    def decode_largest(self, point: Mapping[str, Any]) -> FamilySpec:
        """The same with the knob at its last choice that fits."""
        largest = {} if self.knob is None else {self.space.knob: self.choices[self.knob][-1]}
        return self.decode({**point, **largest})

    def encode(self, spec: FamilySpec) -> dict[str, Any]:
        """The values of the dimensions that have several choices."""
        known = dict(spec.values)
        return {d.name: known[d.name] for d in self.dimensions() if d.contains(known.get(d.name))}

    def unseen(self, spec: FamilySpec, seen: Collection[Any]) -> FamilySpec | None:
        """The spec itself, or the nearest one not in `seen` by steps to the next choice of a dimension that fit.

        The walk starts from the network of the first choices too. None when it has found no other.
        """
        reached: set[Places] = set()
        for start in (self._places(spec), self.first):
            edge = [start] if start not in reached else []
            while edge:
                reached.update(edge)
                for places in edge:
                    if (found := self._fitting(places)) and found not in seen:
                        return found
                near = dict.fromkeys(near for places in edge for near in self._neighbors(places))
                edge = [places for places in near if places not in reached and self._fitting(places)]
        return None

    def random(self, n: int, rng: np.random.Generator, sizes: tuple[float, float] = (0.0, 1.0)) -> Rows:
        """Up to 48 random networks: of those drawn, the ones from one share to another in the order of their sizes.

        Where the largest alone are asked for, the knob of each is at its last choice that fits.
        """
        n = min(n, MOST_DRAWN)
        drawn = np.column_stack([rng.integers(len(choices), size=n) for choices in self.choices])
        low, high = sizes
        if low == 1 and self.knob is not None:
            drawn[:, self.knob] = len(self.choices[self.knob]) - 1
            low, high = 0.0, 1.0
        specs = dict.fromkeys(self._lowered(tuple(places)) for places in drawn.tolist())
        ranked = sorted(specs, key=lambda spec: spec.params)
        first = min(int(low * len(ranked)), len(ranked) - max(1, round(LARGEST * len(ranked))))
        return self.rows(ranked[first : max(first + 1, ceil(high * len(ranked)))])

    def mutated(self, parents: Rows, rng: np.random.Generator) -> Rows:
        """Relatives of networks: one dimension at another choice, near ones likelier, then lowered to fit."""
        open_dimensions = [i for i, choices in enumerate(self.choices) if len(choices) > 1]
        places = np.column_stack([parents[name] for name in self.names])
        for row in places if open_dimensions else ():
            i = rng.choice(open_dimensions)
            step = 1 + rng.geometric(0.6) - 1
            row[i] = np.clip(row[i] + rng.choice((-step, step)), 0, len(self.choices[i]) - 1)
        return parents | self.rows([self._lowered(tuple(row)) for row in places.tolist()])

    def rows(self, specs: Sequence[FamilySpec]) -> Rows:
        """The place of each choice, parameters and MACs."""
        places = np.array([self._places(spec) for spec in specs], int).reshape(len(specs), len(self.names))
        counts = {name: np.array([getattr(spec, name) for spec in specs], int) for name in ("params", "macs")}
        return dict(zip(self.names, places.T, strict=True)) | counts

    def spec(self, rows: Rows, i: int) -> FamilySpec:
        """The network of a row."""
        found = self._at(tuple(int(rows[name][i]) for name in self.names))
        assert found is not None  # noqa: S101 - a row is made of a network
        return found

    def params(self, rows: Rows) -> NDArray[np.int64]:
        """Parameters of each row."""
        return rows["params"]

    def features(self, rows: Rows) -> Iterator[Column]:
        """Costs, and each dimension as a group: a number, its logarithm where all are above 0; a column a text."""
        yield "log_params", "cost", np.log(np.maximum(rows["params"], 1))
        yield "log_macs", "cost", np.log(np.maximum(rows["macs"], 1))
        for name, choices in self.space.choices:
            places = rows[name]
            if any(isinstance(choice, str) for choice in choices):
                for place, choice in enumerate(choices):
                    yield f"{name}_{choice}", name, (places == place).astype(float)
            else:
                values = np.array(choices, float)[places]
                yield name, name, np.log(values) if min(map(float, choices)) > 0 else values

    def size_bounds(self) -> tuple[float, float]:
        """Logarithms of the parameters of the first choices, and of the most that are allowed."""
        largest = self._at(tuple(len(choices) - 1 for choices in self.choices))
        limits = [self.budget.params, largest.params if largest else None]
        low = log(max(1, self.smallest.params))
        return low, max(low, log(min(filter(None, limits), default=self.smallest.params)))

    def share_fitting(self, n: int, rng: Random) -> float:
        """Share of networks that fit of up to 48 that are drawn without regard to the budget."""
        n = min(n, MOST_DRAWN)
        return sum(self._fitting(tuple(rng.randrange(len(c)) for c in self.choices)) is not None for _ in range(n)) / n

    def queued(self, values: Mapping[str, Any]) -> FamilySpec:
        """The network of these values, of all dimensions or of a spec, to be trained first.

        Raises:
            UsageError: Values that the family has not, or a network that does not fit.
        """
        given = values.get("values", values)
        for name, choices in self.space.choices:
            if given.get(name) not in choices:
                allowed = ", ".join(map(str, choices))
                raise UsageError(f"search.queue: {name} is {given.get(name)!r}; one of {allowed} is allowed")
        if unknown := [name for name in given if name not in self.names]:
            raise UsageError(f"search.queue: {unknown[0]} is no dimension; known are {', '.join(self.names)}")
        pairs = zip(self.names, self.choices, strict=True)
        spec = self._at(tuple(choices.index(given[name]) for name, choices in pairs))
        if spec is None or not self.fits(spec):
            needs = "cannot be built" if spec is None else f"needs {self.budget.check(spec).excess}"
            raise UsageError(f"search.queue: {dict(given)} {needs}; make it smaller, or leave it out")
        return spec

    def _lowered(self, places: Places) -> FamilySpec:
        while (found := self._with_knob(places)) is None:
            others = [i for i in range(len(places)) if i != self.knob and places[i]]
            # The one that is highest in its choices: what comes out is as like the proposal as it can be.
            i = max(others, key=lambda i: places[i] / (len(self.choices[i]) - 1))
            places = (*places[:i], places[i] - 1, *places[i + 1 :])
        return found

    def _with_knob(self, places: Places) -> FamilySpec | None:
        """The network of these places where it fits, or with the knob at its largest place below that does."""
        if (found := self._fitting(places)) or self.knob is None:
            return found
        knob = self.knob

        def at(place: int) -> FamilySpec | None:
            return self._fitting((*places[:knob], place, *places[knob + 1 :]))

        place = largest_fitting(lambda place: at(place) is not None, places[knob])
        return None if place is None else at(place)

    def _fitting(self, places: Places) -> FamilySpec | None:
        found = self._at(places)
        return found if found and self.fits(found) else None

    def _at(self, places: Places) -> FamilySpec | None:
        chosen = zip(self.names, self.choices, places, strict=True)
        return counted(self.space, tuple((name, choices[place]) for name, choices, place in chosen))

    def _places(self, spec: FamilySpec) -> Places:
        values = dict(spec.values)
        return tuple(choices.index(values[name]) for name, choices in self.space.choices)

    def _neighbors(self, places: Places) -> Iterator[Places]:
        for i, place in enumerate(places):
            for near in (place + 1, place - 1):
                if 0 <= near < len(self.choices[i]):
                    yield (*places[:i], near, *places[i + 1 :])


@cache
def counted(space: FamilySpace, values: tuple[tuple[str, Choice], ...]) -> FamilySpec | None:
    """The network of these values with its cost; None where `build` raises `ValueError`. Each is counted once.

    Raises:
        NasBudgetError: It cannot be built or run, or returns no logits.
    """
    refused, others = [], list[str]()

    def build() -> object:
        try:
            return _watched(call_build(space, dict(values)), others)
        except ValueError:
            refused.append(values)
            raise

    name = f"{space.family}, {', '.join(f'{name} {value}' for name, value in values)}"
    try:
        used = count_built(build, (space.in_channels, space.image_size, space.image_size), name)
    except NasBudgetError:
        if refused:
            return None
        raise
    if others:
        raise UsageError(f"{name}: returns a {others[0]}; return one tensor, the logits of {space.classes} classes")
    if used.out_shape != (space.classes,):
        raise UsageError(f"{name}: returns {used.out_shape} of an image, not logits of {space.classes} classes")
    if not used.params:
        raise UsageError(f"{name}: has no trainable parameters")
    floats = used.weight_bytes["int8"] - used.integer_bytes  # a byte each; what is frozen may be whole numbers too
    return FamilySpec(
        space.family, values, space.image_size, space.in_channels, space.classes,
        params=used.params, macs=used.macs, buffers=floats - used.params, layers=used.layers,
        elements=used.elements, integer_bytes=used.integer_bytes,
    )  # fmt: skip


def _watched(built: object, others: list[str]) -> object:
    """The same, noting the type of what it returns where that is no tensor."""

    def note(_module: nn.Module, _inputs: Any, output: object) -> None:
        if not isinstance(output, Tensor):
            others.append(type(output).__name__)

    if isinstance(built, nn.Module):
        built.register_forward_hook(note)
    return built
