"""How sure an accuracy is that was measured on so many images."""

from __future__ import annotations

from math import sqrt

DEVIATIONS = 1.959964
"""Of a normal distribution, within which 95 % of it lie."""


def interval(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a accuracy on so many images (Wilson 1927), within 0 and 1; all of that for no image."""
    if images < 1:
        return 0.0, 1.0
    z2 = DEVIATIONS**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = DEVIATIONS * sqrt(share * (1 - share) / images + z2 / (4 * images**2)) / (1 + z2 / images)
    return max(0.0, middle - half), min(1.0, middle + half)


def half_width(share: float, images: int) -> float:
    """Half of that interval."""
    low, high = interval(share, images)
    return (high - low) / 2
