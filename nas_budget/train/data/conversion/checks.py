"""What is worth a warning in a data set: empty classes, images in both parts, images that are all alike or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.train.data.conversion.labels import few_of
from nas_budget.train.data.dataset import Images

DARK = 64
"""Brightest value of images that are too dark; it is that of 14 bits that were taken for 16."""


def warnings_for(arrays: Mapping[str, NDArray[Any]], names: Sequence[Sequence[str] | NDArray[Any]]) -> list[str]:
    """What a person should know of a data set in our form before it is trained on, in lines.

    Args:
        arrays: Images, labels and classes by the names that they have in a file.
        names: What the training images and the test images are called.
    """
    found: list[str] = []
    classes = arrays["classes"].tolist()
    counts = np.bincount(arrays["train_labels"], minlength=len(classes))
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count]:
        found.append(f"no training images for {_classes(empty)}; no network can learn them")
    folded: dict[str, list[str]] = {}
    for name in classes:
        folded.setdefault(name.casefold(), []).append(name)
    found += [
        f"classes {' and '.join(names)} differ in upper and lower case alone" for names in folded.values() if names[1:]
    ]
    train = _contents(arrays["train_images"])
    if len(train) > 1 and len({*train}) == 1:
        found.append("all training images are alike; nothing can be learned from them")
    elif (most := max(int(arrays[f"{part}_images"].max()) for part in ("train", "test"))) <= DARK:
        found.append(
            f"all images are dark: no value is above {most} of 255; where values have fewer bits than their type, "
            "multiply them (12 bits of 16 by 16)"
        )
    known = dict(zip(reversed(train), reversed(range(len(train))), strict=True))
    test = _contents(arrays["test_images"])
    if twins := [(place, known[content]) for place, content in enumerate(test) if content in known]:
        place, its = twins[0]
        found.append(
            f"{len(twins):,} of {len(test):,} test images are training images too, such as {names[1][place]} "
            f"({names[0][its]}); the test accuracy will be too high"
        )
    return found


def numbered(n: int, part: str) -> list[str]:
    """What images of an array are called, such as "test image 3"."""
    return [f"{part} image {number:,}" for number in range(n)]


def _classes(names: list[str]) -> str:
    return f"the class {names[0]}" if len(names) == 1 else f"the classes {few_of(names)}"


def _contents(images: Images) -> list[int]:
    """A number for each image that equal ones share."""
    return [hash(image.tobytes()) for image in images]
