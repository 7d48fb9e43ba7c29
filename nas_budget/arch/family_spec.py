"""`FamilySpec`: one network of a family of the user's own; `FamilySpace`: the choices of such a family."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from nas_budget.errors import SpecError

Choice = int | float | str | bool
"""A value of a dimension, as JSON knows it."""
COUNTS = ("params", "macs", "buffers", "layers", "elements", "integer_bytes")


@dataclass(frozen=True)
class FamilySpec:
    """A network of a family of the user's own, with its cost as it was counted when the network was proposed.

    So whoever reads it (tables, pages, `nas-budget show`) knows the cost without running the user's code. Only
    `nas_budget.build` runs it. Two specs are equal if family, values and images are.

    Attributes:
        family: Where the family is, as "package.module:Family".
        values: Name and value of each dimension, in the family's order.
        image_size: Height and width of the images in pixels.
        in_channels: Channels of the images.
        classes: Outputs of the classifier.
        params: Trainable parameters.
        macs: Multiply-accumulates for one image.
        buffers: Numbers kept beside the trainable parameters: buffers and frozen parameters.
        layers: Calls of modules that have no children, for one image.
        elements: Numbers that these return.
        integer_bytes: Bytes of weights that are whole numbers, such as buffers of int8, as they are stored.

    Raises:
        SpecError: A field that is missing or of the wrong type; it lists every problem at once.

    Examples:
        >>> spec = FamilySpec("my_vit:ViT", (("depth", 4), ("width", 64)), 32, 3, 10, params=151_690, macs=9_600_000)
        >>> str(spec)
        'my_vit:ViT, depth 4, width 64'
        >>> FamilySpec.from_dict(spec.to_dict()) == spec
        True
    """

    family: str
    values: tuple[tuple[str, Choice], ...]
    image_size: int
    in_channels: int
    classes: int
    params: int = field(compare=False)
    macs: int = field(compare=False)
    buffers: int = field(default=0, compare=False)
    layers: int = field(default=0, compare=False)
    elements: int = field(default=0, compare=False)
    integer_bytes: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if problems := [*self._problems()]:
            raise SpecError(problems)

    def _problems(self) -> Iterator[str]:
        if not isinstance(self.family, str) or ":" not in self.family:
            yield f"family: {self.family!r} is no package.module:Family"
        if not all(isinstance(name, str) and isinstance(value, Choice) for name, value in self.values):
            yield f"values: {dict(self.values)} are not all numbers, texts, true or false"
        for name in ("image_size", "in_channels", "classes", *COUNTS):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < (name not in COUNTS):
                yield f"{name}: {value!r} is no count"

    @property
    def brief(self) -> str:
        """The values alone, in one short line."""
        return ", ".join(f"{name} {value}" for name, value in self.values)

    def __str__(self) -> str:
        """One short line: the family and the values."""
        return f"{self.family}, {self.brief}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return {**vars(self), "values": dict(self.values)}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FamilySpec:
        """The spec of a dictionary such as `to_dict` gives.

        Raises:
            SpecError: Unknown or missing fields, or values of the wrong type.
        """
        known = [each.name for each in fields(cls)]
        problems = [f"{key}: unknown field of a family's network" for key in values if key not in known]
        # Specs of before did not count whole numbers.
        problems += [f"{key}: missing; a search writes it" for key in known if key not in {*values, "integer_bytes"}]
        if not problems and not isinstance(values["values"], Mapping):
            problems = [f"values: {values['values']!r} is no object of dimensions"]
        if problems:
            raise SpecError(problems)
        return cls(**{**values, "values": tuple(values["values"].items())})


@dataclass(frozen=True)
class FamilySpace:
    """The dimensions of a family of the user's own, as a study records them.

    Attributes:
        family: Where the family is, as "package.module:Family".
        choices: Name and choices of each dimension, the cheapest choice first.
        knob: The dimension that is lowered until a network fits; empty for none.
        image_size: Height and width of the images in pixels.
        in_channels: Channels of the images.
        classes: Outputs of the classifier.

    Examples:
        >>> space = FamilySpace("my_vit:ViT", (("depth", (2, 4)), ("width", (32, 64, 96))), "width", 32, 3, 10)
        >>> space.in_words
        'my_vit:ViT: depth 2 or 4; width 32, 64 or 96, lowered to what fits'
    """

    family: str
    choices: tuple[tuple[str, tuple[Choice, ...]], ...]
    knob: str
    image_size: int
    in_channels: int
    classes: int

    @property
    def in_words(self) -> str:
        """The family and its dimensions in one line."""
        dimensions = [
            f"{name} {_listed(choices)}{', lowered to what fits' if name == self.knob else ''}"
            for name, choices in self.choices
        ]
        return f"{self.family}: {'; '.join(dimensions)}"


def _listed(choices: tuple[Choice, ...]) -> str:
    words = [str(choice) for choice in choices]
    if len(words) > 6:
        return f"{words[0]}, {words[1]}, ... {words[-1]} ({len(words)})"
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
