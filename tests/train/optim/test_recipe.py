from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, replace
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
    assert replace(RECIPES["fast"], epochs=3).epochs == 3
    with pytest.raises(FrozenInstanceError):
        RECIPES["fast"].epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "lion"),
        ("schedule", ""),
        ("learning_rate", 0),
        ("learning_rate", -0.1),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("batch_size", 1),
        ("batch_size", 10**7),
        ("epochs", 0),
        ("epochs", 10**6),
        ("weight_decay", -1e-9),
        ("weight_decay", math.nan),
        ("clip_value", -1),
        ("clip_value", math.nan),
        ("crop_pad", -1),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("warmup", 1.0),
        ("warmup", math.nan),
        ("decays", "none"),
        ("flip", True),
        ("other_lr", 0),
        ("cutout", -1),
        ("cutmix", 1.1),
        ("ema", 1.0),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        Recipe(**{name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: {value!r} is ")
    assert "allowed" in problem


def test_all_mistakes_are_reported_at_once() -> None:
    wrong: dict[str, Any] = {
        "optimizer": "lion",
        "schedule": "step",
        "decays": "",
        "flip": "",
        "other_lr": 0,
        "cutout": -1,
        "cutmix": -1,
        "ema": -0.1,
        "learning_rate": -1,
        "weight_decay": -1,
        "warmup": 2,
        "batch_size": 0,
        "epochs": 0,
        "label_smoothing": 1.5,
        "clip_value": -1,
        "crop_pad": -1,
    }
    with pytest.raises(SettingsError) as caught:
        Recipe(**wrong)
    assert {problem.partition(":")[0] for problem in caught.value.problems} == set(wrong)
    assert len(wrong) == len(fields(Recipe)) - 1  # trivial_augment is yes or no
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "edges", [{"warmup": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0}, {"batch_size": 2, "epochs": 1}]
)
def test_the_edges_are_allowed(edges: dict[str, Any]) -> None:
    assert vars(Recipe(**edges)).items() >= edges.items()
