"""Accuracies, durations and sizes in words."""

from __future__ import annotations

from nas_budget.records.statistics import half_width

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

MOST_DECIMALS = 2
"""Of an accuracy in per cent, however many images it was measured on."""


def decimals(images: int) -> int:
    """How many digits behind the point an accuracy on so many images has, in per cent: none finer than one image.

    Examples:
        >>> [decimals(images) for images in (500, 5_000, 10_000)]
        [0, 1, 2]
    """
    return min(MOST_DECIMALS, max(0, len(str(images)) - 3))


def percent_format(images: int) -> str:
    """How an accuracy on so many images is written, as Python and plotly take it: ".2%" from 10,000 images on."""
    return f".{decimals(images)}%"


def percent(share: float, images: int) -> str:
    """An accuracy, or a difference of two, measured on so many images: "93.08%", "60.6%" or "72%"."""
    return format(share, percent_format(images))


def percent_with_interval(share: float, images: int) -> str:
    """An accuracy and half of the 95 % interval that so many images leave (Wilson).

    This is what ± means wherever the package writes an accuracy. How far trainings with other seeds lie apart is
    another figure, and has a word or a column of its own.

    Examples:
        >>> percent_with_interval(0.6057, 5_000)
        '60.6% ± 1.4%'
    """
    return f"{percent(share, images)} ± {percent(half_width(share, images), images)}"


def seconds_in_words(seconds: float) -> str:
    """A duration such as "45 s", "9 min", "3 h 20 min" or "12 days"."""
    if seconds >= 3 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def ago_in_words(seconds: float) -> str:
    """How long ago, in one unit: "just now", "5 min ago", "2 h ago", "3 days ago"."""
    if seconds < 60:
        return "just now"
    if seconds < 3_600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 2 * 86_400:
        return f"{seconds // 3_600:.0f} h ago"
    return f"{seconds // 86_400:.0f} days ago"


def factor_in_words(factor: float) -> str:
    """A factor as a fraction where it is one: "1/8", "0.3", "1"."""
    whole = abs(1 / factor - round(1 / factor)) < 1e-9
    return f"1/{round(1 / factor)}" if whole and factor < 1 else f"{factor:.3g}"


def width_in_words(factor: float) -> str:
    """Which width: "1/8 of the width" or "full width"."""
    return f"{factor_in_words(factor)} of the width" if factor < 1 else "full width"


def in_short(number: float) -> str:
    """Three digits and a unit: "4.91M", "150k", "12"."""
    for factor, unit in UNITS:
        if number >= 0.9995 * factor:
            return f"{_digits(number / factor)}{unit}"
    return _digits(number)


def duration(seconds: float) -> str:
    """Seconds in two units, such as "1 h 5 min", "3 min 2 s" or "0.25 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def time_text(seconds: float) -> str:
    """A time as options take it, in the largest unit that needs no fraction: "2h", "90m", "45s"."""
    for unit, factor in (("h", 3_600), ("m", 60)):
        if seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds:.10g}s"


def _digits(number: float) -> str:
    """Three digits, without an exponent."""
    return f"{number:.0f}" if number >= 99.95 else f"{number:.3g}"
