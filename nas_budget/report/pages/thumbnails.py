"""The pictures of a run's worst mistakes, each on its own and ready to stand in a page."""

from __future__ import annotations

import warnings
from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

MOST_PIXELS = 128
"""A tile is shown no larger than about this; a picture of more pixels is made smaller."""


@dataclass(frozen=True)
class Thumbnail:
    """One picture.

    Attributes:
        source: A data URI, which asks nothing of a network.
        side: Height and width in pixels.
    """

    source: str
    side: int


def read_thumbnails(path: Path, n: int, side: int) -> list[Thumbnail]:
    """The `n` square pictures of `side` pixels that lie side by side in a PNG file, in their order.

    None where the file is missing, damaged, or not exactly that: a page can do without pictures.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as file:
                if n < 1 or file.size != (n * side, side) or file.mode not in ("L", "RGB"):
                    return []
                return [_tile(file.crop((i * side, 0, (i + 1) * side, side))) for i in range(n)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return []


def _tile(picture: Image.Image) -> Thumbnail:
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return Thumbnail(f"data:image/png;base64,{b64encode(file.getvalue()).decode()}", picture.width)
