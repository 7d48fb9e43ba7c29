"""Image files: read one as a network takes it, write images of a data set as one PNG."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nas_budget.errors import DataError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.train.data.dataset import Images

MODES = {1: "L", 3: "RGB"}


def read_image(path: Path, size: int, channels: int) -> tuple[Images, str]:
    """The image of a file, center-cropped and resized to uint8 (size, size, channels), and these changes in words."""
    if channels not in MODES:
        raise UsageError(f"image files have 1 or 3 channels, this network takes {channels}")
    try:
        with Image.open(path) as file:
            changes = [] if file.mode == MODES[channels] else [f"{file.mode} to {MODES[channels]}"]
            image = _eight_bits(ImageOps.exif_transpose(file)).convert(MODES[channels])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give images such as PNG or JPEG files") from None
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be read ({reason}); give images such as PNG or JPEG files") from None
    width, height = image.size
    if (width, height) != (size, size):
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        cropped = "" if width == height else f", the middle {side}x{side} of it"
        changes.append(f"resized from {width}x{height}{cropped}")
    return np.asarray(image, np.uint8).reshape(size, size, channels), "; ".join(changes)


def _eight_bits(image: Image.Image) -> Image.Image:
    """An image of 16-bit grays as one of 8 bits; Pillow would cut the values off instead."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))


def write_row(path: Path, images: Images) -> None:
    """Write images, uint8 (n, height, width, channels), side by side as one PNG.

    Nothing is written where there are none, or they have neither 1 nor 3 channels.
    """
    n, height, width, channels = images.shape
    if not n or channels not in MODES:
        return
    row = images.transpose(1, 0, 2, 3).reshape(height, n * width, channels)
    file = BytesIO()
    Image.fromarray(row.squeeze(2) if channels == 1 else row).save(file, "PNG", optimize=True)
    write_whole(path, file.getvalue())
