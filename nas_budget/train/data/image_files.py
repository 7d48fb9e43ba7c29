"""Image files: read one as a network takes it, write images of a data set as one PNG."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nas_budget.errors import DataError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.train.data.dataset import Images

MODES = {1: "L", 3: "RGB"}
GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, as Pillow calls them. Others, such as EPS, would start programs to draw an image."""
SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
OTHER_IMAGES = (".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".psd", ".svg")
"""Image files that are not read."""
FITS = ("crop", "pad", "stretch")
"""How an image that is no square becomes one: its middle, black bars beside it, or stretched."""
OVERSHOOT = 0.1
"""What floating-point values of 0 to 1 may lie beyond, as resizing with a sharp filter makes them."""
LEAST_OF_BYTES = 2
"""Floating-point values that all lie below are not those of 0 to 255."""
UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, EOFError, MemoryError, Image.DecompressionBombError)
"""What Pillow raises at files that are damaged, or not what they say."""


def read_image(path: Path, size: int, channels: int, fit: str = "crop") -> tuple[Images, str]:
    """The image of a file as uint8 (size, size, channels), and what was changed for that in words.

    Args:
        path: The file.
        size: Height and width in pixels.
        channels: 1 for gray, 3 for color.
        fit: How an image that is no square becomes one: "crop", "pad" or "stretch".
    """
    check_file_channels(channels)
    try:
        with no_warnings():
            return prepare_image(path, size, channels, fit)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give images such as PNG or JPEG files") from None
    except UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be read ({image_problem(error)}); give images such as PNG or JPEG files"
        ) from None


def check_file_channels(channels: int) -> None:
    """Refuse image files where other than 1 or 3 channels are needed."""
    if channels not in MODES:
        raise UsageError(f"image files are read as 1 or 3 channels, and {channels} are needed; give an array of images")


@contextmanager
def no_warnings() -> Iterator[None]:
    """Silence what Pillow warns of: such an image is read all the same, or its error says more.

    It is for one thread at a time, around all that read images meanwhile: warnings are silenced for a whole process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def image_problem(error: Exception) -> str:
    """Why an image cannot be read, in a few words on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def image_header(source: Path | bytes) -> tuple[int, int, bool]:
    """Width and height of an image, and whether it is gray. Its pixels are not read."""
    with Image.open(_file(source), formats=FORMATS) as file:
        return *file.size, file.mode in GRAY_MODES


def prepare_image(source: Path | bytes, size: int, channels: int, fit: str) -> tuple[Images, str]:
    """An image, from a file or its bytes, as `read_image` gives it; it raises what Pillow raises (`UNREADABLE`).

    The camera's rotation is applied, transparent parts become white, 16 bits become 8, and of an animation the first
    frame is taken.
    """
    mode = MODES[channels]
    with Image.open(_file(source), formats=FORMATS) as file:
        changes = [] if file.mode == mode else [f"{file.mode} to {mode}"]
        full = file.size
        # A JPEG can be decoded at a part of its size, which is many times faster for a photograph.
        file.draft(None, (2 * size, 2 * size))
        turned = ImageOps.exif_transpose(file)
        image = _in_mode(turned, mode)
    # A rotation swaps the sides; the words name those that a person sees.
    width, height = full if (turned.width < turned.height) == (full[0] < full[1]) else full[::-1]
    if image.size != (size, size) or (width, height) != (size, size):
        side = min(width, height)
        words = {"crop": f", the middle {side}x{side} of it", "pad": ", with black bars", "stretch": ", stretched"}
        changes.append(f"resized from {width}x{height}{'' if width == height else words[fit]}")
    return np.asarray(fitted(image, size, fit), np.uint8).reshape(size, size, channels), "; ".join(changes)


def prepare_pixels(image: Image.Image, size: int, channels: int, fit: str) -> Images:
    """An image that is in memory as `prepare_image` gives one of a file."""
    made = fitted(_in_mode(ImageOps.exif_transpose(image), MODES[channels]), size, fit)
    return np.asarray(made, np.uint8).reshape(size, size, channels)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return _eight_bits(_opaque(image)).convert(mode)


def fitted(image: Image.Image, size: int, fit: str) -> Image.Image:
    """An image as a square of `size` pixels: its middle, with black bars, or stretched."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    if fit == "pad":
        return ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side) if fit == "crop" else None
    return image.resize((size, size), Image.Resampling.BICUBIC, box)


def image_paths(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files anywhere below a folder, in order of their paths, and the other files; hidden ones are left out.

    Files are known by how their names end. A link to nowhere is one too: reading it says so.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
        if not hidden and (path.is_file() or not path.exists()):
            (images if path.suffix.lower() in SUFFIXES else others).append(path)
    return images, others


def _file(source: Path | bytes) -> Path | BytesIO:
    return BytesIO(source) if isinstance(source, bytes) else source


def _opaque(image: Image.Image) -> Image.Image:
    """An image without transparency: on white, as most programs show it. Pillow would show what lies below."""
    if not image.has_transparency_data or image.mode.startswith("I"):
        return image
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grays of 16 or 32 bits, or of floating-point numbers, as 8 bits; Pillow would cut the values off instead.

    Numbers of 32 bits may hold any: their largest says what is white.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        white = 1 if low >= -OVERSHOOT and high <= 1 + OVERSHOOT else 255
        is_known = white == 1 or (low >= 0 and LEAST_OF_BYTES <= high <= 255)
    else:
        white = 255 if image.mode == "I" and high <= 255 else 65_535
        is_known = low >= 0 and high <= white
    if not is_known:
        raise ValueError(f"its values are from {low:g} to {high:g}; needed are 0 to 255, 65535 or, in fractions, 1")
    return Image.fromarray((values * (255 / white)).round().clip(0, 255).astype(np.uint8))


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
