from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from nas_budget.errors import SettingsError
from nas_budget.train.optim.recipe import RECIPES, Recipe


def test_the_papers_recipe_is_what_its_notebook_says() -> None:
    paper = RECIPES["paper"]
    assert (paper.optimizer, paper.learning_rate, paper.schedule) == ("adam", 0.01, "onecycle")
    assert (paper.weight_decay, paper.decays, paper.clip_value) == (1e-4, "all", 0.1)
    assert (paper.batch_size, paper.epochs, paper.crop_pad, paper.flip) == (400, 150, 4, "random")


def test_a_recipe_is_changed_by_making_another() -> None:
    with pytest.raises(FrozenInstanceError):
        RECIPES["fast"].epochs = 3


WRONG: dict[str, list[Any]] = {
    "optimizer": ["lion"],
    "schedule": ["", "step"],
    "decays": ["none", ""],
    "flip": [True, ""],
    "learning_rate": [0, -0.1, math.nan, math.inf],
    "other_lr": [0],
    "weight_decay": [-1e-9, math.nan],
    "clip_value": [-1, math.nan],
    "warmup": [1.0, math.nan],
    "batch_size": [1, 10**7],
    "epochs": [0, 10**6],
    "label_smoothing": [1.0, -0.1],
    "crop_pad": [-1],
    "cutout": [-1],
    "cutmix": [1.1, -1],
    "ema": [1.0, -0.1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_out_of_range_is_named_with_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        Recipe(**{name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: {value!r} is ")
    assert "allowed" in problem


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Recipe(**{name: values[-1] for name, values in WRONG.items()})
    assert {problem.partition(":")[0] for problem in caught.value.problems} == set(WRONG)
    assert len(WRONG) == len(fields(Recipe)) - 1  # trivial_augment is yes or no
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "edges", [{"warmup": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0}, {"batch_size": 2, "epochs": 1}]
)
def test_the_edges_are_allowed(edges: dict[str, Any]) -> None:
    assert vars(Recipe(**edges)).items() >= edges.items()
