"""Statistics of trials: the interval of an accuracy, and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, sqrt
from typing import TypeVar

Item = TypeVar("Item")

DEVIATIONS = 1.959964
"""Of a normal distribution, within which 95 % of it lie."""


def interval(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy that was measured on so many images (Wilson 1927); (0, 1) for no image.

    Examples:
        >>> low, high = interval(0.5, 100)
        >>> f"{low:.3f} to {high:.3f}"
        '0.404 to 0.596'
    """
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


def pareto_front(items: Iterable[Item], size: Callable[[Item], float], accuracy: Callable[[Item], float]) -> list[Item]:
    """The items that no other beats, from the smallest: none is as small and more accurate, or as accurate and smaller.

    Of items that are equal in both, the first is kept.

    Examples:
        >>> pareto_front([(5, 0.8), (1, 0.6), (3, 0.5)], size=lambda item: item[0], accuracy=lambda item: item[1])
        [(1, 0.6), (5, 0.8)]
    """
    front: list[Item] = []
    best = -inf
    for item in sorted(items, key=lambda item: (size(item), -accuracy(item))):
        if accuracy(item) > best:
            front.append(item)
            best = accuracy(item)
    return front
