"""The largest value of a knob that fits, against a look at every value."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import VisionTransformer, mobilenet_v2

from nas_budget import Budget, float_range, scale_to_budget
from nas_budget.errors import NasBudgetError, NothingFitsError, UsageError
from nas_budget.train.profile.scale_to_budget import largest_fitting

COSTS = st.lists(st.integers(1, 60), min_size=1, max_size=60)


def longest_dip(fits: Sequence[bool]) -> int:
    """The longest row of places that do not fit below the last that does."""
    longest = length = 0
    for one in fits[: len(fits) - fits[::-1].index(True)] if True in fits else []:
        length = 0 if one else length + 1
        longest = max(longest, length)
    return longest


@given(COSTS.map(sorted), st.integers(0, 61))
def test_where_cost_rises_it_is_the_largest_and_few_are_looked_at(costs: list[int], limit: int) -> None:
    asked: set[int] = set()

    def fits(place: int) -> bool:
        asked.add(place)
        return costs[place] <= limit

    brute = max((place for place, cost in enumerate(costs) if cost <= limit), default=None)
    assert largest_fitting(fits, len(costs)) == brute
    most = 0 if brute is None else brute + 1
    assert len(asked) <= 2 * (most + 1).bit_length()
    assert max(asked) <= 2 * most  # what is far too large is never built


@given(COSTS, st.integers(0, 61), st.integers(1, 12))
@example([5, 1, 9, 9, 2, 9], 4, 3)
def test_where_cost_falls_at_times_a_gap_says_how_far_it_is_exact(costs: list[int], limit: int, gap: int) -> None:
    fits = [cost <= limit for cost in costs]
    brute = max((place for place, one in enumerate(fits) if one), default=None)
    found = largest_fitting(fits.__getitem__, len(fits), gap)
    if found is not None:
        assert fits[found]
    above = 0 if found is None else found + 1
    assert not any(fits[above : above + gap])
    if longest_dip(fits) < gap:
        assert found == brute
    assert largest_fitting(fits.__getitem__, len(fits), len(fits)) == brute


@given(st.integers(-50, 50), st.integers(1, 40), st.integers(0, 60))
def test_a_range_of_floats_has_the_decimals_that_were_meant(low: int, step: int, n: int) -> None:
    found = float_range(low / 100, (low + n * step) / 100, step / 100)
    assert found == tuple((low + i * step) / 100 for i in range(n + 1))


def test_a_value_is_built_once_and_what_is_far_too_large_never() -> None:
    built: list[int] = []

    def build(width: int) -> nn.Module:
        built.append(width)
        return nn.Linear(4, width)

    found = scale_to_budget(build, Budget(params=500), range(1, 10_000), (4,))
    assert (found.value, found.above) == (100, 101)
    assert len(built) == len({*built}) < 25
    assert max(built) < 200


def mobilenet(width: float) -> nn.Module:
    """Widths are multiples of 8, so many multipliers give the same network."""
    return mobilenet_v2(num_classes=10, width_mult=width)


def transformer(width: int) -> nn.Module:
    return VisionTransformer(32, 8, num_layers=2, num_heads=4, hidden_dim=width, mlp_dim=2 * width, num_classes=10)


@pytest.mark.parametrize(
    ("budget", "unit"),
    [
        (Budget(params=400_000), "params"),
        (Budget(params=None, macs=2_000_000), "macs"),
        (Budget(params=10**6, weight_bytes=500_000, weight_format="int8"), "weight_bytes"),
    ],
)
def test_the_multiplier_of_a_mobilenet(budget: Budget, unit: str) -> None:
    values = float_range(0.1, 1.0, 0.05)
    found = scale_to_budget(mobilenet, budget, values)
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in mobilenet(value).parameters()) for value in (found.value, found.above or 0)]
    assert found.cost.params == sizes[0] < sizes[1]
    assert found.above == values[values.index(found.value) + 1]
    assert all(margin.margin >= 0 for margin in found.margins)
    assert next(m.limit for m in found.margins if m.name == unit) < 2 * next(
        m.used for m in found.margins if m.name == unit
    )


def test_the_width_of_a_vision_transformer() -> None:
    found = scale_to_budget(transformer, Budget(params=100_000), range(8, 513, 8))
    assert found.value == max(w for w in range(8, 513, 8) if sum(p.numel() for p in transformer(w).parameters()) <= 1e5)
    assert [(m.name, m.used) for m in found.margins] == [("params", found.cost.params)]


def test_a_builder_whose_cost_falls_at_times() -> None:
    def build(width: int) -> nn.Module:
        inner = nn.Conv2d(2 * width, 2 * width, 1, groups=2 if width % 2 else 1, bias=False)
        return nn.Sequential(nn.Conv2d(3, 2 * width, 1, bias=False), inner)

    # An even width has 6 w + 4 w^2 parameters, an odd one 6 w + 2 w^2: 1,720 for a width of 20, 1,620 for one of 27.
    assert scale_to_budget(build, Budget(1_720), range(2, 60)).value == 27
    assert scale_to_budget(build, Budget(1_720), range(2, 60), gap=1).value == 21


@pytest.mark.parametrize(
    ("budget", "values", "problem"),
    [
        (
            Budget(params=100),
            range(8, 100),
            "nothing fits: 8, the smallest value, needs 224 parameters (100 allowed), which is 124 parameters too many"
            ", and none of the next 7 fits; raise the limit or give smaller values",
        ),
        (Budget(params=100, macs=1_000), (8,), "which is 124 parameters and 220,184 MACs too many; raise"),
    ],
)
def test_nothing_fits(budget: Budget, values: Sequence[int], problem: str) -> None:
    with pytest.raises(NothingFitsError) as caught:
        scale_to_budget(lambda width: nn.Conv2d(3, width, 3, padding=1), budget, values)
    assert problem in str(caught.value)


def test_more_may_fit_than_was_given() -> None:
    found = scale_to_budget(lambda width: nn.Conv2d(3, width, 3), Budget(params=10_000), [1, 2, 4])
    assert (found.value, found.above) == (4, None)


def test_a_builder_that_reads_values_runs_on_the_cpu() -> None:
    def build(width: int) -> nn.Module:
        rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.Dropout(rates[-1]))

    assert scale_to_budget(build, Budget(params=280), range(1, 100)).value == 10


@pytest.mark.parametrize(
    ("values", "gap", "problem"),
    [
        ([], 8, "values: none given"),
        ([1, 3, 2], 8, "values: 2 comes after 3; give values that rise"),
        ([1, 1], 8, "values: 1 comes after 1"),
        ([1, 2], 0, "gap: 0 is not allowed"),
    ],
)
def test_values_that_make_no_sense(values: list[int], gap: int, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        scale_to_budget(lambda width: nn.Conv2d(3, width, 3), Budget(), values, gap=gap)


def test_bytes_of_activations_are_not_counted() -> None:
    with pytest.raises(UsageError, match="^activation_bytes: not counted for a module"):
        scale_to_budget(lambda width: nn.Conv2d(3, width, 3), Budget(activation_bytes=1_000), [1])


def test_a_value_that_cannot_be_built_is_named() -> None:
    with pytest.raises(NasBudgetError, match=r"^value 7: building the module failed \(ValueError: "):
        scale_to_budget(lambda width: nn.Conv2d(3, width, 3, groups=3 if width % 3 == 0 else 4), Budget(), [6, 7])


@pytest.mark.parametrize("bad", [(1, 0, 1), (0, 1, 0), (0, 1, -1), (0, float("inf"), 1), (float("nan"), 1, 1)])
def test_a_range_of_floats_that_is_empty(bad: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match="is empty; give the least, the most, a step"):
        float_range(*bad)
