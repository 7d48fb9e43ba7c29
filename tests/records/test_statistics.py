"""How sure an accuracy is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.records.statistics import half_width, interval


@pytest.mark.parametrize(
    ("right", "images", "low", "high"), [(81, 263, 0.2553, 0.3662), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]
)
def test_the_interval_is_wilsons(right: int, images: int, low: float, high: float) -> None:
    # values of Newcombe 1998, table I, method 3
    assert interval(right / images, images) == pytest.approx((low, high), abs=5e-5)


@given(st.floats(0, 1), st.integers(0, 10**6))
def test_it_lies_about_the_share_and_within_all(share: float, images: int) -> None:
    low, high = interval(share, images)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert half_width(share, images) > 0
