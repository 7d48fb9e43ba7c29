"""Images of any usual form as uint8 squares of one size: arrays, and files that are decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_budget.errors import DataError
from nas_budget.train.data.conversion.labels import few_of
from nas_budget.train.data.conversion.options import ReadOptions
from nas_budget.train.data.dataset import Images
from nas_budget.train.data.forms.cifar import SHAPE as CIFAR
from nas_budget.train.data.forms.form import ImageFile, check_room
from nas_budget.train.data.image_files import (
    LEAST_OF_BYTES,
    OVERSHOOT,
    UNREADABLE,
    check_file_channels,
    fitted,
    image_header,
    image_problem,
    no_warnings,
    prepare_image,
)

AUTO_SIZE, LARGEST_AUTO = 32, 96
CHANNELS = (1, 3, 4)
WITH_ALPHA = (2, 4)
"""Channels of gray and of color images of which the last may be transparency."""
CONVERTIBLE = range(1, 5)
"""Channels of images that can become gray or color."""
CHUNK = 4_096
MOST_READERS = 8
HEADERS_SHARE = 0.1
"""Share of the work that reading the sizes of all files is, for the progress."""

OnShare = Callable[[float], None]


def images_of_files(
    files: Sequence[ImageFile], options: ReadOptions, on_share: OnShare
) -> tuple[Images, NDArray[np.bool_], list[str]]:
    """Images of files, uint8 (n, size, size, channels), which of the files they are, and what was changed, in lines.

    Args:
        files: Every image of the data set.
        options: Their size, channels and shape; whether those that cannot be read are left out.
        on_share: Called with the share that is done, 0 to 1.

    Raises:
        DataError: Files that cannot be read, by name, unless they are to be left out.
    """
    problems: dict[int, str] = {}
    headers: dict[int, tuple[int, int, bool]] = {}

    def read_header(place: int) -> None:
        try:
            headers[place] = image_header(files[place].source)
        except UNREADABLE as error:
            problems[place] = image_problem(error)

    _for_each(len(files), read_header, lambda share: on_share(HEADERS_SHARE * share))
    if not headers:
        raise DataError(f"no image can be read, such as {_named(files, problems)}")
    sizes = {(width, height) for width, height, _ in headers.values()}
    size = options.size or _auto_size(sizes)
    channels = options.channels or (1 if all(gray for *_, gray in headers.values()) else 3)
    check_file_channels(channels)
    check_room(f"{len(files):,} images of {size}x{size} pixels", len(files) * size * size * channels)
    images = np.zeros((len(files), size, size, channels), np.uint8)
    readable = np.zeros(len(files), bool)

    def read(place: int) -> None:
        if place in problems:
            return
        try:
            images[place] = prepare_image(files[place].source, size, channels, options.fit)[0]
            readable[place] = True
        except UNREADABLE as error:
            problems[place] = image_problem(error)

    _for_each(len(files), read, lambda share: on_share(HEADERS_SHARE + (1 - HEADERS_SHARE) * share))
    notes = _size_notes(sizes, size, options)
    if problems:
        some = f"{len(problems):,} of {len(files):,} images cannot be read: {_named(files, problems)}"
        if options.broken == "refuse":
            raise DataError(f"{some}; repair or remove them, or add ,broken=skip behind the path")
        notes.append(f"{some}; left out")
        if not readable.any():
            raise DataError(some)
        images = images[readable]
    return images, readable, notes


def _for_each(n: int, work: Callable[[int], None], on_share: OnShare) -> None:
    """Do some work for each of n places, on several threads, as decoding leaves Python's lock alone."""
    pool = ThreadPoolExecutor(min(MOST_READERS, os.cpu_count() or 1))
    try:
        with no_warnings():
            for done, _ in enumerate(pool.map(work, range(n)), 1):
                if done % 64 == 0 or done == n:
                    on_share(done / n)
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for all of them


def _named(files: Sequence[ImageFile], problems: dict[int, str]) -> str:
    return few_of([f"{files[place].name} ({problems[place]})" for place in sorted(problems)])


