"""The table against the scalar count, network by network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget.arch import cost_table as table
from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.cost_table import COLUMNS, columns_of, cost_table, fits_table
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import SpecError
from tests.strategies import specs

PER_STAGE = ("blocks", "kernels", "strides", "expansions")
IMAGE = ("image_size", "in_channels", "classes")
OPTIONS = (
    "pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction", "stem_width", "activation", "groups",
    "stem_stride", "head_width",
)  # fmt: skip


def arrays(group: Sequence[ResNetSpec]) -> dict[str, Any]:
    """Specs of the same images as arguments of `cost_table`, their rows padded to the most stages."""
    most = max(len(spec.channels) for spec in group)

    def padded(name: str, fill: int) -> Any:
        rows = [getattr(spec, name) for spec in group]
        return np.array([[*row, *[fill] * (most - len(row))] for row in rows])

    stages = {"channels": padded("channels", 0)} | {name: padded(name, 1) for name in PER_STAGE}
    options = {name: np.array([getattr(spec, name) for spec in group]) for name in OPTIONS if name != "pool"}
    pool = np.array([0 if spec.pool == "global" else spec.pool for spec in group])
    return {**stages, **options, "pool": pool, **{name: getattr(group[0], name) for name in IMAGE}}


def counts(spec: ResNetSpec) -> dict[str, int]:
    used = cost(spec)
    return {name: getattr(used, name) for name in COLUMNS}


@settings(max_examples=150)
@given(st.data(), st.integers(4, 33), st.integers(1, 4), st.integers(1, 12))
def test_each_row_is_what_cost_counts(data: st.DataObject, image_size: int, in_channels: int, classes: int) -> None:
    group = data.draw(st.lists(specs(max_width=200, image=(image_size, in_channels, classes)), min_size=1, max_size=6))
    counted = cost_table(**arrays(group))
    for row, spec in enumerate(group):
        assert {name: int(counted[name][row]) for name in COLUMNS} == counts(spec)


@settings(max_examples=60)
@given(specs(max_width=200))
def test_one_number_stands_for_all(spec: ResNetSpec) -> None:
    values = spec.to_dict()
    del values["dropout"]
    counted = cost_table(**{**values, "channels": [spec.channels] * 3})
    assert {name: column.tolist() for name, column in counted.items()} == {n: [v] * 3 for n, v in counts(spec).items()}


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = np.random.default_rng(0).integers(1, 99, (50, 3))
    kinds = np.resize(["basic", "preact"], 50)
    whole = cost_table(widths), cost_table(widths, block=kinds)
    monkeypatch.setattr(table, "ROWS_AT_ONCE", 7)
    for before, after in zip(whole, (cost_table(widths), cost_table(widths, block=kinds)), strict=True):
        assert all(np.array_equal(before[name], after[name]) for name in COLUMNS)


def test_only_the_columns_asked_for() -> None:
    assert list(cost_table([[8, 16]], columns=["macs"])) == ["macs"]


@pytest.mark.parametrize(
    "budget",
    [
        Budget(100_000),
        Budget(None, macs=3_000_000),
        Budget(90_000, weight_bytes=100_000, weight_format="int8"),
        Budget(None, weight_bytes=300_001),
        Budget(None, activation_bytes=150_000),
        Budget(None, activation_bytes=40_000, activation_format="int8"),
    ],
)
def test_what_fits_is_what_the_budget_says(budget: Budget) -> None:
    widths = np.random.default_rng(1).integers(1, 60, (200, 3))
    fits = fits_table(cost_table(widths, 2, columns=columns_of(budget)), budget)
    expected = [budget.check(ResNetSpec(tuple(map(int, row)), 2)).fits for row in widths]
    assert fits.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_without_a_limit_everything_fits() -> None:
    assert fits_table(cost_table([[8], [9]], columns=columns_of(Budget(None))), Budget(None)).tolist() == [True, True]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": []}, "shape"),
        ({"channels": [[[8]]]}, "shape"),
        ({"channels": [[0, 8]]}, "before a width"),
        ({"channels": [[8, 0, 8]]}, "before a width"),
        ({"channels": [[-8]]}, "channels"),
        ({"channels": [[8.5]]}, "whole numbers"),
        ({"channels": [[8, 8]], "blocks": [1, 2, 3]}, "blocks"),
        ({"channels": [[8]], "kernels": 4}, "odd"),
        ({"channels": [[8]], "stem_kernel": [3, 3]}, "stem_kernel"),
        ({"channels": [[8, 8]], "pool": 17}, "pool"),
        ({"channels": [[8]], "block": "convnext"}, "bottleneck"),
        ({"channels": [[8]], "columns": ["flops"]}, "macs"),
        ({"channels": [[65_536] * 9], "kernels": 31, "blocks": 1000, "image_size": 4096, "pool": 1}, "one by one"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        cost_table(**wrong)
