"""The loop: repeatable numbers, the paper's schedule, honest accuracy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StoppedError
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import EpochResult, diverged, train
from nas_budget.train.engine.model import build
from nas_budget.train.optim.lr_schedule import lr_schedule
from nas_budget.train.optim.optimizers import make_optimizers, set_schedule
from nas_budget.train.optim.recipe import RECIPES, Recipe

CPU = torch.device("cpu")
SPEC = ResNetSpec((4, 8), blocks=1, image_size=8, classes=2, pool="global", dropout=0.2)
BRIEF = Recipe(learning_rate=0.1, batch_size=20, epochs=3, crop_pad=1)


def dark_or_bright(n: int = 200, n_validation: int = 100) -> SplitImages:
    """Noisy 8x8 images of two classes that a small network tells apart after a few epochs."""
    rng = np.random.default_rng(0)
    labels = np.arange(n + n_validation) % 2
    images = (rng.normal(90 + 60 * labels[:, None, None, None], 40, (len(labels), 8, 8, 3))).clip(0, 255)
    images = images.astype(np.uint8)
    dataset = Dataset("easy", ("dark", "bright"), 8, 3, len(labels), 0, "", "", lambda part: (images, labels))
    return split_images(dataset, CPU, n, n_validation)


EASY = dark_or_bright()


def results(seed: int = 0, **changes: Any) -> list[tuple[float, float]]:
    network = build(SPEC)
    return [(r.train_loss, r.accuracy) for r in train(network, EASY, replace(BRIEF, **changes), seed)]


@contextmanager
def each_step(see: Callable[[torch.optim.Optimizer], None]) -> Iterator[None]:
    """Show the optimizer to `see` before each of its steps."""
    handle = register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: see(optimizer))
    try:
        yield
    finally:
        handle.remove()


def largest_gradient(optimizer: torch.optim.Optimizer) -> float:
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
    return max(float(gradient.abs().max()) for gradient in gradients if gradient is not None)


def rates(recipe: Recipe, n_steps: int) -> list[list[float]]:
    """The learning rate of each step of each epoch."""
    optimizers = make_optimizers(nn.Linear(1, 1), recipe)
    found: list[list[float]] = []
    for step in range(recipe.epochs * n_steps):
        if step % n_steps == 0:
            found.append([])
        set_schedule(optimizers, lr_schedule(recipe, step, recipe.epochs * n_steps))
        found[-1].append(optimizers[0].param_groups[0]["lr"])
    return found


def test_the_same_seed_gives_the_same_numbers() -> None:
    first = results()
    torch.rand(3)  # whatever was drawn before
    assert results() == first


def test_another_seed_gives_other_numbers() -> None:
    assert results(seed=1) != results()


def test_an_easy_problem_is_learned_one_result_an_epoch() -> None:
    epochs = list(train(build(SPEC), EASY, replace(BRIEF, epochs=5)))
    assert [r.epoch for r in epochs] == [1, 2, 3, 4, 5]
    assert all(math.isfinite(value) for r in epochs for value in (r.train_loss, r.learning_rate, r.seconds))
    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    assert epochs[-1].accuracy > 0.9
    assert min(r.seconds for r in epochs) > 0
    assert not any(diverged(r) for r in epochs)


def test_results_come_before_training_ends() -> None:
    network = build(SPEC)
    going = train(network, EASY, BRIEF)
    next(going)
    after_one = network.fc.weight.clone()
    next(going)
    assert not torch.equal(network.fc.weight, after_one)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 0.0004038480814533141), (2, 0.0004271201261173496), (23, 0.0052), (38, 0.00935657170423894)],
)
def test_the_papers_recipe_has_the_learning_rates_it_published(epoch: int, rate: float) -> None:
    found = rates(RECIPES["paper"], 113)[epoch - 1]
    assert sum(found) / len(found) == pytest.approx(rate, rel=1e-12)


def test_the_papers_schedule_ends_at_its_end() -> None:
    found = list(itertools.chain(*rates(RECIPES["paper"], 10)))
    assert max(found) == pytest.approx(0.01, rel=1e-4)
    assert found.index(max(found)) == pytest.approx(0.3 * len(found), abs=2)
    assert found[-1] < 1e-6


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5])
def test_the_linear_schedule_rises_then_falls_to_about_zero(warmup: float) -> None:
    found = list(itertools.chain(*rates(Recipe(learning_rate=0.4, epochs=10, warmup=warmup), 20)))
    top = found.index(max(found))
    assert max(found) == pytest.approx(0.4, rel=0.02)
    assert max(found) <= 0.4
    assert top == pytest.approx(warmup * len(found), abs=1)
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert 0 < found[-1] < 0.01 * 0.4


@pytest.mark.parametrize("schedule", ["onecycle", "linear"])
def test_the_shortest_training_has_a_schedule(schedule: str) -> None:
    assert rates(Recipe(schedule=schedule, epochs=1), 1)[0][0] > 0


def test_the_reported_learning_rate_is_that_of_the_last_step() -> None:
    found = [r.learning_rate for r in train(build(SPEC), EASY, BRIEF)]
    assert found == pytest.approx([epoch[-1] for epoch in rates(BRIEF, 10)])


def test_stopped_is_asked_before_every_step() -> None:
    asked = itertools.count(1)
    steps: list[float] = []
    with each_step(lambda optimizer: steps.append(0)), pytest.raises(StoppedError):
        list(train(build(SPEC), EASY, BRIEF, should_stop=lambda: next(asked) > 14))
    assert len(steps) == 14


def test_evaluation_is_a_plain_computation_in_evaluation_mode() -> None:
    images = dark_or_bright(50, 1201)  # more than two batches of evaluation, the last one smaller
    network = build(SPEC)
    list(train(network, images, replace(BRIEF, epochs=1)))
    validation = images.validation
    ready = ((validation.images.float() - images.mean) / images.std).permute(0, 3, 1, 2)
    with torch.no_grad():
        scores = network.eval()(ready)
    right = scores.argmax(1) == validation.labels
    accuracy, loss = evaluate(network, validation, images)
    assert accuracy == pytest.approx(float(right.double().mean()), abs=1.5 / 1201)
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(scores, validation.labels)), rel=1e-4)


def test_evaluation_has_no_dropout_and_changes_nothing() -> None:
    network = build(replace(SPEC, dropout=0.9)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert len({evaluate(network, EASY.validation, EASY) for _ in range(5)}) == 1
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_training_continues_in_training_mode_after_an_evaluation() -> None:
    network, modes = build(SPEC), []
    network.fc.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    list(train(network, EASY, replace(BRIEF, epochs=2)))
    assert modes == 2 * ([True] * 10 + [False])


@pytest.mark.parametrize(("loss", "expected"), [(0.0, False), (9e9, False), (math.nan, True), (math.inf, True)])
def test_diverged_is_a_loss_that_is_no_number(loss: float, expected: bool) -> None:
    assert diverged(EpochResult(1, loss, 0.1, 2.3, 0.1, 1.0)) is expected


def test_a_network_that_diverges_says_so_and_does_not_fail() -> None:
    network = build(SPEC)
    with torch.no_grad():
        network.fc.bias.fill_(math.nan)
    assert all(diverged(result) for result in train(network, EASY, BRIEF))


def test_gradients_are_clipped_by_value() -> None:
    seen: list[float] = []
    with each_step(lambda optimizer: seen.append(largest_gradient(optimizer))):
        results(clip_value=0.01)
        n_clipped = len(seen)
        results()
    assert max(seen[:n_clipped]) == pytest.approx(0.01)
    assert max(seen[n_clipped:]) > 0.02


def test_weights_decay_and_batch_norm_and_biases_do_not() -> None:
    network = build(SPEC)
    decaying, others = make_optimizers(network, BRIEF)[0].param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (BRIEF.weight_decay, 0)
    assert {p.ndim for p in decaying["params"]} == {2, 4}
    assert {p.ndim for p in others["params"]} == {1}
    assert len(decaying["params"]) + len(others["params"]) == len(list(network.parameters()))


def test_everything_decays_where_the_recipe_says_so() -> None:
    network = build(SPEC)
    (group,) = make_optimizers(network, RECIPES["paper"])[0].param_groups
    assert group["weight_decay"] == 1e-4
    assert len(group["params"]) == len(list(network.parameters()))


def test_fewer_images_than_a_batch_still_train() -> None:
    epochs = list(train(build(SPEC), dark_or_bright(10, 10), replace(BRIEF, batch_size=128)))
    assert len(epochs) == 3
    assert not any(diverged(r) for r in epochs)


def test_a_batch_that_would_be_too_small_is_left_out() -> None:
    steps: list[float] = []
    with each_step(lambda optimizer: steps.append(0)):
        list(train(build(SPEC), dark_or_bright(59, 11), replace(BRIEF, epochs=2)))
    assert len(steps) == 2 * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam"},
        {"optimizer": "muon"},
        {"schedule": "onecycle"},
        {"schedule": "cosine"},
        {"label_smoothing": 0.1},
        {"flip": "alternate"},
        {"cutout": 2},
        {"cutmix": 0.3},
        {"trivial_augment": True},
        {"ema": 0.1},
    ],
    ids=str,
)
def test_every_kind_of_recipe_trains(changes: dict[str, Any]) -> None:
    losses = [loss for loss, _ in results(**{"learning_rate": 0.02, "epochs": 4, **changes})]
    assert losses[-1] < losses[0]


def test_bf16_runs_on_a_cpu_and_agrees_roughly() -> None:
    exact, rough = (list(train(build(SPEC), EASY, BRIEF, precision=name)) for name in ("fp32", "bf16"))
    assert rough[0].train_loss != exact[0].train_loss
    assert rough[0].train_loss == pytest.approx(exact[0].train_loss, rel=0.1)
    assert rough[-1].accuracy > 0.9
