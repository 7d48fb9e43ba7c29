"""Small spaces whose every network can be listed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

from hypothesis import strategies as st

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import Cost, cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.spec_factory import contains, make_spec, stride_patterns, width_grid
from tests.strategies import DEVICE

SMALL = {
    "plain": SearchSpace(stages=(1, 3), blocks=(1, 2), kernels=(3,), pool=(2, "global"), width=(4, 7)),
    "growth": SearchSpace(
        stages=(2, 4), blocks=(1, 1), kernels=(1, 3), pool=(2,), shortcut_kernel=(1,), width=(4, 12), width_step=2,
        growth=(1.2, 2.0),
    ),
    "options": SearchSpace(
        stages=(1, 2), blocks=(1, 2), kernels=(3,), pool=(2, 4), stem_kernel=(1, 3),
        block=("basic", "preact", "bottleneck"), se_reduction=(0, 4), stem_width=(0, 6),
        width=(5, 6), first_stride=(1, 2),
    ),
    "strides": SearchSpace(
        stages=(1, 3), blocks=(1, 1), kernels=(3,), pool=(1, 3), width=(3, 6), strides=(1, 2), first_stride=(1, 3),
        stem_width=(5, 9), image_size=9,
    ),
    "devices": SearchSpace(
        stages=(1, 2), blocks=(1, 2), kernels=(3,), pool=("global",), shortcut_kernel=(1, 3), width=(4, 6),
        width_step=2, block=("basic", "bottleneck", "separable", "inverted"), groups=(2, 3), expansions=(0, 1),
        stem_stride=(1, 2), head_width=(0, 5), activation=("relu6", "silu"), image_size=7,
    ),
    "tiny images": SearchSpace(
        stages=(1, 3), blocks=(1, 2), kernels=(1, 3), pool=(1, 2), shortcut_kernel=(1, 3, 5), width=(3, 4),
        image_size=1,
    ),
}  # fmt: skip

WIDE = SearchSpace(stages=(2, 5), first_stride=(1, 2), stem_kernel=(1, 3), kernels=(1, 3, 5))
"""Wide and deep, with every kind of choice that a proposal makes."""

BUDGETS = [
    Budget(6_000),
    Budget(None, macs=1_500_000),
    Budget(9_000, macs=1_500_000),
    Budget(5_000, weight_bytes=5_400, weight_format="int8"),
    Budget(9_000, macs=2_000_000, weight_bytes=9_100, weight_format="int8", activation_bytes=70_000),
    Budget(None, activation_bytes=60_000),
    Budget(None, activation_bytes=15_000, activation_format="int8"),
    Budget(1),
    Budget(None, latency_ns=25_000, latency_model=DEVICE),
    Budget(9_000, macs=2_000_000, latency_ns=10_000, latency_model=DEVICE),
]


@cache
def every(name: str) -> dict[ResNetSpec, Cost]:
    """All networks of a space of `SMALL`, and what each costs."""
    return {spec: cost(spec) for spec in dict.fromkeys(listed(SMALL[name]))}


def fitting(name: str, budget: Budget | None) -> set[ResNetSpec]:
    """Those that keep every limit."""
    return {spec for spec, used in every(name).items() if budget is None or budget.check(used).fits}


def listed(space: SearchSpace) -> Iterator[ResNetSpec]:
    """All networks of a space, one by one, some more than once."""
    grid = width_grid(space)
    ways = [*product(range(space.blocks[0], space.blocks[1] + 1), space.kernels, space.expansions)]
    for n in range(space.stages[0], space.stages[1] + 1):
        for widths, through, strides in product(
            product(grid, repeat=n), product(ways, repeat=n), stride_patterns(space, n)
        ):
            for values in product(*(getattr(space, name) for name in OPTIONS)):
                parts = zip(*through, strict=True)
                spec = make_spec(space, widths, *parts, strides, dict(zip(OPTIONS, values, strict=True)))
                if contains(space, spec):
                    yield spec


def points(space: SearchSpace) -> st.SearchStrategy[dict[str, Any]]:
    values = {
        d.name: st.sampled_from(d.choices)
        if d.choices
        else st.integers(int(d.low), int(d.high))
        if d.whole
        else st.floats(d.low, d.high)
        for d in space.dimensions()
    }
    return st.fixed_dictionaries(values)
