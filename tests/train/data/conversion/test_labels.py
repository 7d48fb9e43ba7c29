"""Labels of every usual form become whole numbers from 0; what are no classes is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nas_budget.errors import DataError
from nas_budget.train.data.conversion.labels import map_labels

COUNT = [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("labels", "classes", "names", "note"),
    [
        (COUNT, None, ("0", "1", "2"), ""),
        ([1, 2, 3, 2], None, ("1", "2", "3"), "labels 1 to 3 were mapped to 0 to 2"),
        ([1, 2, 3, 2], ("a", "b", "c"), ("a", "b", "c"), "labels 1 to 3 were mapped to 0 to 2"),
        (COUNT, ("a", "b", "c", "d"), ("a", "b", "c", "d"), ""),
        ([-1, 5, 40, 5], None, ("-1", "5", "40"), "labels -1, 5, 40 were mapped to 0 to 2"),
        ([[0], [1], [2], [1]], None, ("0", "1", "2"), "labels of shape (n, 1) were taken as a list"),
        (np.eye(3)[COUNT], None, ("0", "1", "2"), "labels of shape (n, 3) were taken as one-hot"),
        (np.eye(3, dtype=bool)[COUNT], None, ("0", "1", "2"), "labels of shape (n, 3) were taken as one-hot"),
        ([0.0, 1.0, 2.0, 1.0], None, ("0", "1", "2"), "labels of type float64 are whole numbers"),
        (["ant", "bee", "cat", " bee "], None, ("ant", "bee", "cat"), "labels are names: 3 classes in their order"),
        ([b"ant", b"bee", b"cat", b"bee"], None, ("ant", "bee", "cat"), "labels are names"),
        (["2", "9", "10", "9"], None, ("2", "9", "10"), "labels are names"),
        (["dog", "cat", "ant", "cat"], ("dog", "cat", "ant"), ("dog", "cat", "ant"), ""),
        (np.array(["ant", "bee", "cat", "bee"], object), None, ("ant", "bee", "cat"), "labels are names"),
        (np.array(COUNT, object), None, ("0", "1", "2"), ""),
        (np.array(COUNT, np.uint64), None, ("0", "1", "2"), ""),
    ],
)
def test_labels_are_mapped_and_it_is_said(labels: Any, classes: Any, names: tuple[str, ...], note: str) -> None:
    (found,), classes, notes = map_labels([labels], classes)
    assert (found.dtype, found.tolist(), classes) == (np.int64, COUNT, names)
    assert (notes[0] if notes else "").startswith(note)
    assert bool(note) == bool(notes)


def test_truth_values_are_two_classes() -> None:
    (found,), classes, notes = map_labels([[True, False]])
    assert (found.tolist(), classes, notes) == ([1, 0], ("0", "1"), ["labels False and True were mapped to 0 and 1"])


@pytest.mark.parametrize(
    ("parts", "classes", "words"),
    [
        ([[0.5, 1]], None, "labels such as 0.5 are no whole numbers"),
        ([[0, np.nan]], None, "label 2 is no number"),
        ([[0.0, -1e300]], None, "labels are too large numbers"),
        ([np.array(["a", None], object)], None, "label 2 is missing"),
        ([np.array(["a", np.nan], object)], None, "label 2 is missing"),
        ([np.array(["a", 1], object)], None, "some labels are names and others numbers"),
        ([np.array([{}, 1], object)], None, "label 1 is of type dict"),
        ([np.array([2**70, 1], object)], None, "labels of type object|too large"),
        ([["a", " "]], None, "label 2 is empty"),
        ([[b"\xff"]], None, "no UTF-8"),
        ([[[1, 1], [0, 1]]], None, "a single 1"),
        ([np.zeros((2, 2, 2))], None, r"labels of shape \(n, 2, 2\)"),
        ([[]], None, r"labels of shape \(0,\)"),
        ([3], None, r"labels of shape \(\)"),
        ([[0, 1], ["a", "b"]], None, "labels of one part are names and those of the other numbers"),
        ([[0, 1]], ("a", "a "), "two classes have the name 'a'"),
        ([[0, 1]], ("a", ""), "empty name"),
        ([[0, 2]], ("a", "b"), "labels from 0 to 2 do not go with 2 classes; allowed are 0 to 1, or 1 to 2"),
        ([["a", "x"]], ("a", "b"), "labels x are none of the classes a, b"),
        ([np.arange(500)], None, "labels have 500 different values for 500 images; these are no classes"),
        ([np.array([1, 2], complex)], None, "labels of type complex128"),
    ],
)
def test_what_are_no_classes_is_refused_in_one_line(parts: Any, classes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as said:
        map_labels(parts, classes)
    assert "\n" not in str(said.value)
