"""Networks as rows of arrays: thousands of them in the form that `cost_table` counts, and back to specs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost_table import columns_of, cost_table
from nas_budget.arch.spec import ResNetSpec
from nas_budget.space.space import OPTIONS, PER_STAGE, SearchSpace
from nas_budget.space.spec_factory import make_spec

Rows = dict[str, NDArray[Any]]
"""Networks as arguments of `cost_table`: an array a field, shape (N,), or (N, S) for what each stage has.

Rows of fewer stages than the most end in widths and expansions of 0, and in ones for the rest. Other fields, such as
those of recipes, may travel along.
"""
PADDING = {"channels": 0, "blocks": 1, "kernels": 1, "expansions": 0.0, "strides": 1}
"""What stands for a stage that a network does not have."""


def spec_of(space: SearchSpace, rows: Rows, i: int) -> ResNetSpec:
    """The network of a row."""
    n = int(np.count_nonzero(rows["channels"][i]))
    stages = {name: rows[name][i, :n].tolist() for name in PER_STAGE}
    return make_spec(space, **stages, options={name: rows[name][i].item() for name in OPTIONS})


def rows_of(space: SearchSpace, specs: Sequence[ResNetSpec]) -> Rows:
    """The rows of networks of a space, padded to its most stages."""
    most = space.stages[1]
    rows: Rows = {
        name: np.array([(*getattr(spec, name), *[fill] * (most - len(spec.channels))) for spec in specs], type(fill))
        for name, fill in PADDING.items()
    }
    for name in OPTIONS:
        attribute = {"pool": "pool_size"}.get(name, name)
        found = np.array([getattr(spec, attribute) for spec in specs])
        # A kind of block may become one with a longer name, and an array of texts has room for its longest alone.
        others = np.array([choice for choice in getattr(space, name) if choice != "global"] or found)
        rows[name] = found.astype(np.promote_types(found.dtype, others.dtype))
    return rows


def count_rows(space: SearchSpace, rows: Rows, budget: Budget, *more: str) -> dict[str, NDArray[np.int64]]:
    """The columns of `cost_table` that say whether rows fit the budget, and more columns."""
    columns = [*dict.fromkeys((*columns_of(budget), *more))]
    if not len(rows["pool"]):
        return {name: np.zeros(0, np.int64) for name in columns}
    image = {name: getattr(space, name) for name in ("image_size", "in_channels", "classes")}
    networks: dict[str, Any] = {name: rows[name] for name in (*PER_STAGE, *OPTIONS)}
    return cost_table(**networks, **image, columns=columns, latency=budget.latency_model)


def n_rows(rows: Rows) -> int:
    """How many networks they are."""
    return len(next(iter(rows.values())))


def selected(rows: Rows, which: Any) -> Rows:
    """Some of the rows."""
    return {name: values[which] for name, values in rows.items()}


def joined(*several: Rows) -> Rows:
    """Rows one after the other."""
    return {name: np.concatenate([rows[name] for rows in several]) for name in several[0]}
