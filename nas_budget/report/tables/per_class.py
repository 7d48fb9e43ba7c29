"""Accuracy of each class, and the most frequent confusions, from a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from nas_budget.records.formatting import percent
from nas_budget.records.statistics import interval
from nas_budget.records.training_run import RunResult

N_CONFUSIONS = 3
STEPS = 20
"""The drawn part of 0 to 1 begins and ends at a multiple of one in so many."""


@dataclass(frozen=True)
class ClassAccuracy:
    """The accuracy on one class.

    Attributes:
        name: Of the class.
        right: Its images classified correctly.
        images: Its images, at least 1.
        low: Where the 95 % interval of its accuracy begins, 0 to 1.
        high: Where it ends.
        other: The class it is most taken for; empty where it never is.
        taken: Its images taken for that class.
    """

    name: str
    right: int
    images: int
    low: float
    high: float
    other: str
    taken: int

    @property
    def share(self) -> float:
        """Accuracy on its images, 0 to 1."""
        return self.right / self.images


def class_accuracies(result: RunResult) -> list[ClassAccuracy]:
    """Every class with test images, the worst first."""
    found = []
    for i, row in enumerate(result.confusion):
        wrong = [0 if i == j else n for j, n in enumerate(row)]
        taken, images = max(wrong), sum(row)
        if images:
            other = result.classes[wrong.index(taken)] if taken else ""
            low, high = interval(row[i] / images, images)
            found.append(ClassAccuracy(result.classes[i], row[i], images, low, high, other, taken))
    return sorted(found, key=lambda one: one.share)


def drawn_range(classes: Sequence[ClassAccuracy]) -> tuple[float, float]:
    """The part of 0 to 1 that shows the interval of every class, from one round number to another."""
    low = floor(STEPS * min((one.low for one in classes), default=0)) / STEPS
    return low, ceil(STEPS * max((one.high for one in classes), default=1)) / STEPS


def share_of_all(classes: Sequence[ClassAccuracy]) -> float:
    """Accuracy on the images of all classes, 0 to 1; 0 of no class."""
    return sum(one.right for one in classes) / sum(one.images for one in classes) if classes else 0.0


def classes_in_words(classes: Sequence[ClassAccuracy]) -> str:
    """Which class has the best accuracy, which the worst, and whether that is more than chance; empty of one class."""
    if len(classes) < 2:
        return ""
    worst, best = classes[0], classes[-1]
    if worst.share == best.share:
        return f"All classes have the same accuracy ({percent(best.share, best.images)})."
    maybe = "; their intervals overlap, so that may be chance" if worst.high >= best.low else ""
    shares = [percent(one.share, one.images) for one in (best, worst)]
    return f"The best class is {best.name} ({shares[0]}), the worst {worst.name} ({shares[1]}){maybe}."


def confusions(result: RunResult) -> list[tuple[int, str, str, int]]:
    """Mistakes by kind, the most frequent first, as (count, true class, predicted class, images of the true class)."""
    names = result.classes
    kinds = [
        (n, names[i], names[j], sum(row))
        for i, row in enumerate(result.confusion)
        for j, n in enumerate(row)
        if n and i != j
    ]
    return sorted(kinds, key=lambda kind: -kind[0])


def confusions_in_words(result: RunResult) -> str:
    """The most frequent kinds of mistakes as a sentence."""
    most = [f"{a} predicted as {b} ({n:,} of {total:,})" for n, a, b, total in confusions(result)[:N_CONFUSIONS]]
    return f"Most frequent: {'; '.join(most)}." if most else "No test image was misclassified."
