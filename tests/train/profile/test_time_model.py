"""Training time predicted from cost; nothing here depends on how fast the device is."""

from __future__ import annotations

from dataclasses import astuple, replace
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas_budget import ResNetSpec, build, cost, layers
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine import trainer
from nas_budget.train.optim.muon import Muon
from nas_budget.train.optim.recipe import RECIPES, Recipe
from nas_budget.train.profile import time_model as module
from nas_budget.train.profile.time_model import TimeModel, Timing, calibrate, step_features, time_step, time_steps
from tests.train.engine.recording import ReplayedOnCpu

CPU = torch.device("cpu")
TRUE = TimeModel(per_mac=2e-10, per_element=1e-9, per_image=3e-4, per_layer=5e-4, per_param=2e-8)
SPECS = [
    ResNetSpec(channels, blocks, kernels, strides=strides, pool="global")
    for channels, blocks, kernels, strides in [
        ((8, 16), 1, 3, 2), ((8, 16, 64), 2, 3, 2), ((12, 9), 1, 5, 1), ((64, 128), 1, 3, 2), ((16,), 4, 3, 1),
        ((8, 8, 8, 8), 3, 3, 1), ((24, 48), 2, 5, 2), ((32, 200), 1, 3, 2), ((9, 30, 61), 1, 3, 2),
    ]
]  # fmt: skip
SMALL, LARGE = ResNetSpec((8, 8), 1, strides=2), ResNetSpec((32, 32), 2, strides=1)
SGD = Recipe()


@pytest.fixture(scope="module")
def images(dataset: Dataset) -> SplitImages:
    return split_images(dataset, CPU, 60, 20)


def timing(spec: ResNetSpec, recipe: Recipe = SGD, model: TimeModel = TRUE) -> Timing:
    """A step that takes exactly as long as a model says."""
    return Timing(spec, recipe, model.step_seconds(spec, recipe))


def timings(model: TimeModel) -> list[Timing]:
    recipes = [replace(SGD, batch_size=size) for size in (8, 64)]
    return [timing(spec, recipe, model) for spec in SPECS for recipe in recipes]


def test_a_step_is_the_sum_of_what_it_consists_of() -> None:
    recipe = replace(SGD, batch_size=10)
    macs, elements, n_images, n_layers, params = step_features(SPECS[0], recipe)
    assert (n_images, n_layers, params) == (10, len(layers(SPECS[0])), cost(SPECS[0]).params)
    stem = 8 * 8 * 9 * 32 * 32 - 3 * 8 * 9 * 32 * 32  # three channels are computed as eight
    head = 16 * 16 - 16 * 10
    assert macs == 10 * (cost(SPECS[0]).macs + stem + head)
    assert elements > 10 * 3 * 8 * 32 * 32
    expected = macs * 2e-10 + elements * 1e-9 + 10 * 3e-4 + n_layers * 5e-4 + params * 2e-8
    assert TRUE.step_seconds(SPECS[0], recipe) == pytest.approx(expected)


@pytest.mark.parametrize(("odd", "whole"), [(9, 16), (17, 24), (31, 32)])
def test_a_width_costs_as_much_as_the_next_whole_one(odd: int, whole: int) -> None:
    widths = [step_features(ResNetSpec((width,), 1), SGD)[0] for width in (odd, whole)]
    assert widths[0] == pytest.approx(widths[1], rel=0.01)  # all but the classifier


def test_an_update_by_muon_costs_the_same_for_any_batch() -> None:
    wide = ResNetSpec((256, 256), 1, pool="global")
    sgd, muon = (
        np.array([step_features(wide, Recipe(optimizer=name, batch_size=n))[0] for n in (8, 80)])
        for name in ("sgd", "muon")
    )
    extra = muon - sgd
    assert extra[0] == pytest.approx(extra[1])
    network = nn.ModuleList([m for m in build(wide).modules() if isinstance(m, nn.Conv2d)])
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    with FlopCounterMode(display=False) as counted:
        Muon(network.parameters()).step()
    assert 3 * extra[0] == pytest.approx(counted.get_total_flops() / 2, rel=0.01)


def test_timings_without_noise_are_explained_and_predicted() -> None:
    found = TimeModel.fit(timings(TRUE))
    unseen = ResNetSpec((20, 40, 80), (1, 3, 2), strides=(1, 2, 2))
    for recipe in replace(SGD, batch_size=16), replace(SGD, batch_size=512):
        assert found.step_seconds(unseen, recipe) == pytest.approx(TRUE.step_seconds(unseen, recipe), rel=0.02)


