from __future__ import annotations

from typing import Any

import pytest

from nas_budget import Budget, cost
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.arch.spec import ResNetSpec, spec_from_dict, spec_from_json
from nas_budget.errors import SpecError, UsageError

SPEC = FamilySpec("a.b:C", (("depth", 2), ("kind", "x")), 8, 3, 4, params=100, macs=2_000, buffers=6)


def test_it_is_read_back_and_brings_its_cost_along() -> None:
    assert spec_from_json(SPEC.to_json()) == SPEC
    assert spec_from_dict(ResNetSpec((8,), blocks=1).to_dict()) == ResNetSpec((8,), blocks=1)
    used = cost(SPEC)
    assert (used.params, used.macs, used.weight_bytes["fp16"], used.depth) == (100, 2_000, 212, None)
    assert Budget(params=100, macs=1_999).check(SPEC).excess == "2,000 MACs (1,999 allowed)"


def test_whole_numbers_have_the_bytes_that_they_are_stored_in() -> None:
    stored = FamilySpec.from_dict({**SPEC.to_dict(), "values": {"depth": 3}, "integer_bytes": 50})
    assert cost(stored).weight_bytes == {"fp32": 4 * 106 + 50, "fp16": 2 * 106 + 50, "int8": 106 + 50}
    before = SPEC.to_dict()
    del before["integer_bytes"]
    assert FamilySpec.from_dict(before).integer_bytes == 0


def test_two_are_equal_by_values_and_images_whatever_they_cost() -> None:
    assert FamilySpec.from_dict({**SPEC.to_dict(), "params": 7}) == SPEC
    assert FamilySpec.from_dict({**SPEC.to_dict(), "image_size": 9}) != SPEC


def test_a_limit_on_activations_is_refused() -> None:
    with pytest.raises(UsageError, match="^activation_bytes: not counted for networks of a family"):
        Budget(activation_bytes=5).check(SPEC)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"params": -1}, "params: -1 is no count"),
        ({"macs": "3"}, "macs: '3' is no count"),
        ({"values": [1]}, "is no object of dimensions"),
        ({"values": {"depth": [1]}}, "are not all numbers"),
        ({"family": "plain"}, "is no package.module:Family"),
        ({"channels": [3]}, "channels: unknown field"),
    ],
)
def test_what_describes_no_network(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        spec_from_dict(SPEC.to_dict() | changes)
