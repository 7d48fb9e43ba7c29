from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.data.split import split_images
from nas_budget.train.data.synthetic import synthetic
from nas_budget.train.engine.model import build
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import Recipe
from nas_budget.train.profile.step_memory import PROCESS, room_for_steps, step_bytes, step_bytes_of_each

CPU = torch.device("cpu")
SPECS = (
    ResNetSpec((16, 32, 64)),
    ResNetSpec((16, 32), blocks=2, block="bottleneck"),
    ResNetSpec((8, 16), blocks=1, block="inverted", activation="relu6"),
    ResNetSpec((64, 128), 1, strides=(2, 2), activation="silu"),
)
BATCH = 48


def most_bytes(spec: ResNetSpec, precision: str) -> int:
    """The most that torch allocates during a step, over what it held before it."""
    images = split_images(synthetic(n_train=BATCH + 10), CPU, n_train=BATCH, n_validation=10)
    trainer = Trainer(build(spec), images, Recipe(batch_size=BATCH, epochs=2), precision=precision)
    for indices in trainer.begin(1):
        trainer.step(indices)  # now the optimizers have made their state
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        for indices in trainer.begin(2):
            trainer.step(indices)
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_step_takes_what_was_predicted(spec: ResNetSpec, precision: str) -> None:
    params = sum(parameter.numel() for parameter in build(spec).parameters())
    held_before = 4 * params * 2  # weights and momenta
    predicted = step_bytes(spec, Recipe(batch_size=BATCH), precision)
    assert 0.95 < predicted / (most_bytes(spec, precision) + held_before) < 1.17


def test_memory_grows_with_the_batch_the_optimizer_and_the_average() -> None:
    spec, per_param = SPECS[0], 4 * sum(parameter.numel() for parameter in build(SPECS[0]).parameters())
    plain = step_bytes(spec, Recipe(batch_size=64))
    assert step_bytes(spec, Recipe(batch_size=128)) - plain > 0.9 * (plain - 3 * per_param)
    assert step_bytes(spec, Recipe(batch_size=64, ema=0.1)) == plain + per_param
    assert step_bytes(spec, Recipe(batch_size=64, optimizer="adam")) == plain + per_param
    assert step_bytes(spec, Recipe(batch_size=64), "bf16") < 0.6 * plain


def test_of_many_networks_the_largest_is_counted_and_the_others_are_near() -> None:
    recipe = Recipe(batch_size=32)
    specs = [ResNetSpec((width, 2 * width), blocks) for width in (8, 16, 24) for blocks in (1, 3)]
    each = step_bytes_of_each(specs, recipe)
    assert max(each) == pytest.approx(step_bytes(specs[-1], recipe), abs=1)
    assert each == pytest.approx([step_bytes(spec, recipe) for spec in specs], rel=0.15)


def test_workers_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_budget.train.profile.step_memory.free_bytes", lambda: 8_000_000_000)
    assert room_for_steps(CPU, 4) == 2_000_000_000 - PROCESS
