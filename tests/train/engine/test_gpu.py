"""The same training on a CUDA GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_budget import ResNetSpec, build
from nas_budget.records.trials import EpochResult
from nas_budget.search import search
from nas_budget.train.data.augment import crop_and_flip
from nas_budget.train.data.split import SplitImages, channel_statistics, split_images
from nas_budget.train.data.synthetic import synthetic
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device, deterministic
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import train, train_epoch
from nas_budget.train.engine.trainer import Graph, Trainer
from nas_budget.train.optim.recipe import RECIPES, Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
]
SPEC = ResNetSpec((16, 32, 64), blocks=1, strides=2, pool="global")
BRIEF = Recipe(learning_rate=0.2, batch_size=100, epochs=6)


@pytest.fixture(scope="module")
def split() -> SplitImages:
    return split_images(synthetic(4_500), torch.device("cuda"), 4_000, 500)


def run(split: SplitImages, precision: str, recipe: Recipe = BRIEF) -> list[EpochResult]:
    return list(train(build(SPEC), split, recipe, precision=precision))


def test_auto_is_the_gpu_by_its_name() -> None:
    device = choose_device("auto")
    assert device.type == "cuda"
    assert describe_device(device) == torch.cuda.get_device_name()
    # Older ones have no bf16; of these some do not compute in fp16.
    expected = {"bf16"} if torch.cuda.get_device_capability() >= (8, 0) else {"fp16", "fp32"}
    assert choose_precision("auto", device) in expected


def test_images_stay_on_the_gpu(split: SplitImages) -> None:
    labelled = [tensor for part in (split.train, split.validation) for tensor in (part.images, part.labels)]
    assert {tensor.device.type for tensor in [*labelled, split.mean, split.std]} == {"cuda"}


def test_statistics_and_crops_are_those_of_the_cpu(split: SplitImages) -> None:
    on_cpu = channel_statistics(split.train.images.cpu())
    assert all(torch.equal(a.cpu(), b) for a, b in zip((split.mean, split.std), on_cpu, strict=True))
    chosen = torch.arange(50, device="cuda")
    made = crop_and_flip(split.train.images, chosen, 4, chosen % 2 == 0, torch.Generator("cuda").manual_seed(0))
    assert made.device.type == "cuda"
    assert not torch.equal(made, split.train.images[:50])


def test_every_precision_learns_and_fp32_and_bf16_agree_within_reason(split: SplitImages) -> None:
    exact, rough, half = (run(split, precision) for precision in ("fp32", "bf16", "fp16"))
    for results in exact, rough, half:
        assert not any(r.diverged for r in results)
        assert results[-1].train_loss < results[0].train_loss
        assert results[-1].accuracy > 0.5  # ten classes: a guess has 0.1
    assert rough[0].train_loss == pytest.approx(exact[0].train_loss, rel=0.05)
    assert rough[-1].accuracy == pytest.approx(exact[-1].accuracy, abs=0.1)


def test_the_cpu_and_the_gpu_tell_the_same_classes(split: SplitImages) -> None:
    network = build(SPEC)
    list(train(network, split, BRIEF))
    images = ((split.validation.images - split.mean) / split.std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        there = network(images).argmax(1).cpu()
        here = network.cpu()(images.cpu()).argmax(1)
    assert np.mean((there == here).numpy()) > 0.99


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPES["paper"],
        replace(BRIEF, optimizer="muon"),
        replace(BRIEF, cutmix=0.5, trivial_augment=True, ema=0.1),
    ],
)
def test_every_kind_of_recipe_runs(split: SplitImages, recipe: Recipe) -> None:
    results = run(split, "bf16", replace(recipe, epochs=2))
    assert not any(r.diverged for r in results)
    assert results[-1].train_loss < results[0].train_loss


@pytest.mark.parametrize("recipe", [replace(RECIPES["strong"], cutout=8), RECIPES["paper"], RECIPES["fast"]])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_an_epoch_waits_for_the_gpu_once_it_is_over(split: SplitImages, recipe: Recipe, micro_batches: int) -> None:
    trainer = Trainer(build(SPEC), split, recipe, 0, "bf16")
    trainer.micro_batches = micro_batches
    train_epoch(trainer, 1)
    trainer.network.train()
    torch.cuda.set_sync_debug_mode("error")  # any wait raises
    try:
        for chosen in trainer.begin(2):
            trainer.step(chosen)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("graphed", [True, "auto"])
def test_a_recorded_network_trains_as_a_plain_one(split: SplitImages, graphed: Graph) -> None:
    plain, recorded = (Trainer(build(SPEC), split, BRIEF, 0, "fp32") for _ in range(2))
    recorded.record(graphed)
    losses = [train_epoch(trainer, 1).train_loss for trainer in (plain, recorded)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert evaluate(recorded.network, split.validation, split)[0] > 0.2


def test_a_search_can_record_its_networks(tmp_path: Path) -> None:
    found = search(
        {
            "budget": {"params": "30k"},
            "data": {"name": "shapes", "images": 1_000, "validation_images": 200},
            "recipe": {"epochs": 2},
            "search": {"trials": 3, "graph": True, "pruner": "none", "trial_seeds": 2},
        },
        runs_dir=tmp_path,
        name="recorded",
    )
    assert [*found.table["state"]] == ["complete"] * 3


def test_the_same_seed_gives_the_same_numbers_when_asked(split: SplitImages) -> None:
    found = []
    for _ in range(2):
        with deterministic(True):
            found.append([(r.train_loss, r.accuracy) for r in run(split, "bf16", replace(BRIEF, epochs=2))])
    assert found[0] == found[1]
