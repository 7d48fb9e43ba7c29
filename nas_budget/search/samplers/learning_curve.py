"""`LearningCurve`: predicts the final accuracy of a pruned trial from its training loss."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np

N_MIN_TRIALS = 5
"""Complete trials that must be known before a line is fitted through them."""


UNKNOWN = 0.1
"""Standard deviation of a prediction from too few trials."""


class LearningCurve:
    """Predicts the accuracy that a pruned trial would have reached, with a standard deviation.

    It fits a straight line from the training loss at an epoch to the final accuracy of the complete trials. The line
    never rises: if a higher loss goes with a higher accuracy, which is chance, the mean accuracy is predicted.
    Predictions stay within 0 and 1. The standard deviation is that of complete trials from the line. With fewer than
    five complete trials that have a loss at that epoch, or without a loss, the accuracy that the trial had is returned,
    with a standard deviation of 0.1.

    Examples:
        >>> curve = LearningCurve()
        >>> for loss in (1.0, 1.2, 1.4, 1.6, 1.8):
        ...     curve.add({2: loss}, accuracy=0.9 - loss / 4)
        >>> accuracy, deviation = curve.predict({2: 1.5}, accuracy=0.3)
        >>> round(accuracy, 3), round(deviation, 3)
        (0.525, 0.0)
        >>> curve.predict({1: 1.5}, accuracy=0.3)
        (0.3, 0.1)
    """

    def __init__(self) -> None:
        # Packed numbers: a study may have thousands of trials, and each pruned one asks about all complete ones.
        self.complete: dict[int, tuple[array[float], array[float]]] = {}

    def add(self, losses: Mapping[int, float], accuracy: float) -> None:
        """Add a complete trial: its training loss by epoch, and its final accuracy, 0 to 1."""
        for epoch, loss in losses.items():
            known, final = self.complete.setdefault(epoch, (array("d"), array("d")))
            known.append(loss)
            final.append(accuracy)

    def predict(self, losses: Mapping[int, float], accuracy: float) -> tuple[float, float]:
        """Expected final accuracy, 0 to 1, of a trial with these losses by epoch that has `accuracy`; its deviation."""
        if not losses:
            return accuracy, UNKNOWN
        epoch = max(losses)
        loss, final = (np.array(each) for each in self.complete.get(epoch, ((), ())))
        if len(loss) < N_MIN_TRIALS:
            return accuracy, UNKNOWN
        slope = min(0.0, float(np.cov(loss, final)[0, 1] / loss.var(ddof=1))) if loss.std() > 0 else 0.0
        line = final.mean() + slope * (np.append(loss, losses[epoch]) - loss.mean())
        deviation = float(((final - line[:-1]) ** 2).sum() / (len(final) - 2)) ** 0.5
        return float(np.clip(line[-1], 0.0, 1.0)), deviation
