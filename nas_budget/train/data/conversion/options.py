"""`ReadOptions`: how images of other forms become squares, as it stands behind the path of a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from nas_budget.errors import UsageError
from nas_budget.train.data.image_files import FITS

OPTIONS = re.compile(r"(?:,(?:size|channels|fit|broken)=[^,=]*)+$")
MOST_PIXELS = 1_024
BROKEN = ("refuse", "skip")
CHANNELS = (1, 3)
HELP = "size=64, channels=1 or 3, fit=crop, pad or stretch, broken=refuse or skip"


@dataclass(frozen=True)
class ReadOptions:
    """How images of another form are read.

    They are part of the data set's name, behind its path, so that every command that is given this name reads the same
    images: `photos,size=64,fit=pad`.

    Attributes:
        size: Height and width in pixels. None: that of the images where all are squares of one size of at most 96
            pixels, else 32.
        channels: 1 for gray, 3 for color; arrays may have any other number. None: that of the arrays; of files, 1 where
            all images are gray, else 3.
        fit: How an image that is no square becomes one: "crop" takes its middle, "pad" adds black bars, "stretch"
            changes its proportions.
        broken: What happens to image files that cannot be read: "refuse" names them in an error, "skip" leaves them
            out.
    """

    size: int | None = None
    channels: int | None = None
    fit: str = "crop"
    broken: str = "refuse"

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= MOST_PIXELS:
            raise UsageError(f"data: size={self.size}: allowed are 1 to {MOST_PIXELS} pixels")
        if self.channels is not None and self.channels < 1:
            raise UsageError(f"data: channels={self.channels}: needed is at least 1")
        for key, allowed in ("fit", FITS), ("broken", BROKEN):
            if getattr(self, key) not in allowed:
                raise UsageError(f"data: {key}={getattr(self, key)}: allowed are {', '.join(allowed)}")


def split_options(name: str, defaults: ReadOptions = ReadOptions()) -> tuple[str, ReadOptions]:
    """The path and the options in the name of a data set; those that it does not have are the defaults.

    Examples:
        >>> split_options("photos,size=64,fit=pad")
        ('photos', ReadOptions(size=64, channels=None, fit='pad', broken='refuse'))
        >>> split_options("a,b.npz")[0]
        'a,b.npz'

    Raises:
        UsageError: An option with a value that is not allowed.
    """
    found = OPTIONS.search(name)
    if not found:
        return name, defaults
    given: dict[str, Any] = {}
    for text in found[0][1:].split(","):
        key, _, value = text.partition("=")
        if key in ("size", "channels"):
            if not value.isascii() or not value.isdigit():
                raise UsageError(f"data: {text}: needed is a whole number; options are {HELP}")
            given[key] = int(value)
            if key == "channels" and given[key] not in CHANNELS:
                raise UsageError(f"data: {text}: allowed are 1 for gray and 3 for color")
        else:
            given[key] = value
    return name[: found.start()], replace(defaults, **given)
