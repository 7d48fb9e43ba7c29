from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.search.samplers.candidate import Candidate
from tests.search.samplers.spaces import space_of


def test_a_network_may_come_again_with_another_recipe_only() -> None:
    space = space_of()
    first = space.decode({"size": 0.5})
    seen = {first}
    nearest = space.unseen(first, seen)
    assert nearest is not None
    assert nearest.spec != first.spec
    other = space.decode({"size": 0.5, "batch_size": 128})
    assert other.spec == first.spec
    assert space.unseen(other, seen) == other


@given(st.floats(0.01, 0.4), st.sampled_from([32, 64, 128]), st.floats(0, 1))
def test_coordinates_of_a_candidate_lead_back_to_its_recipe(rate: float, batch: int, size: float) -> None:
    space = space_of()
    candidate = space.decode({"learning_rate": rate, "batch_size": batch, "size": size})
    assert candidate.recipe.learning_rate == pytest.approx(rate, rel=0.06)
    point = space.encode(candidate)
    assert space.recipes.decode(point) == candidate.recipe
    assert Candidate.from_dict(candidate.to_dict()) == candidate
