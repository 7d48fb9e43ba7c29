"""A recorded step trains as one that is not: the same numbers, whatever is recorded and whatever goes wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_budget import Recipe, build
from nas_budget.train.data.augment import Augmentation
from nas_budget.train.engine import trainer as module
from nas_budget.train.engine.checkpoint import load_checkpoint, save_checkpoint
from nas_budget.train.engine.loop import train_epoch
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import RECIPES
from tests.train.builders import BRIEF, EASY, SPEC
from tests.train.engine.recording import ReplayedOnCpu

MUON = replace(RECIPES["strong"], batch_size=20, epochs=3, ema=0.2, trivial_augment=False, crop_pad=1)
PAPER = replace(RECIPES["paper"], batch_size=20, epochs=3, crop_pad=1)


def trained(recipe: Recipe, recorded: bool, micro_batches: int = 1, precision: str = "fp32") -> Trainer:
    trainer = Trainer(build(SPEC), EASY, recipe, precision=precision)
    trainer.micro_batches = micro_batches
    if recorded:
        trainer.record()
    for epoch in range(1, recipe.epochs + 1):
        train_epoch(trainer, epoch)
    return trainer


def assert_same(ours: Trainer, theirs: Trainer) -> None:
    pairs = [(ours.network.state_dict(), theirs.network.state_dict())]
    if ours.ema and theirs.ema:
        pairs.append((ours.ema.network.state_dict(), theirs.ema.network.state_dict()))
    for a, b in pairs:
        assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)


@pytest.mark.parametrize("recipe", [MUON, PAPER, replace(BRIEF, cutout=3)], ids=["muon", "paper", "sgd"])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_recorded_step_gives_the_same_numbers_epoch_after_epoch(
    recipe: Recipe, micro_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(recipe, recorded=False, micro_batches=micro_batches)
    monkeypatch.setattr(module, "StepGraph", ReplayedOnCpu)
    recorded = trained(recipe, recorded=True, micro_batches=micro_batches)
    assert isinstance(recorded.graph, ReplayedOnCpu)
    assert recorded.micro_batches == micro_batches
    assert_same(recorded, plain)


@pytest.mark.parametrize("recipe", [MUON, PAPER], ids=["muon", "paper"])
def test_a_training_in_micro_batches_resumes_with_recorded_steps(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(recipe, recorded=False, micro_batches=2)
    first = Trainer(build(SPEC), EASY, recipe)
    first.micro_batches = 2
    train_epoch(first, 1)
    save_checkpoint(tmp_path / "first.safetensors", [first], {})
    monkeypatch.setattr(module, "StepGraph", ReplayedOnCpu)
    resumed = Trainer(build(SPEC, seed=9), EASY, recipe)
    load_checkpoint(tmp_path / "first.safetensors", [resumed])
    resumed.record()
    for epoch in range(2, recipe.epochs + 1):
        train_epoch(resumed, epoch)
    assert isinstance(resumed.graph, ReplayedOnCpu)
    assert resumed.micro_batches == 2
    assert_same(resumed, plain)


@pytest.mark.parametrize("recipe", [MUON, PAPER], ids=["muon", "paper"])
def test_scaled_gradients_are_recorded_too(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(recipe, epochs=1)
    plain = trained(recipe, recorded=False, precision="fp16")
    monkeypatch.setattr(module, "StepGraph", ReplayedOnCpu)
    recorded = trained(recipe, recorded=True, precision="fp16")
    assert recorded.graph
    assert_same(recorded, plain)
    assert recorded.scaler.state_dict() == plain.scaler.state_dict()


def test_too_little_memory_to_record_splits_the_batch_and_records_that(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def record(step: Any, example: Any, generators: Any) -> ReplayedOnCpu:
        tried.append(recorded.micro_batches)
        if len(tried) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ReplayedOnCpu(step, example, generators)

    monkeypatch.setattr(module, "StepGraph", record)
    recorded = Trainer(build(SPEC), EASY, BRIEF)
    recorded.record()
    for epoch in 1, 2:
        train_epoch(recorded, epoch)
    assert tried == [1, 2, 4]
    assert recorded.graph
    assert (recorded.micro_batches, recorded.is_recorded) == (4, True)


def test_a_step_that_cannot_be_recorded_trains_on_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(step: Any, example: Any, generators: Any) -> None:
        ReplayedOnCpu(step, example, generators)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    plain = trained(PAPER, recorded=False)
    monkeypatch.setattr(module, "StepGraph", refused)
    recorded = trained(PAPER, recorded=True)
    assert not recorded.is_recorded
    assert recorded.not_recorded == "operation not permitted when stream is capturing"
    assert_same(recorded, plain)


@pytest.mark.parametrize("recipe", [MUON, PAPER], ids=["muon", "paper"])
def test_a_recorded_step_that_gives_other_numbers_is_not_replayed(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OfOtherImages(ReplayedOnCpu):
        def __call__(self, given: Any) -> Any:
            return super().__call__(given.flip(0) // 2)

    plain = trained(recipe, recorded=False)
    monkeypatch.setattr(module, "StepGraph", OfOtherImages)
    recorded = trained(recipe, recorded=True)
    assert recorded.graph is None
    assert recorded.not_recorded == "a recorded step gave other numbers"
    assert_same(recorded, plain)


@pytest.mark.parametrize("faster", [False, True])
def test_unasked_a_recorded_step_is_replayed_only_where_it_is_faster(
    faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    eager, replay = Trainer._eager, Trainer._replay

    def taking(seconds: float, step: Any) -> Any:
        def run(self: Trainer, indices: torch.Tensor) -> torch.Tensor:
            now[0] += seconds
            loss: torch.Tensor = step(self, indices)
            return loss

        return run

    plain = trained(MUON, recorded=False)
    monkeypatch.setattr(module, "StepGraph", ReplayedOnCpu)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "_eager", taking(2.0, eager))
    monkeypatch.setattr(Trainer, "_replay", taking(1.0 if faster else 2.0, replay))
    recorded = Trainer(build(SPEC), EASY, MUON)
    recorded.record("auto")
    assert not recorded.is_recorded  # as this is no CUDA device
    recorded.record()
    recorded.only_if_faster = True
    for epoch in range(1, MUON.epochs + 1):
        train_epoch(recorded, epoch)
    assert (recorded.graph is not None) == recorded.is_recorded == faster
    assert recorded.not_recorded == ""
    assert_same(recorded, plain)


def test_unasked_too_little_memory_to_record_leaves_the_batch_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "StepGraph", record)
    recorded = Trainer(build(SPEC), EASY, BRIEF)
    recorded.record()
    recorded.only_if_faster = True
    train_epoch(recorded, 1)
    assert (recorded.micro_batches, recorded.is_recorded) == (1, False)
    assert recorded.not_recorded == "CUDA out of memory"


def test_what_a_recorded_step_reads_stays_where_it_is() -> None:
    augmentation = Augmentation(EASY, replace(BRIEF, flip="alternate"), 0)
    places, seen = set(), []
    for epoch in 1, 2, 3:
        augmentation.begin(epoch)
        assert augmentation.mirrored is not None
        places.add(augmentation.mirrored.data_ptr())
        seen.append(augmentation.mirrored.clone())
    assert len(places) == 1
    assert torch.equal(seen[0], ~seen[1])
    assert torch.equal(seen[0], seen[2])
