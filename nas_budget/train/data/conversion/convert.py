"""`convert`: from a `RawData` to the arrays of our own form, with a line for everything that was changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import DataError
from nas_budget.train.data.conversion.checks import numbered, warnings_for
from nas_budget.train.data.conversion.images import images_of_arrays, images_of_files
from nas_budget.train.data.conversion.labels import map_labels
from nas_budget.train.data.conversion.options import ReadOptions
from nas_budget.train.data.dataset import Labels
from nas_budget.train.data.forms.form import ImageFile, RawData

SPLIT_SEED = 0
TEST_SHARE = 0.2


def convert(
    raw: RawData, options: ReadOptions, on_share: Callable[[float], None] = lambda _: None
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays of our own form by their names, and lines for a person: what was changed, and warnings.

    Args:
        raw: As it was found.
        options: Size, channels and shape of the images.
        on_share: Called with the share that is done, 0 to 1.

    Examples:
        >>> from nas_budget.train.data.forms.form import Part
        >>> images = np.arange(10 * 4 * 4).reshape(10, 1, 4, 4)
        >>> arrays, notes = convert(RawData(Part(images, [1, 2] * 5), None), ReadOptions())
        >>> arrays["train_images"].shape, arrays["test_labels"].tolist(), arrays["classes"].tolist()
        ((8, 4, 4, 1), [1, 0], ['1', '2'])
        >>> notes[-1]
        'NOTE: there are no test images; 2 of the 10 images, a fifth of each class and at least one, are set aside'

    Raises:
        DataError: Images or labels that cannot be used.
    """
    parts = [raw.train, raw.test] if raw.test else [raw.train]
    for part, name in zip(parts, ("training", "test"), strict=False):
        if len(part.images) != len(part.labels):
            raise DataError(f"{len(part.images):,} {name} images but {len(part.labels):,} labels; one label an image")
        if not len(part.images):
            raise DataError(f"there are no {name} images; at least one is needed")
    names = [_names(part.images, called) for part, called in zip(parts, ("training", "test"), strict=False)]
    labels, classes, notes = map_labels([part.labels for part in parts], raw.classes)
    if len(classes) < 2:
        raise DataError(f"all images are of one class ({classes[0]}); at least two are needed")
    if all(isinstance(part.images, np.ndarray) for part in parts):
        images, changes = images_of_arrays([np.asarray(part.images) for part in parts], options)
        on_share(1.0)
    else:
        files = [file for part in parts for file in part.images]
        all_images, readable, changes = images_of_files(files, options, on_share)
        edge = len(parts[0].images)
        kept = np.split(readable, [edge])[: len(parts)]
        labels = [one[its] for one, its in zip(labels, kept, strict=True)]
        names = [one[its] for one, its in zip(names, kept, strict=True)]
        images = np.split(all_images, [len(labels[0])])[: len(parts)]
    notes = [*raw.notes, *notes, *changes]
    if len(parts) == 1:
        test = places_for_test(labels[0])
        n, n_test = len(test), int(test.sum())
        if not n_test:
            raise DataError("each class has one image, so none is left to test on; give more")
        images = [images[0][~test], images[0][test]]
        labels, names = [labels[0][~test], labels[0][test]], [names[0][~test], names[0][test]]
        notes.append(
            f"there are no test images; {n_test:,} of the {n:,} images, a fifth of each class and at least one, "
            "are set aside"
        )
    for one, name in zip(labels, ("training", "test"), strict=True):
        if not len(one):
            raise DataError(f"none of the {name} images can be read; at least one is needed")
    arrays: dict[str, NDArray[Any]] = {
        "train_images": images[0], "train_labels": labels[0], "test_images": images[1], "test_labels": labels[1],
        "classes": np.array(classes),
    }  # fmt: skip
    lines = [f"NOTE: {note}" for note in notes]
    return arrays, lines + [f"WARNING: {warning}" for warning in warnings_for(arrays, names)]


def _names(images: NDArray[Any] | Sequence[ImageFile], part: str) -> NDArray[Any]:
    """What each image is called in a message: its file, or its number in an array."""
    if isinstance(images, np.ndarray):
        return np.array(numbered(len(images), part), object)
    return np.array([file.name for file in images], object)


def places_for_test(labels: Labels) -> NDArray[np.bool_]:
    """Which images are set aside for testing: a fifth of each class, at least one of two; always the same ones."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        n = max(1, round(len(members) * TEST_SHARE)) if len(members) > 1 else 0
        # A seed for each class: images that are added to one leave the split of the others as it is.
        chosen[np.random.default_rng((SPLIT_SEED, int(label))).permutation(members)[:n]] = True
    return chosen
