"""Labels of any usual form as whole numbers from 0, and the names of their classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.train.data.dataset import Labels, names_problem

FEW = 5
"""Names that a message lists."""
LARGEST = 2**62
MOST_DIGITS = 18
MANY_CLASSES = 100
"""From here on it is asked whether the labels are classes at all."""


def map_labels(
    parts: Sequence[Any], classes: Sequence[str] | None = None
) -> tuple[list[Labels], tuple[str, ...], list[str]]:
    """Labels as int64 (n,) from 0 for each part, the name of each class, and what was changed, in lines.

    Taken are whole numbers from any least one, the same as floating-point numbers, truth values, names, columns (n, 1)
    and rows with a single 1.

    Args:
        parts: Labels of the training images, and of the test images where there are any.
        classes: Name of each class, where they are known.

    Examples:
        >>> map_labels([[1, 2, 2], [1]])
        ([array([0, 1, 1]), array([0])], ('1', '2'), ['labels 1 to 2 were mapped to 0 to 1'])
        >>> map_labels([["dog", "cat"]])[:2]
        ([array([1, 0])], ('cat', 'dog'))

    Raises:
        DataError: Labels that are no classes, or do not go with the names.
    """
    notes: list[str] = []
    flat = [_flat(np.asarray(part), notes) for part in parts]
    kinds = {"names" if part.dtype.kind == "U" else "numbers" for part in flat}
    if len(kinds) > 1:
        raise DataError("labels of one part are names and those of the other numbers; give one kind")
    if classes is not None:
        classes = [clean_name(name) for name in classes]
        if problem := names_problem(classes):
            raise DataError(problem)
    mapped, found = (_by_name if kinds == {"names"} else _by_number)(flat, classes, notes)
    if len(found) > MANY_CLASSES and len(found) > len(flat[0]) / 2:
        raise DataError(
            f"labels have {len(found):,} different values for {len(flat[0]):,} images; these are no classes, of which "
            "each has several images"
        )
    return mapped, found, list(dict.fromkeys(notes))


def clean_name(name: str) -> str:
    """The name of a class, written in one way where Unicode has several, without space around it."""
    return unicodedata.normalize("NFC", str(name)).strip()


def few_of(names: Sequence[object]) -> str:
    """The first few of some names, and how many more there are."""
    shown = ", ".join(map(str, names[:FEW]))
    return f"{shown} and {len(names) - FEW:,} more" if len(names) > FEW else shown


def _flat(labels: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Labels as one array of whole numbers (int64) or names."""
    if not labels.ndim or not labels.size:
        raise DataError(f"labels of shape {labels.shape}; needed is one for each image")
    if labels.ndim > 1 and labels.size == len(labels):
        notes.append(f"labels of shape {_shape(labels)} were taken as a list")
        labels = labels.reshape(-1)
    if labels.ndim > 1:
        labels = _of_rows(labels, notes)
    if labels.dtype.kind == "O":
        labels = _of_objects(labels)
    return _names(labels) if labels.dtype.kind in "SUT" else _whole(labels, notes)


def _names(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels that are names, each written in one way."""
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise DataError("labels are bytes that are no UTF-8 text; give names or whole numbers") from None
    names = np.array([clean_name(name) for name in labels.tolist()])
    if (names == "").any():
        raise DataError(f"label {int(np.argmax(names == '')) + 1:,} is empty; give each image a label")
    return names


def _whole(labels: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Labels that are numbers or truth values as int64."""
    kind = labels.dtype.kind
    if kind not in "biuf":
        raise DataError(f"labels of type {labels.dtype}; needed are whole numbers or names")
    if kind == "b":
        notes.append("labels False and True were mapped to 0 and 1")
    elif kind == "f":
        if not np.isfinite(labels).all():
            raise DataError(f"label {int(np.argmin(np.isfinite(labels))) + 1:,} is no number; give each image a label")
        if (odd := labels[labels != np.round(labels)]).size:
            raise DataError(f"labels such as {odd[0]:g} are no whole numbers, so they are no classes")
        notes.append(f"labels of type {labels.dtype} are whole numbers and were taken as such")
    if kind in "uf" and np.abs(labels).max() > LARGEST:
        raise DataError("labels are too large numbers; needed are numbers of classes")
    return labels.astype(np.int64)


def _shape(labels: NDArray[Any]) -> str:
    return f"(n, {', '.join(map(str, labels.shape[1:]))})"


def _of_rows(labels: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """The place of the single 1 of each row."""
    found = f"labels of shape {_shape(labels)}"
    if labels.ndim != 2 or labels.dtype.kind not in "biuf":
        raise DataError(f"{found}; needed is one for each image")
    is_one = labels == 1
    if not (is_one | (labels == 0)).all() or not (is_one.sum(1) == 1).all():
        raise DataError(f"{found}; rows are read where each has a single 1, which is the class of the image")
    notes.append(f"{found} were taken as one-hot: the place of the 1 is the class")
    place: NDArray[Any] = is_one.argmax(1)
    return place


def _of_objects(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels of Python objects as numbers or names; a missing one is refused."""
    values = labels.tolist()
    for place, value in enumerate(values, 1):
        if value is None or value != value:
            raise DataError(f"label {place:,} is missing; give each image a label")
        if not isinstance(value, str | bytes | bool | int | float):
            raise DataError(f"label {place:,} is of type {type(value).__name__}; needed are whole numbers or names")
    kinds = {str if isinstance(value, str | bytes) else int for value in values}
    if len(kinds) > 1:
        raise DataError("some labels are names and others numbers; give one kind")
    try:
        return np.array(values)
    except (OverflowError, ValueError):
        raise DataError("labels are too large numbers; needed are numbers of classes") from None


def _by_name(
    parts: Sequence[NDArray[Any]], classes: Sequence[str] | None, notes: list[str]
) -> tuple[list[Labels], tuple[str, ...]]:
    found = np.unique(np.concatenate(parts)).tolist()
    if classes is None:
        # "10" belongs behind "9".
        numbers = all(name.isascii() and name.isdigit() and len(name) <= MOST_DIGITS for name in found)
        classes = sorted(found, key=lambda name: (int(name), name)) if numbers else found
        notes.append(f"labels are names: {len(found):,} classes in their order ({few_of(classes)})")
    if unknown := [name for name in found if name not in set(classes)]:
        raise DataError(f"labels {few_of(unknown)} are none of the classes {few_of(classes)}")
    place = {name: number for number, name in enumerate(classes)}
    return [np.array([place[name] for name in part.tolist()], np.int64) for part in parts], tuple(classes)


def _by_number(
    parts: Sequence[Labels], classes: Sequence[str] | None, notes: list[str]
) -> tuple[list[Labels], tuple[str, ...]]:
    found = np.unique(np.concatenate(parts))
    low, high = int(found[0]), int(found[-1])
    if classes is None:
        if low == 0 and high == len(found) - 1:
            return list(parts), tuple(map(str, found.tolist()))
        whole = high - low == len(found) - 1
        values = f"{low} to {high}" if whole else few_of(found.tolist())
        notes.append(f"labels {values} were mapped to 0 to {len(found) - 1}")
        return [np.searchsorted(found, part).astype(np.int64) for part in parts], tuple(map(str, found.tolist()))
    n = len(classes)
    if low >= 0 and high < n:
        return list(parts), tuple(classes)
    if low == 1 and high == n:
        notes.append(f"labels 1 to {n} were mapped to 0 to {n - 1}")
        return [part - 1 for part in parts], tuple(classes)
    raise DataError(f"labels from {low} to {high} do not go with {n:,} classes; allowed are 0 to {n - 1}, or 1 to {n}")
