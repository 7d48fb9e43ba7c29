"""`Dimension`: one coordinate of a proposal, a range or a list of choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas_budget.arch.family_spec import FamilySpace


@dataclass(frozen=True)
class Dimension:
    """One coordinate of a proposal: a range, or choices when `choices` is not empty.

    Attributes:
        name: Key of the coordinate in a proposal.
        low: Least value of a range.
        high: Largest value of a range.
        choices: The values of a categorical coordinate; `low` and `high` are then not used.
        whole: Whether a range holds whole numbers only.
        log: Whether a sampler should work on the logarithm.

    Examples:
        >>> Dimension("growth_2", 0.5, 3.0, log=True).contains(2.5)
        True
        >>> Dimension("pool", choices=(2, 4, "global")).contains(3)
        False
    """

    name: str
    low: float = 0
    high: float = 0
    choices: tuple[Any, ...] = ()
    whole: bool = False
    log: bool = False

    def contains(self, value: Any) -> bool:
        """Whether the value is one of the choices, or within the range."""
        return value in self.choices if self.choices else bool(self.low <= value <= self.high)


def family_dimensions(space: FamilySpace) -> tuple[Dimension, ...]:
    """The dimensions of a family that have several choices."""
    return tuple(Dimension(name, choices=choices) for name, choices in space.choices if len(choices) > 1)
