"""Expected gain: how much a network is expected to raise the Pareto front of accuracy against size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

N_SIZES = 48
"""Sizes at which the front is looked at."""
BEST_WEIGHT = 2.0
"""Weight of the best accuracy beside the mean over all sizes, where the whole front is the aim."""


def expected_gain(
    mean: Floats, deviation: Floats, log_sizes: Floats, front: tuple[Floats, Floats], bounds: tuple[float, float],
    aim: str = "front",
) -> Floats:  # fmt: skip
    """How much each network is expected to gain, shape (n,), in accuracy.

    At each size the front is the best accuracy of networks of at most that size. What a network adds to it is its
    expected improvement, E[max(0, accuracy - front)], at its own size and every larger one. The gain is the mean of
    that over sizes on a log scale, which is the expected improvement of the hypervolume. The improvement of the best
    accuracy is added `BEST_WEIGHT` times: the mean over sizes alone would seldom look for the best network. With
    the aim "best" it alone counts.

    Source: expected improvement, Mockus 1978; of the hypervolume, Emmerich et al. 2006.

    Args:
        mean: Predicted accuracies, shape (n,).
        deviation: Standard deviations of them.
        log_sizes: Logarithms of the parameters of each network.
        front: Logarithms of the sizes, and accuracies, of the networks that are known; any order.
        bounds: Logarithms of the least and the most size.
        aim: "front", every size, or "best", the most accurate network.
    """
    sizes, accuracies = front
    best = expected_improvement(mean, deviation, accuracies.max(initial=0.0))
    if aim == "best":
        return best
    grid = np.linspace(*bounds, N_SIZES)
    order = np.argsort(sizes)
    so_far = np.concatenate([[0.0], np.maximum.accumulate(accuracies[order])])
    levels = so_far[np.searchsorted(sizes[order], grid, side="right")]
    # Below the smallest network that is known there is nothing: what any network reaches there would be a gain of all
    # its accuracy, and the search would only look for the smallest. The least accuracy known is taken for that.
    levels = np.maximum(levels, accuracies.min(initial=1.0) if len(accuracies) else 0.0)
    gains = expected_improvement(mean[:, None], deviation[:, None], levels) * (grid >= log_sizes[:, None] - 1e-9)
    total: Floats = gains.mean(axis=1) + BEST_WEIGHT * best
    return total


def expected_improvement(mean: Floats, deviation: Floats, level: Floats | float) -> Floats:
    """E[max(0, x - level)] of a normal x."""
    away = (mean - level) / deviation
    density = np.exp(-0.5 * away**2) / np.sqrt(2 * np.pi)
    improvement: Floats = deviation * (away * ndtr(away) + density)
    return improvement
