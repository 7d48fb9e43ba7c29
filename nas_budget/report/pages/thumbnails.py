"""Thumbnails of the test images that a run misclassified with the most confidence, as data URIs."""

from __future__ import annotations

import warnings
from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image

MOST_PIXELS = 128
"""A side of a thumbnail is shown no longer than about this. An image of more pixels is made smaller."""


def read_thumbnails(path: Path, n: int, side: int) -> list[str]:
    """The `n` square images of `side` pixels that lie side by side in a PNG file, in their order, as data URIs.

    None where the file is missing, damaged, or not exactly that: a page can do without images.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as file:
                if n < 1 or file.size != (n * side, side) or file.mode not in ("L", "RGB"):
                    return []
                return [_thumbnail(file.crop((i * side, 0, (i + 1) * side, side))) for i in range(n)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return []


def _thumbnail(image: Image.Image) -> str:
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
