from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from nas_budget import Recipe, ResNetSpec, build, train_network
from nas_budget.errors import DataError
from nas_budget.records.trials import EpochResult
from nas_budget.train.data.split import split_images
from nas_budget.train.data.synthetic import synthetic
from nas_budget.train.engine.device import choose_precision
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import train
from nas_budget.train.engine.weights import load_model, save_model

SPEC, DATASET, RECIPE = ResNetSpec((4, 8), blocks=1), synthetic(84), Recipe(batch_size=32, epochs=2)


def test_it_gives_the_numbers_of_the_loop_and_a_model_that_can_be_saved(tmp_path: Path) -> None:
    seen: list[EpochResult] = []
    found = train_network(SPEC, DATASET, RECIPE, seed=3, device="cpu", n_validation=20, on_epoch=seen.append)
    images = split_images(DATASET, torch.device("cpu"), None, 20)
    precision = choose_precision("auto", torch.device("cpu"))
    expected = list(train(build(SPEC, 3), images, RECIPE, seed=3, precision=precision))
    assert [(r.train_loss, r.accuracy) for r in found.epochs] == [(r.train_loss, r.accuracy) for r in expected]
    assert tuple(seen) == found.epochs
    save_model(tmp_path / "a.safetensors", found.model)
    model = load_model(tmp_path / "a.safetensors")
    assert evaluate(model.network, images.validation, images)[0] == found.accuracy
    assert model.about == {"data": "shapes", "data_digest": DATASET.digest, "seed": 3, "weights": "plain"}


def test_without_validation_images_accuracy_is_unknown() -> None:
    assert math.isnan(train_network(SPEC, DATASET, RECIPE, device="cpu", n_validation=0).accuracy)


def test_images_of_another_kind_are_refused() -> None:
    with pytest.raises(DataError, match="the network takes 32 pixels, 3 channels and 7 classes"):
        train_network(ResNetSpec((4,), blocks=1, classes=7), DATASET, RECIPE, device="cpu")
