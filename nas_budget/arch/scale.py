"""`scale_widths`: a network with every width multiplied by one factor, to be trained where time is short."""

from __future__ import annotations

from dataclasses import fields
from math import floor

from nas_budget.arch.spec import AnySpec, ResNetSpec
from nas_budget.errors import SpecError

LEAST_WIDTH = 4
"""The narrowest width that a scaled network may have: below it, rounding changes a shape more than scaling does."""


def scale_widths(spec: AnySpec, factor: float, least: int = LEAST_WIDTH) -> AnySpec:
    """The network with all its widths, stem's and head's too, multiplied by a factor and rounded; all else is the same.

    Its parameters and MACs are about `factor`² of the network's. The width inside a block follows from these, so it
    stays a multiple of the groups. Among the usual ways to make a network cheaper to
    train, narrowing keeps the order of networks best (Zhou et al. 2020, arXiv:2001.01233).

    Args:
        spec: The network.
        factor: Above 0; 1 gives the network itself.
        least: The narrowest width allowed.

    Raises:
        SpecError: A width would fall below `least`; the message names the smallest factor that is allowed. Or it is
            a network of a family of the user's own, which cannot be scaled.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> scale_widths(ResNetSpec((32, 64, 96, 128, 185)), 1 / 8).channels
        (4, 8, 12, 16, 23)
        >>> scale_widths(ResNetSpec((16, 32)), 1 / 8)
        Traceback (most recent call last):
        nas_budget.errors.SpecError: factor: 0.125 makes 2 channels of 16; at least 4 are needed: give 0.2188 or more
    """
    if factor == 1:
        return spec
    if not isinstance(spec, ResNetSpec):
        raise SpecError([f"factor: {factor:.4g} is not allowed for networks of {spec.family}; give 1"])
    narrowest = min(*spec.channels, spec.stem_channels, spec.head_width or spec.channels[-1])
    if scaled_width(narrowest, factor) < least:
        smallest = (least - 0.5) / narrowest
        made = f"makes {scaled_width(narrowest, factor)} channels of {narrowest}"
        problem = f"factor: {factor:.4g} {made}; at least {least} are needed: give {smallest + 5e-5:.4f} or more"
        raise SpecError([problem])
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    values["channels"] = tuple(scaled_width(width, factor) for width in spec.channels)
    for name in "stem_width", "head_width":
        values[name] = getattr(spec, name) and scaled_width(getattr(spec, name), factor)
    return ResNetSpec(**values)


def scaled_width(width: int, factor: float) -> int:
    """A width times a factor; halves are rounded up."""
    return floor(width * factor + 0.5)