def _auto_size(sizes: set[tuple[int, int]]) -> int:
    """The size of images that are all squares of one size, if it is small; else the usual one."""
    (width, height), *others = sizes
    return width if not others and width == height <= LARGEST_AUTO else AUTO_SIZE


def _size_notes(sizes: set[tuple[int, int]], size: int, options: ReadOptions) -> list[str]:
    """What the sizes of images were and became; nothing where they have stayed."""
    if sizes == {(size, size)}:
        return []
    first, last = (f"{width}x{height}" for width, height in (min(sizes, key=_area), max(sizes, key=_area)))
    how = {"crop": "their middle was taken", "pad": "bars were added", "stretch": "stretched"}[options.fit]
    odd = f"; where they are no squares, {how}" if any(width != height for width, height in sizes) else ""
    other = "" if options.size else "; add ,size=64 behind the path for another size"
    return [
        f"images of {first if first == last else f'{first} to {last}'} pixels were resized to {size}x{size}{odd}{other}"
    ]


def _area(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    return size[0] * size[1], size


def images_of_arrays(parts: Sequence[NDArray[Any]], options: ReadOptions) -> tuple[list[Images], list[str]]:
    """Images of arrays, uint8 (n, size, size, channels) for each part, and what was changed, in lines.

    Taken are (n, height, width), channels last or first, whole numbers of 8 or 16 bits, and floating-point numbers in
    0 to 1, -1 to 1 or 0 to 255. All parts are changed alike.

    Raises:
        DataError: An array that holds no images, or values that are no brightness.
    """
    notes: list[str] = []
    shaped = [_channels_last(part, notes) for part in parts]
    depths = {part.shape[3] for part in shaped}
    if options.channels is None and len(depths) > 1 and depths != {1, 3}:
        found = " and ".join(str(part.shape[3]) for part in shaped)
        raise DataError(f"images of {found} channels; give one number, or add ,channels=3 behind the path")
    scale = _scale(shaped, notes)
    sizes = {(part.shape[2], part.shape[1]) for part in shaped}
    size, channels = options.size or _auto_size(sizes), options.channels or max(depths)
    check_room("the images", sum(len(part) for part in shaped) * size * size * channels)
    notes += _size_notes(sizes, size, options)
    if options.channels is None and channels in WITH_ALPHA:
        less = f"add ,channels={channels - 1} behind the path where the last is transparency"
        notes.append(f"images have {channels} channels; {less}")
    elif options.channels is None and channels not in CHANNELS:
        notes.append(f"images have {channels} channels; where they are slices of a volume, give single slices")
    for depth in sorted(depths - {channels}):
        if channels not in (1, 3) or depth not in CONVERTIBLE:
            allowed = "1 to 4" if channels in (1, 3) else channels
            raise DataError(f"images of {depth} channels cannot become images of {channels}; allowed are {allowed}")
        dropped = "; the last, transparency, was left out" if depth in WITH_ALPHA else ""
        notes.append(f"images of {depth} channels were converted to {channels}{dropped}")
    return [_converted(part, scale, size, channels, options.fit) for part in shaped], list(dict.fromkeys(notes))


def _channels_last(images: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """The images as (n, height, width, channels), without a copy."""
    shape = images.shape
    if images.ndim == 2 and shape[1] == prod(CIFAR):
        notes.append(
            f"rows of {shape[1]} values were taken as color images of 32x32 pixels, all red values first, as in CIFAR"
        )
        images = images.reshape(-1, *CIFAR).transpose(0, 2, 3, 1)
    elif images.ndim == 2 and (side := round(shape[1] ** 0.5)) ** 2 == shape[1] > 1:
        notes.append(f"rows of {shape[1]} values were taken as gray images of {side}x{side} pixels")
        images = images.reshape(-1, side, side)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(f"images of shape {shape}; needed are (images, height, width, channels), none of them 0")
    _, a, b, c = images.shape
    last, first = c in CHANNELS, a in CHANNELS
    # Where both could be the channels, or neither, the images are squares more likely than not.
    if last != first:
        is_last = last
    elif a == b or b == c:
        is_last = a == b
    elif last:
        is_last = True
    else:
        raise DataError(f"images of shape {shape}; needed are 1, 3 or 4 channels, or squares")
    if is_last:
        return images
    notes.append(f"channels come first in images of shape (n, {a}, {b}, {c}) and were put last")
    return images.transpose(0, 2, 3, 1)


def _scale(parts: Sequence[NDArray[Any]], notes: list[str]) -> tuple[float, float]:
    """What values are multiplied by, and what is added then, to lie in 0 to 255."""
    kinds = {part.dtype for part in parts}
    if kinds == {np.dtype(np.uint8)}:
        return 1.0, 0.0
    types = " and ".join(sorted(map(str, kinds)))
    if any(kind.kind not in "biuf" for kind in kinds):
        raise DataError(f"images of type {types}; needed are uint8, or other numbers")
    low, high = (float(one(one(part) for part in parts)) for one in (_least, _most))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"images of type {types} hold values that are no numbers (NaN or infinite)")
    found = f"images of type {types} with values from {low:g} to {high:g}"
    if kinds == {np.dtype(bool)}:
        notes.append("images of truth values were mapped to 0 and 255")
        return 255.0, 0.0
    if any(kind.kind == "f" for kind in kinds) and (scale := _scale_of_fractions(low, high, found, notes)):
        return scale
    if low >= 0 and high <= 255:
        notes.append(f"{found} were taken as 0..255")
        return 1.0, 0.0
    if low >= 0 and high <= 65_535 and all(kind.kind in "iu" for kind in kinds):
        notes.append(f"{found} were mapped from 0..65535 to 0..255")
        return 1 / 257, 0.0
    raise DataError(
        f"{found}; allowed are 0 to 255, 0 to 65535 in whole numbers, 0 to 1 and -1 to 1: give images without "
        "normalization"
    )


def _scale_of_fractions(low: float, high: float, found: str, notes: list[str]) -> tuple[float, float] | None:
    """As `_scale`, of floating-point values; None where they are larger than those of 0 to 1 and -1 to 1."""
    for first, last, scale in (0, 1, (255.0, 0.0)), (-1, 1, (127.5, 127.5)):
        if low >= first - OVERSHOOT and high <= last + OVERSHOOT:
            cut = "" if low >= first and high <= last else "; values beyond were cut off"
            notes.append(f"{found} were mapped from {first}..{last} to 0..255{cut}")
            return scale
    if low >= 0 and high < LEAST_OF_BYTES:
        raise DataError(f"{found} lie in neither 0 to 1 nor 0 to 255; give images without normalization")
    return None


def _least(values: Any) -> Any:
    return values.min() if isinstance(values, np.ndarray) else min(values)


def _most(values: Any) -> Any:
    return values.max() if isinstance(values, np.ndarray) else max(values)


def _converted(images: NDArray[Any], scale: tuple[float, float], size: int, channels: int, fit: str) -> Images:
    """Images of an array, scaled, in chunks, so that no copy of all of them in floating point is made."""
    made = np.empty((len(images), size, size, channels), np.uint8)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        if scale != (1.0, 0.0) or chunk.dtype.kind == "f":
            chunk = (chunk.astype(np.float32) * np.float32(scale[0]) + np.float32(scale[1])).round().clip(0, 255)
        chunk = chunk.astype(np.uint8)
        if chunk.shape[1:] != (size, size, channels):
            chunk = np.stack([_reshaped(image, size, channels, fit) for image in chunk])
        made[start : start + CHUNK] = chunk
    return made


def _reshaped(image: Images, size: int, channels: int, fit: str) -> Images:
    """One image in another size, channel by channel, and in gray or color where that is asked for."""
    if image.shape[2] in WITH_ALPHA and image.shape[2] != channels:
        image = image[..., :-1]
    planes = [np.asarray(fitted(Image.fromarray(plane), size, fit)) for plane in np.moveaxis(image, 2, 0)]
    if channels == 1 and len(planes) == 3:
        planes = [np.asarray(Image.fromarray(np.stack(planes, 2)).convert("L"))]
    elif channels == 3 and len(planes) == 1:
        planes *= 3
    return np.stack(planes, 2)
