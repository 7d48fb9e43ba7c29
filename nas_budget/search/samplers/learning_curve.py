"""What a training will end with, judged by those that ended."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

ENOUGH = 5
"""Trainings that must have ended before a line is fitted through them."""


class Forecast:
    """Final accuracy expected of a training that was stopped, from the training loss it had."""

    def __init__(self) -> None:
        self.ended: list[tuple[Mapping[int, float], float]] = []

    def learn(self, losses: Mapping[int, float], final: float) -> None:
        """Take in a training that went to its end: its loss at some epochs, and its accuracy, 0 to 1."""
        self.ended.append((losses, final))

    def final(self, losses: Mapping[int, float], now: float) -> float:
        """The accuracy expected at the end, 0 to 1, of a training with these losses, which has `now` so far."""
        if not losses:
            return now
        epoch = max(losses)
        pairs = [(known[epoch], final) for known, final in self.ended if epoch in known]
        if len(pairs) < ENOUGH:
            return now
        loss, final = np.array(pairs).T
        slope = min(0.0, float(np.cov(loss, final)[0, 1] / loss.var(ddof=1))) if loss.std() > 0 else 0.0
        return float(np.clip(final.mean() + slope * (losses[epoch] - loss.mean()), 0.0, 1.0))
