"""The widest network of a shape: nothing wider fits, and little is left over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.fit import fit, scaled_widths
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, SpecError

SHAPES = st.lists(st.floats(0.2, 9), min_size=1, max_size=5)
BUDGETS = [
    Budget(5_000_000),
    Budget(250_000),
    Budget(2_000_000, macs=50_000_000),
    Budget(None, weight_bytes=250_000, weight_format="int8"),
    Budget(1_000_000, activation_bytes=200_000),
]


def widths_at(multiplier: float, shape: list[float], step: int) -> list[int]:
    return [max(step, int(np.floor(multiplier * part / step + 0.5)) * step) for part in shape]


@settings(max_examples=80)
@given(SHAPES, st.sampled_from(BUDGETS), st.sampled_from([1, 4, 8]), st.sampled_from(["basic", "preact", "bottleneck"]))
def test_no_larger_multiplier_fits(shape: list[float], budget: Budget, step: int, block: str) -> None:
    options: dict[str, Any] = {"blocks": 2, "pool": "global", "block": block}
    fitted = fit(shape, budget, step, spend=False, **options)
    assert budget.check(fitted.spec).fits
    assert list(fitted.spec.channels) == widths_at(fitted.multiplier, shape, step)
    for larger in np.geomspace(fitted.multiplier, 20 * fitted.multiplier, 400)[1:]:
        widths = widths_at(float(larger), shape, step)
        if widths != list(fitted.spec.channels):
            assert not budget.check(ResNetSpec(widths, **options)).fits


@settings(max_examples=60)
@given(SHAPES, st.sampled_from(BUDGETS[:2]), st.sampled_from([1, 3]))
def test_the_remainder_is_spent(shape: list[float], budget: Budget, blocks: int) -> None:
    fitted = fit(shape, budget, blocks=blocks, pool="global")
    assert budget.params is not None
    used = cost(fitted.spec).params
    assert used <= budget.params
    if len(shape) > 1:  # of two stages the widths that one or two steps reach are few
        assert used >= (0.985 if len(shape) == 2 else 0.995) * budget.params
    for stage in range(len(shape)):
        wider = [width + (i == stage) for i, width in enumerate(fitted.spec.channels)]
        assert not budget.check(ResNetSpec(wider, blocks, pool="global")).fits
    assert fitted.scaled == fit(shape, budget, spend=False, blocks=blocks, pool="global").spec.channels


def test_widths_are_multiples_of_the_step() -> None:
    fitted = fit((1, 2, 4), Budget(), step=8, blocks=(4, 5, 3), shortcut_kernel=1, pool="global")
    assert all(width % 8 == 0 for width in fitted.spec.channels)
    assert 4_900_000 < cost(fitted.spec).params <= 5_000_000


def test_every_limit_binds() -> None:
    free = fit((1, 2, 4), Budget(None, macs=30_000_000), pool="global").spec
    for limit in Budget(100_000), Budget(None, activation_bytes=100_000), Budget(None, weight_bytes=90_000):
        assert limit.check(fit((1, 2, 4), limit, pool="global").spec).fits
    both = fit((1, 2, 4), Budget(100_000, macs=30_000_000), pool="global").spec
    assert cost(both).params <= 100_000 < cost(free).params
    assert cost(both).macs <= 30_000_000


def test_a_stem_keeps_its_width() -> None:
    spec = fit((1, 2, 4), Budget(), blocks=2, block="preact", stem_width=16, shortcut_kernel=1, pool="global").spec
    assert spec.stem_channels == 16


def test_many_stages() -> None:
    spec = fit((1,) * 18, Budget(500_000), blocks=1, strides=1, pool="global").spec
    assert 480_000 < cost(spec).params <= 500_000


def test_huge_images_are_counted_too() -> None:
    assert fit((1, 2), Budget(None, macs=10**12), blocks=1, image_size=4096, pool="global").spec.channels[0] > 1


def test_roundings_come_from_the_narrowest_to_the_widest() -> None:
    widths, multipliers = scaled_widths((1, 2), 1, 2, 6)
    assert widths.tolist() == [[2, 2], [2, 3], [2, 4], [2, 5], [3, 5], [3, 6], [4, 6], [5, 6], [6, 6]]
    assert (np.diff(multipliers) > 0).all()


def test_nothing_of_the_shape_fits() -> None:
    with pytest.raises(NothingFitsError, match=r"needs 8,322 parameters \(1,000 allowed\)"):
        fit((1, 2), Budget(1_000), blocks=1, step=8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shape": ()}, "shape"),
        ({"shape": (1, 0)}, "shape"),
        ({"shape": (1, float("nan"))}, "shape"),
        ({"shape": (1, 2), "step": 0}, "step"),
        ({"shape": (1, 2), "blocks": (1, 2, 3)}, "blocks"),
        ({"shape": (1, 2), "pool": 99}, "pool"),
    ],
)
def test_what_makes_no_network_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        fit(**wrong)
