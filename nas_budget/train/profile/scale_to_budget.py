"""`scale_to_budget`: the largest value of one knob whose torch module fits, for modules of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import floor, isfinite
from typing import Any, Generic, TypeVar

from torch import nn

from nas_budget.arch.budget import Budget, Margin, Verdict
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.train.profile.count_module import ModuleCost, count_built

Value = TypeVar("Value")


@dataclass(frozen=True)
class Scaled(Generic[Value]):
    """The largest value of a knob whose module fits, as `scale_to_budget` returns it.

    Attributes:
        value: What to give to the builder.
        cost: Of the module that it builds.
        margins: Limit, use and what is left, for each limit that is set.
        above: The next value, which does not fit; None where the last value fits, so that more may be possible.

    Examples:
        >>> found = scale_to_budget(lambda width: nn.Linear(64, width), Budget(params=1_000), range(1, 101), (64,))
        >>> found.value, found.cost.params, found.margins[0].margin, found.above
        (15, 975, 25, 16)
    """

    value: Value
    cost: ModuleCost
    margins: tuple[Margin, ...]
    above: Value | None


def scale_to_budget(
    build: Callable[[Value], nn.Module],
    budget: Budget | None = None,
    values: Sequence[Value] | None = None,
    input_shape: Sequence[int] = (3, 32, 32),
    gap: int = 8,
) -> Scaled[Value]:
    """The largest value of a knob for which a torch builder of yours returns a module that keeps every limit.

    Modules are counted as `count_module` does, on the meta device: nothing is computed, and their size does not matter.
    A builder that reads values while it builds runs on the CPU. Few are built: the place in `values` is doubled until a
    module does not fit, then the gap is halved. That is about 2 log2(place) + `gap` builds, and none of them has more
    than about twice the place of what is returned.

    What is returned fits, and none of the `gap` values above it does. Where cost never falls from one value to the
    next, it is the largest value that fits. Where cost sometimes falls (groups or heads that go by the width), it is
    still the largest, unless `gap` or more values in a row that do not fit lie between it and one that does.
    `gap=len(values)` is always exact: every value above the one returned is built.

    Args:
        build: Takes a value and returns a new module. It should build the same one each time.
        budget: The limits; None for 5 M parameters. Bytes of activations cannot be limited.
        values: Rising values: a range, a list, or what `float_range` returns. None for width multipliers from 0.01 to
            10 in steps of 0.01.
        input_shape: Shape of one input without the batch.
        gap: How many values in a row are built above the one returned, at least 1.

    Raises:
        NothingFitsError: None of the first `gap` values fits. It says what the smallest costs and by how much that is
            too much.
        UsageError: Values that do not rise, a gap below 1, or a limit on bytes of activations.
        NasBudgetError: The builder fails for a value, or its module cannot be run with this shape; it says which.

    Examples:
        >>> from torchvision.models import mobilenet_v2
        >>> widths = float_range(0.1, 2, 0.05)
        >>> found = scale_to_budget(lambda width: mobilenet_v2(width_mult=width), Budget(params=2_000_000), widths)
        >>> found.value, f"{found.cost.params:,}", [margin.margin for margin in found.margins]
        (0.5, '1,968,680', [31320])
    """
    limits = budget or Budget()
    tried: Sequence[Any] = float_range(0.01, 10, 0.01) if values is None else values
    _check(tried, gap)

    @cache
    def verdict_at(place: int) -> tuple[ModuleCost, Verdict]:
        used = count_built(lambda: build(tried[place]), input_shape, f"value {tried[place]!r}")
        return used, used.check(limits)

    place = largest_fitting(lambda place: verdict_at(place)[1].fits, len(tried), gap)
    if place is None:
        verdict = verdict_at(0)[1]
        over = " and ".join(f"{-m.margin:,} {m.words}" for m in verdict.margins if m.margin < 0)
        others = min(gap, len(tried)) - 1
        raise NothingFitsError(
            f"nothing fits: {tried[0]!r}, the smallest value, needs {verdict.excess}, which is {over} too many"
            f"{f', and none of the next {others} fits' if others else ''}; raise the limit or give smaller values"
        )
    used, verdict = verdict_at(place)
    return Scaled(tried[place], used, verdict.margins, tried[place + 1] if place + 1 < len(tried) else None)


def largest_fitting(fits: Callable[[int], bool], n: int, gap: int = 1) -> int | None:
    """A place from 0 to n - 1 that fits with none that does among the `gap` above it; None where the first do not.

    It is the last place that fits, unless `gap` or more places in a row that do not fit lie below that one. The same
    place may be asked for twice.

    Examples:
        >>> largest_fitting(lambda place: place <= 41, 1_000)
        41
        >>> [largest_fitting(lambda place: place in (0, 1, 2, 5), 10, gap) for gap in (1, 3)]
        [2, 5]
    """
    last, step = -1, 1
    while (end := last + step) < n and fits(end):
        last, step = end, 2 * step
    end = min(end, n)
    while end - last > 1:
        middle = (last + end) // 2
        last, end = (middle, end) if fits(middle) else (last, middle)
    while above := [place for place in range(last + 1, min(last + gap, n - 1) + 1) if fits(place)]:
        last = above[-1]
    return None if last < 0 else last


def float_range(low: float, high: float, step: float) -> tuple[float, ...]:
    """The numbers from `low` to `high`, both included, in steps, rounded to nine digits.

    Examples:
        >>> float_range(0.1, 0.5, 0.1)
        (0.1, 0.2, 0.3, 0.4, 0.5)
    """
    if not (isfinite(low) and isfinite(high) and step > 0 and low <= high):
        raise UsageError(f"a range from {low} to {high} in steps of {step} is empty; give the least, the most, a step")
    return tuple(float(f"{low + i * step:.9g}") for i in range(floor((high - low) / step + 1e-9) + 1))


def _check(values: Sequence[Any], gap: int) -> None:
    if not len(values):
        raise UsageError("values: none given; give rising values, such as range(8, 513, 8)")
    for lower, higher in pairwise(values):
        if not lower < higher:
            raise UsageError(f"values: {higher!r} comes after {lower!r}; give values that rise, each once")
    if gap < 1:
        raise UsageError(f"gap: {gap} is not allowed; give a whole number of 1 or more")
