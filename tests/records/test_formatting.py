from __future__ import annotations

import pytest

from nas_budget.records.formatting import ago_in_words, in_short


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"), (59, "just now"), (60, "1 min ago"), (3_599, "59 min ago"), (7_300, "2 h ago"),
        (47 * 3_600, "47 h ago"), (2 * 86_400, "2 days ago"), (400 * 86_400, "400 days ago"),
    ],
)  # fmt: skip
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago_in_words(seconds) == words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (12, "12"), (999, "999"), (1_000, "1k"), (11_925, "11.9k"), (150_000, "150k"), (999_700, "1M"),
        (4_907_445, "4.91M"), (5_000_000, "5M"), (226_502_006, "227M"), (3e9, "3G"),
    ],
)  # fmt: skip
def test_sizes_in_short(number: float, text: str) -> None:
    assert in_short(number) == text
