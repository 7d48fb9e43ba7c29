from __future__ import annotations

import numpy as np
import pytest

from nas_budget.arch.cost import cost
from nas_budget.search.samplers.features import Features
from nas_budget.space.space import SearchSpace
from tests.search.samplers.spaces import FIXED, space_of

EVERYTHING = SearchSpace(
    stages=(1, 4), blocks=(1, 3), kernels=(3, 5), stem_kernel=(3, 5), block=("basic", "bottleneck"), width=(4, 64),
    se_reduction=(0, 4), stem_width=(0, 8), first_stride=(1, 2), strides=(1, 2),
)  # fmt: skip
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("space", [space_of(), space_of(EVERYTHING)], ids=["usual", "everything open"])
def test_features_are_standardized_and_say_sizes(space: object) -> None:
    rows = space.random(500, RNG)  # type: ignore[attr-defined]
    features = Features(space.networks, rows)  # type: ignore[attr-defined]
    table = features(rows)
    assert table.shape == (len(rows["pool"]), len(features.names))
    assert table.mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert table.std(axis=0) == pytest.approx(1)
    assert len(features.groups) == len(features.names)
    candidates = [space.candidate(rows, i) for i in range(20)]  # type: ignore[attr-defined]
    sizes = [cost(one.spec).params for one in candidates]
    assert np.exp(features.log_params(table))[:20] == pytest.approx(sizes)
    # A candidate has the same features as its row: what a sampler learns is about what it proposes.
    again = features(space.rows(candidates))  # type: ignore[attr-defined]
    # But for what the network does not use (a shortcut's kernel) or a recipe rounds.
    rounded = {"shortcut_kernel", *space.recipes.ranges}  # type: ignore[attr-defined]
    networks = [i for i, name in enumerate(features.names) if name not in rounded]
    assert again[:, networks] == pytest.approx(table[:20, networks])


def test_what_is_fixed_is_left_out() -> None:
    features = Features(space_of(recipes=FIXED).networks, space_of(recipes=FIXED).random(300, RNG))
    assert {"log_params", "log_macs", "log_width_1", "log_blocks", "first_stride"} <= set(features.names)
    assert not {"stem_kernel", "block_basic", "has_se", "learning_rate", "optimizer_sgd"} & set(features.names)


def test_what_a_recipe_leaves_open_is_in() -> None:
    space = space_of()
    features = Features(space.networks, space.random(300, RNG))
    assert {"learning_rate", "batch_size"} <= set(features.names)
