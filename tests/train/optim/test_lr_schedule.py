"""The learning rates of a recipe are those of torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from nas_budget.train.optim.lr_schedule import MOMENTUM, lr_schedule
from nas_budget.train.optim.recipe import RECIPES, Recipe


@pytest.mark.parametrize("n_steps", [2, 5, 10, 117, 1000])
def test_one_cycle_is_torchs_with_its_momentum(n_steps: int) -> None:
    optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters(), 0.01)
    scheduler = OneCycleLR(optimizer, 0.01, total_steps=n_steps)
    for step in range(n_steps):
        now, group = lr_schedule(RECIPES["paper"], step, n_steps), optimizer.param_groups[0]
        assert 0.01 * now.lr_factor == pytest.approx(group["lr"], rel=1e-9)
        assert now.momentum == pytest.approx(group["betas"][0], rel=1e-9)
        optimizer.step()
        if step < n_steps - 1:
            scheduler.step()


@given(st.sampled_from(["linear", "cosine"]), st.floats(0, 0.9), st.integers(1, 300))
def test_rates_rise_to_the_full_one_and_fall_to_about_zero(schedule: str, warmup: float, n_steps: int) -> None:
    recipe = Recipe(schedule=schedule, warmup=warmup)
    found = [lr_schedule(recipe, step, n_steps) for step in range(n_steps)]
    rates = [now.lr_factor for now in found]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert top == pytest.approx(warmup * n_steps, abs=1)
    assert max(rates) > 1 - 11 / n_steps
    assert rates[-1] < 11 / n_steps
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert {now.momentum for now in found} == {MOMENTUM}


@pytest.mark.parametrize("schedule", ["onecycle", "linear", "cosine"])
def test_the_shortest_training_has_a_schedule(schedule: str) -> None:
    assert lr_schedule(Recipe(schedule=schedule), 0, 1).lr_factor > 0


def test_a_cosine_falls_slower_first_and_faster_later() -> None:
    linear, cosine = (
        [lr_schedule(Recipe(schedule=s, warmup=0), i, 99).lr_factor for i in range(99)] for s in ("linear", "cosine")
    )
    assert cosine[20] > linear[20]
    assert cosine[80] < linear[80]
    assert cosine[49] == pytest.approx(0.5)
    assert math.isclose(linear[49], 0.5)
