from __future__ import annotations

import numpy as np
import pytest

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.network_rows import Rows, count_rows, n_rows, rows_of, selected, spec_of
from nas_budget.space.random_networks import mutated_networks, random_networks, size_bounds
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains

SPACES = {
    "default": FeasibleSpace(SearchSpace(), Budget(params=5_000_000)),
    "several limits": FeasibleSpace(SearchSpace(), Budget(params=500_000, macs=20_000_000, activation_bytes=300_000)),
    "no limit on parameters": FeasibleSpace(SearchSpace(width=(8, 64)), Budget(params=None, macs=10_000_000)),
    "blocks for devices": FeasibleSpace(
        SearchSpace(
            stages=(1, 4), blocks=(1, 3), block=("basic", "bottleneck", "separable", "inverted"), groups=(4, 8),
            width=(4, 64), expansions=(0, 1, 3), stem_stride=(1, 2), head_width=(0, 40), activation=("relu6", "silu"),
        ),
        Budget(params=100_000),
    ),
    "everything open": FeasibleSpace(
        SearchSpace(
            stages=(1, 4), blocks=(1, 3), stem_kernel=(3, 5), block=("basic", "preact", "bottleneck"), width=(4, 64),
            width_step=4, se_reduction=(0, 4), stem_width=(0, 8), first_stride=(1, 2), strides=(1, 2), fill=(0.1, 0.9),
        ),
        Budget(params=200_000),
    ),
}  # fmt: skip
every_space = pytest.mark.parametrize("feasible", SPACES.values(), ids=SPACES)


@every_space
def test_all_fit_belong_to_the_space_and_are_what_their_rows_say(feasible: FeasibleSpace) -> None:
    rng = np.random.default_rng(0)
    rows = random_networks(feasible, 300, rng)
    assert len(rows["pool"]) > 100
    for some in (rows, mutated_networks(feasible, rows, rng)):
        specs = [spec_of(feasible.space, some, i) for i in range(len(some["pool"]))]
        assert all(feasible.fits(spec) and contains(feasible.space, spec) for spec in specs)
        counted = count_rows(feasible.space, some, feasible.budget)["params"]
        assert [cost(spec).params for spec in specs] == counted.tolist()
        assert [spec_of(feasible.space, rows_of(feasible.space, specs), i) for i in range(len(specs))] == specs
        assert counted.max() <= np.exp(size_bounds(feasible)[1]) + 1


def test_sizes_are_spread_evenly_on_a_log_scale_up_to_the_budget() -> None:
    feasible = SPACES["default"]
    rows = random_networks(feasible, 2_000, np.random.default_rng(1))
    sizes = np.log(count_rows(feasible.space, rows, feasible.budget)["params"])
    low, high = size_bounds(feasible)
    counts, _ = np.histogram(sizes, bins=4, range=(low, high))
    assert counts.min() > 0.8 * 500
    # Each is as wide as its size allows: one step of the widest stage more would be over it.
    assert np.exp(sizes.max()) > 0.98 * 5_000_000


def test_a_limit_on_bytes_of_weights_bounds_the_sizes_as_one_on_parameters_does() -> None:
    feasible = FeasibleSpace(SearchSpace(), Budget(params=None, weight_bytes=200_000, weight_format="fp16"))
    assert np.exp(size_bounds(feasible)[1]) == pytest.approx(100_000)
    rows = random_networks(feasible, 500, np.random.default_rng(1))
    sizes = count_rows(feasible.space, rows, feasible.budget)["params"]
    assert np.median(sizes) < 0.5 * sizes.max()  # else all would be as large as can be


def test_relatives_differ_in_little_and_half_of_them_keep_their_size() -> None:
    feasible = SPACES["default"]
    rng = np.random.default_rng(2)
    parent = selected(random_networks(feasible, 50, rng), [7])
    children = mutated_networks(feasible, selected(parent, np.zeros(400, int)), rng)
    before = count_rows(feasible.space, parent, feasible.budget)["params"][0]
    ratios = count_rows(feasible.space, children, feasible.budget)["params"] / before
    assert 0.4 < (np.abs(np.log(ratios)) < 0.02).mean() < 0.6
    assert np.abs(np.log(ratios)).max() < 2
    different = sum(
        (children[name] != parent[name]).reshape(len(ratios), -1).any(axis=1) for name in ("blocks", "kernels")
    )
    assert 0.1 < (different > 0).mean() < 0.6
    specs = {spec_of(feasible.space, children, i) for i in range(len(ratios))}
    assert len(specs) > 200


def test_the_same_seed_gives_the_same() -> None:
    feasible = SPACES["several limits"]
    one, other = (random_networks(feasible, 50, np.random.default_rng(3)) for _ in range(2))
    assert all((one[name] == other[name]).all() for name in one)


def test_relatives_of_networks_of_one_kind_of_block_may_have_another() -> None:
    feasible = SPACES["everything open"]
    basic = [
        spec
        for spec in _specs(feasible, random_networks(feasible, 200, np.random.default_rng(0)))
        if spec.block == "basic"
    ]
    relatives = mutated_networks(feasible, rows_of(feasible.space, basic), np.random.default_rng(1))
    assert {spec.block for spec in _specs(feasible, relatives)} == {"basic", "preact", "bottleneck"}


def _specs(feasible: FeasibleSpace, rows: Rows) -> list[ResNetSpec]:
    return [spec_of(feasible.space, rows, i) for i in range(n_rows(rows))]
