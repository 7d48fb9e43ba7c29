from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.records.formatting import ago_in_words, decimals, in_short, percent, percent_with_interval, time_text
from nas_budget.records.statistics import interval

AGES = {
    -5: "just now", 59: "just now", 60: "1 min ago", 3_599: "59 min ago", 7_300: "2 h ago", 47 * 3_600: "47 h ago",
    2 * 86_400: "2 days ago", 400 * 86_400: "400 days ago",
}  # fmt: skip
SIZES = {
    12: "12", 999: "999", 1_000: "1k", 11_925: "11.9k", 150_000: "150k", 999_700: "1M", 4_907_445: "4.91M",
    5_000_000: "5M", 226_502_006: "227M", 3e9: "3G",
}  # fmt: skip
TIMES = {7_200: "2h", 5_400: "90m", 5_401: "5401s", 45: "45s", 0.5: "0.5s", 86_400: "24h"}


@pytest.mark.parametrize(
    ("in_words", "number", "text"),
    [
        *((ago_in_words, seconds, text) for seconds, text in AGES.items()),
        *((in_short, number, text) for number, text in SIZES.items()),
        *((time_text, seconds, text) for seconds, text in TIMES.items()),
    ],
)
def test_durations_and_sizes_in_words(in_words: Callable[[float], str], number: float, text: str) -> None:
    assert in_words(number) == text


@given(images=st.integers(1, 10**6), data=st.data())
def test_an_accuracy_shows_no_digit_finer_than_one_image(images: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, images))
    finest = 10.0 ** -(decimals(images) + 2)
    assert finest >= 1 / images or decimals(images) == 0
    assert abs(float(percent(right / images, images)[:-1]) / 100 - right / images) <= finest / 2 + 1e-12


@given(images=st.integers(10_000, 10**6), data=st.data())
def test_behind_the_sign_stands_half_of_the_interval(images: int, data: st.DataObject) -> None:
    share = data.draw(st.integers(0, images)) / images
    low, high = interval(share, images)
    half = percent_with_interval(share, images).split(" ± ")[1]
    assert float(half[:-1]) / 100 == pytest.approx((high - low) / 2, abs=0.00005)
