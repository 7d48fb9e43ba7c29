"""One step: exact gradients in micro-batches, too little memory, EMA."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas_budget import build
from nas_budget.train.engine.device import is_out_of_memory
from nas_budget.train.engine.loop import train_epoch
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.ema import WeightEMA
from tests.train.builders import BRIEF, EASY, SPEC

STILL = replace(BRIEF, crop_pad=0, flip="none")
NO_NORM = nn.Sequential(nn.Flatten(), nn.Linear(8 * 8 * 3, 2))
"""A network whose gradient over a batch is the mean of those over its parts."""


class Small(nn.Module):
    """A network on a device that holds a few images at a time."""

    def __init__(self, room: int, error: Exception) -> None:
        super().__init__()
        self.inner, self.room, self.error = copy.deepcopy(NO_NORM), room, error
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Any:
        self.seen.append(len(x))
        if self.training and len(x) > self.room:
            raise self.error
        return self.inner(x)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_too_little_memory_halves_the_batch_and_keeps_the_gradient(error: Exception) -> None:
    plain, small = Trainer(copy.deepcopy(NO_NORM), EASY, STILL), Trainer(Small(6, error), EASY, STILL)
    chosen = torch.arange(20)
    losses = [trainer.step(chosen) for trainer in (plain, small)]
    assert small.micro_batches == 4
    assert small.network.seen[:2] == [20, 10]
    assert torch.allclose(*losses)
    assert torch.allclose(plain.network[1].weight, small.network.inner[1].weight, atol=1e-6)
    small.network.seen.clear()
    small.step(chosen)
    assert small.network.seen == [5, 5, 5, 5]  # from then on
    assert train_epoch(small, 1).micro_batches == 4


@pytest.mark.parametrize(("error", "micro_batches"), [(ERRORS[0], 16), (RuntimeError("shapes do not match"), 1)])
def test_no_memory_at_all_is_an_error_and_others_are_not_taken_for_it(error: Exception, micro_batches: int) -> None:
    trainer = Trainer(Small(0, error), EASY, STILL)
    with pytest.raises(type(error), match=str(error)):
        trainer.step(torch.arange(20))
    assert trainer.micro_batches == micro_batches
    assert is_out_of_memory(MemoryError())


def test_micro_batches_with_mixed_targets_give_the_same_loss() -> None:
    recipe = replace(STILL, cutmix=0.5, label_smoothing=0.1)
    whole, parts = (Trainer(copy.deepcopy(NO_NORM), EASY, recipe) for _ in range(2))
    parts.micro_batches = 3
    losses = []
    for trainer in whole, parts:
        next(trainer.begin(1))
        losses.append(trainer.step(torch.arange(20)))
    assert torch.allclose(*losses)


class Unused(nn.Module):
    """A network that has a convolution more than it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.spare = build(replace(SPEC, dropout=0.0)), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_casting_weights_together_changes_no_number(micro_batches: int) -> None:
    together, one_by_one = (Trainer(Unused(), EASY, STILL, precision="bf16") for _ in range(2))
    assert len(together.convolutions) == sum(isinstance(module, nn.Conv2d) for module in together.network.modules())
    one_by_one.convolutions = {}
    found = []
    for trainer in together, one_by_one:
        trainer.network.train()
        trainer.micro_batches = micro_batches
        loss = trainer._gradients(*trainer.augmentation.batch(torch.arange(20)))
        found.append((loss, [parameter.grad for parameter in trainer.network.parameters()]))
    (loss, gradients), (expected_loss, expected) = found
    assert torch.equal(loss, expected_loss)
    for ours, theirs in zip(gradients, expected, strict=True):
        assert ours is theirs is None or torch.equal(ours, theirs)
    assert together.network.spare.weight.grad is None  # not used, so that it is not trained


def test_ema_weights_are_the_exponential_average() -> None:
    network = nn.Linear(2, 1)
    ema, expected = WeightEMA(network, horizon=4), None
    for step in range(12):
        with torch.no_grad():
            network.weight.copy_(torch.randn(1, 2))
        ema.update(step)
        share = max(1 / 4, 1 / (step + 1))
        now = network.weight.detach().clone()
        expected = now if expected is None else expected + share * (now - expected)
    assert expected is not None
    assert torch.allclose(ema.network.weight, expected, atol=1e-6)
    assert not any(p.requires_grad for p in ema.network.parameters())


def test_batch_norm_statistics_are_averaged_too() -> None:
    trainer = Trainer(build(SPEC), EASY, replace(BRIEF, ema=0.3))
    train_epoch(trainer, 1)
    assert trainer.ema is not None
    ours, theirs = trainer.ema.network.bn1.running_mean, trainer.network.bn1.running_mean
    assert not torch.equal(ours, theirs)
    assert float(ours.abs().sum()) > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_compiled_network_trains_as_a_plain_one() -> None:
    spec = replace(SPEC, dropout=0.0)  # random numbers are drawn otherwise where dropout is compiled
    plain, compiled = (Trainer(build(spec), EASY, replace(BRIEF, epochs=1)) for _ in range(2))
    compiled.compile()
    losses = [train_epoch(trainer, 1).train_loss for trainer in (plain, compiled)]
    assert compiled.compute is not compiled.network
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
