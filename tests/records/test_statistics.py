"""The interval of an accuracy, and the Pareto front."""

from __future__ import annotations

from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.records.statistics import half_width, interval, pareto_front


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


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5))))
def test_the_pareto_front_holds_what_no_other_beats(points: list[tuple[int, int]]) -> None:
    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a != b and a[0] <= b[0] and a[1] >= b[1]

    front = pareto_front(points, itemgetter(0), itemgetter(1))
    assert front == sorted({point for point in points if not any(beats(other, point) for other in points)})


def test_of_equals_the_first_is_on_the_front() -> None:
    assert pareto_front(["b1", "a1", "c2"], lambda item: int(item[1]), lambda _: 0.5) == ["b1"]
