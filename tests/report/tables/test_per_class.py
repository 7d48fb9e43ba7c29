"""What is said of classes and of kinds of mistakes."""

from __future__ import annotations

import pytest

from nas_budget.report.tables.per_class import (
    class_accuracies,
    classes_in_words,
    confusions,
    confusions_in_words,
    drawn_range,
    share_of_all,
)
from tests.report.runs import result


def test_the_most_frequent_confusions_come_first() -> None:
    assert confusions(result()) == [(8, "dog", "emu", 20), (2, "cat", "dog", 10), (1, "cat", "emu", 10)]
    kinds = "dog predicted as emu (8 of 20); cat predicted as dog (2 of 10); cat predicted as emu (1 of 10)"
    assert confusions_in_words(result()) == f"Most frequent: {kinds}."


def test_the_worst_class_comes_first() -> None:
    dog, cat, emu = class_accuracies(result())
    assert (dog.name, dog.right, dog.images, dog.share, dog.other, dog.taken) == ("dog", 12, 20, 0.6, "emu", 8)
    assert (cat.name, cat.share, emu.name, emu.share, emu.other) == ("cat", 0.7, "emu", 1.0, "")
    assert share_of_all([dog, cat, emu]) == pytest.approx(39 / 50)
    assert drawn_range([dog, cat, emu]) == (0.35, 1.0)
    # A class without images is left out.
    assert [one.name for one in class_accuracies(result(confusion=((0, 0, 0), (1, 2, 0), (0, 0, 9))))] == ["dog", "emu"]
    assert class_accuracies(result(confusion=((0, 0, 0),) * 3)) == []
    assert (drawn_range([]), share_of_all([])) == ((0, 1), 0)


def test_best_and_worst_class_are_said_with_their_certainty() -> None:
    def said(confusion: tuple[tuple[int, ...], ...]) -> str:
        return classes_in_words(class_accuracies(result(confusion=confusion)))

    assert said(((90, 10, 0), (1, 99, 0), (1, 0, 99))) == "The best class is emu (99%), the worst cat (90%)."
    assert said(((9, 1, 0), (2, 8, 0), (0, 0, 0))).endswith("their intervals overlap, so that may be chance.")
    assert said(((9, 1, 0), (1, 9, 0), (0, 0, 0))) == "All classes have the same accuracy (90%)."
    assert said(((9, 1, 0), (0, 0, 0), (0, 0, 0))) == ""
