"""What may come from strangers: names, texts in a terminal, JSON and TOML."""

from __future__ import annotations

import json
import tomllib
import unicodedata
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from nas_budget.errors import UsageError

MARKS = "._-"
"""What a name of a study or run may hold beside letters and digits of any alphabet; not as its first character."""
LONGEST = 120
"""Bytes of a name in UTF-8. File systems allow 255, and names of runs are made longer by what was trained."""
COMMANDS = ("Cc", "Cs", "Zl", "Zp")
"""Categories of characters that are no text: control characters, halves of surrogate pairs, separators of lines."""
TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the direction of text."""
MOST_BYTES = 2**24
"""Of a file that describes a network or how it was trained; they have some thousands."""
TOO_DEEP = "nested too deeply"


def check_name(name: str) -> str:
    """The name itself, where it is one of a folder inside the folder of runs and of nothing else.

    Raises:
        UsageError: It holds a separator, a space, or another character that means something to a file system, a shell,
            a page or a spreadsheet; or it is empty or too long.

    Examples:
        >>> check_name("größe-5M.2")
        'größe-5M.2'
        >>> check_name("../elsewhere")
        Traceback (most recent call last):
        nas_budget.errors.UsageError: name '../elsewhere': begins with '.'; begin with a letter or digit
    """
    if len(name.encode("utf-8", "replace")) > LONGEST:
        raise UsageError(f"name {name[:40]!r}...: longer than {LONGEST} bytes; give a shorter one")
    if not name:
        raise UsageError("name '': empty; give one of letters, digits and the marks . _ -")
    if name[0] in MARKS:
        raise UsageError(f"name {name!r}: begins with {name[0]!r}; begin with a letter or digit")
    if strange := next((c for c in name if not _allowed(c)), None):
        raise UsageError(f"name {name!r}: holds {strange!r}; allowed are letters, digits and the marks . _ -")
    return name


def name_from(text: str) -> str:
    """A name that is like a text, such as the stem of a file: what is not allowed becomes "-".

    Examples:
        >>> name_from("my photos (new)")
        'my-photos-new'
        >>> name_from("..")
        'unnamed'
    """
    words = "".join(c if _allowed(c) else " " for c in text).split()
    short = "-".join(words).encode()[:LONGEST].decode(errors="ignore")
    return short.strip(MARKS) or "unnamed"


def _allowed(character: str) -> bool:
    # Marks of the category M belong to letters of many alphabets, such as Devanagari.
    return character in MARKS or unicodedata.category(character)[0] in "LNM"


def printable(text: str) -> str:
    r"""A text without what a terminal would obey, such as colors, or text that runs backwards; line ends stay.

    Examples:
        >>> printable("red\x1b[31m cat")
        'red?[31m cat'
    """
    return text if text.isascii() and text.isprintable() else "".join("?" if _is_command(c) else c for c in text)


def _is_command(character: str) -> bool:
    return character != "\n" and (unicodedata.category(character) in COMMANDS or character in TURNS)


def read_factor(text: str) -> float:
    """The number of a text such as "1/8" or "0.125".

    It is no `Fraction`: "1e999999999" would be a number of as many digits, which no memory holds.

    Raises:
        ValueError: It is no number, or none that is finite.

    Examples:
        >>> read_factor("1/8"), read_factor("6")
        (0.125, 6.0)
    """
    above, _, below = text.partition("/")
    try:
        number = float(above) / float(below or 1)
    except ZeroDivisionError:
        raise ValueError(f"{text!r} divides by zero") from None
    if not isfinite(number):
        raise ValueError(f"{text!r} is no finite number")
    return number


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8; not more of it is read than allowed, so that none fills the memory.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger, or no UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"has more than {most_bytes:,} bytes, which nothing needs that belongs there")
    return content.decode()


def read_json(text: str, parse_int: Callable[[str], Any] | None = None) -> Any:
    """The values of a JSON text.

    Args:
        text: Of any origin.
        parse_int: Reads whole numbers; None for `int`.

    Raises:
        ValueError: It is no JSON, or its lists and objects are nested too deeply.
    """
    try:
        return json.loads(text, parse_int=parse_int)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def read_toml(text: str) -> dict[str, Any]:
    """The values of a TOML text.

    Raises:
        ValueError: It is no TOML, or its lists and tables are nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
