"""The bounds of a space, and the coordinates that they give."""

from __future__ import annotations

from typing import Any

import pytest

from nas_budget.errors import SpecError
from nas_budget.space.space import SearchSpace


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": (4, 3)},
        {"blocks": (0, 2)},
        {"kernels": (2,)},
        {"kernels": ()},
        {"pool": (0,)},
        {"width": (9, 15), "width_step": 8, "fill": (0.5, 2.0)},
        {"growth": (0.0, 2.0)},
    ],
)
def test_bounds_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        SearchSpace(**wrong)


def test_single_values_are_no_coordinates() -> None:
    space = SearchSpace(stages=(3, 3), blocks=(2, 2), kernels=(3,), pool=(2,), shortcut_kernel=(1,), growth=(2.0, 2.0))
    assert [d.name for d in space.dimensions()] == ["size"]
