from __future__ import annotations

import random
from collections.abc import Callable
from math import log

import numpy as np
import pytest

from nas_budget.search.samplers.evolution import mutated
from nas_budget.space.dimensions import Dimension
from tests.search.samplers.spaces import BUDGET, space_of


def test_a_mutation_changes_something_and_stays_inside() -> None:
    rng, space = random.Random(0), space_of()
    values = {d.name: d.choices[0] if d.choices else d.low for d in space.dimensions()}
    point = values | space.encode(space.decode({}))
    for _ in range(200):
        other = mutated(point, space.dimensions(), rng)
        assert all(d.contains(other[d.name]) for d in space.dimensions())
        assert BUDGET.check(space.decode(other).spec).fits


@pytest.mark.parametrize(
    ("dimension", "value", "moved"),
    [
        (Dimension("a", 0, 1), 0.5, lambda value: value - 0.5),
        (Dimension("a", 1, 100, log=True), 10.0, lambda value: log(value / 10) / log(100)),
        (Dimension("a", 0, 100, whole=True), 50, lambda value: (value - 50) / 100),
    ],
    ids=["linear", "log", "whole"],
)
def test_a_number_moves_by_a_fifth_of_its_range(
    dimension: Dimension, value: float, moved: Callable[[float], float]
) -> None:
    """One coordinate is changed once, or again with a probability of 0.4: 1 / 0.6 changes in the mean."""
    rng = random.Random(0)
    moves = [moved(mutated({"a": value}, [dimension], rng)["a"]) for _ in range(2_000)]
    assert np.mean(moves) == pytest.approx(0, abs=0.03)
    assert np.std(moves) == pytest.approx(0.2 / 0.6**0.5, rel=0.15)  # a little less: it stays within its range


def test_a_choice_becomes_another() -> None:
    rng = random.Random(0)
    found = {mutated({"a": "x"}, [Dimension("a", choices=("x", "y"))], rng)["a"] for _ in range(50)}
    assert found == {"x", "y"}  # changed once, or twice and so back again