def test_one_timing_gives_a_model_in_the_usual_proportions() -> None:
    usual = TimeModel(*module.USUAL["cpu"])
    found = TimeModel.fit([Timing(LARGE, SGD, 3 * usual.step_seconds(LARGE, SGD))])
    assert astuple(found) == pytest.approx([3 * part for part in astuple(usual)])


def test_a_device_that_waits_for_launches_has_small_networks_as_slow_as_large_ones() -> None:
    launches = TimeModel(per_layer=1e-4)
    found = TimeModel.fit(timings(launches), "cuda")
    deep, wide = ResNetSpec((8, 8), 4, strides=2), ResNetSpec((32, 32), 4, strides=2)
    assert found.step_seconds(deep, SGD) == pytest.approx(found.step_seconds(wide, SGD), rel=0.1)


def test_noise_makes_no_coefficient_negative_and_without_timings_it_predicts_zero() -> None:
    noisy = [replace(t, seconds=t.seconds * factor) for t, factor in zip(timings(TRUE), [0.5, 2.0] * 9, strict=True)]
    assert min(astuple(TimeModel.fit(noisy))) >= 0
    assert TimeModel.fit([]).step_seconds(LARGE, SGD) == 0


def test_an_epoch_is_its_whole_batches_and_a_third_of_them_for_evaluation() -> None:
    recipe = replace(SGD, batch_size=50)
    step = TRUE.step_seconds(SMALL, recipe)
    assert TRUE.epoch_seconds(SMALL, recipe, 220) == pytest.approx(4 * step)
    assert TRUE.epoch_seconds(SMALL, recipe, 220, 300) == pytest.approx(6 * step)
    few = replace(recipe, batch_size=20)
    assert TRUE.epoch_seconds(SMALL, recipe, 20) == pytest.approx(TRUE.step_seconds(SMALL, few))


def test_the_least_of_the_steps_counts(images: SplitImages, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(perf_counter=iter([0.0, 3.0, 10.0, 12.0]).__next__)
    monkeypatch.setattr(module, "time", clock)
    least = time_step(SMALL, images, replace(SGD, batch_size=32))
    assert (least.spec, least.recipe.batch_size, least.seconds) == (SMALL, 32, 2.0)


def test_a_recorded_step_is_timed_when_it_is_replayed(images: SplitImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "StepGraph", ReplayedOnCpu)
    calls: list[str] = []
    replay = ReplayedOnCpu.__call__
    monkeypatch.setattr(ReplayedOnCpu, "__call__", lambda self, given: calls.append("replay") or replay(self, given))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: calls.append("time") or 0.0))
    time_step(SMALL, images, replace(SGD, batch_size=32), graphed=True)
    assert calls == ["replay", "time", "replay", "time", "time", "replay", "time"]


def test_a_batch_is_cut_to_what_is_quickly_timed(images: SplitImages) -> None:
    macs, recipe = cost(SMALL).macs, replace(SGD, batch_size=1_000)
    for most_macs, batch_size in (20 * macs, 20), (1, module.MIN_TIMED), (module.STEP_MACS, 60), (inf, 60):
        assert time_step(SMALL, images, recipe, most_macs=most_macs).recipe.batch_size == batch_size


@pytest.mark.parametrize("recipe", ["paper", "strong"])
def test_every_recipe_can_be_timed(images: SplitImages, recipe: str) -> None:
    assert time_step(SMALL, images, RECIPES[recipe], "bf16").seconds > 0


def test_a_calibration_explains_the_steps_that_memory_sufficed_for(
    images: SplitImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {LARGE: torch.OutOfMemoryError("no memory"), SMALL: RuntimeError("a mistake")}

    def step(spec: ResNetSpec, *_: object) -> Timing:
        if spec in errors:
            raise errors[spec]
        return timing(spec)

    monkeypatch.setattr(module, "time_step", step)
    assert [t.spec for t in time_steps([LARGE, *SPECS], images, SGD)] == SPECS
    model = calibrate([LARGE, *SPECS], images, SGD)
    assert model.step_seconds(LARGE, SGD) == pytest.approx(TRUE.step_seconds(LARGE, SGD), rel=0.05)
    assert calibrate([LARGE], images, SGD) == TimeModel()
    with pytest.raises(RuntimeError, match="a mistake"):
        calibrate([SMALL], images, SGD)


def test_the_least_of_each_counts_and_time_ends_it(images: SplitImages, monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([3.0, 5.0, 2.0, 7.0])
    monkeypatch.setattr(module, "time_step", lambda spec, *_: Timing(spec, SGD, next(took)))
    assert [t.seconds for t in time_steps([SMALL, LARGE], images, SGD)] == [2.0, 5.0]
    took = iter([3.0])
    assert [t.spec for t in time_steps([SMALL, LARGE], images, SGD, time_s=0.0)] == [SMALL]
