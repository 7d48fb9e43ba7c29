"""The loop: repeatable numbers, the paper's schedule, honest accuracy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nas_budget import build
from nas_budget.errors import StoppedError
from nas_budget.records.trials import EpochResult
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.lr_schedule import lr_schedule
from nas_budget.train.optim.optimizers import make_optimizers, set_schedule
from nas_budget.train.optim.recipe import RECIPES, Recipe
from tests.train.builders import BRIEF, EASY, SPEC, split


def results(seed: int = 0, **changes: Any) -> list[EpochResult]:
    return list(train(build(SPEC), EASY, replace(BRIEF, **changes), seed))


@contextmanager
def each_step(see: Callable[[torch.optim.Optimizer], None]) -> Iterator[None]:
    """Show the optimizer to `see` before each of its steps."""
    handle = register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: see(optimizer))
    try:
        yield
    finally:
        handle.remove()


def rates(recipe: Recipe, n_steps: int) -> list[list[float]]:
    """The learning rate of each step of each epoch."""
    optimizers = make_optimizers(nn.Linear(1, 1), recipe)

    def rate(step: int) -> float:
        set_schedule(optimizers, lr_schedule(recipe, step, recipe.epochs * n_steps))
        return float(optimizers[0].param_groups[0]["lr"])

    return [[rate(epoch * n_steps + step) for step in range(n_steps)] for epoch in range(recipe.epochs)]


def test_numbers_follow_from_the_seed() -> None:
    first, _, other = results(), torch.rand(3), results(seed=1)  # whatever is drawn in between
    assert [replace(r, seconds=0) for r in results()] == [replace(r, seconds=0) for r in first]
    assert [r.train_loss for r in first] != [r.train_loss for r in other]


def test_an_easy_problem_is_learned_one_result_an_epoch() -> None:
    epochs = results(epochs=5)
    assert [r.epoch for r in epochs] == [1, 2, 3, 4, 5]
    assert all(math.isfinite(value) for r in epochs for value in (r.train_loss, r.learning_rate, r.seconds))
    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    assert epochs[-1].accuracy > 0.9
    assert min(r.seconds for r in epochs) > 0
    assert not any(r.diverged for r in epochs)


def test_results_come_before_training_ends_and_it_goes_on_in_training_mode() -> None:
    network, modes = build(SPEC), []
    network.fc.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    going = train(network, EASY, BRIEF)
    next(going)
    after_one = network.fc.weight.clone()
    next(going)
    assert not torch.equal(network.fc.weight, after_one)
    assert modes == 2 * ([True] * 10 + [False])


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 0.0004038480814533141), (2, 0.0004271201261173496), (23, 0.0052), (38, 0.00935657170423894)],
)
def test_the_papers_recipe_has_the_learning_rates_it_published(epoch: int, rate: float) -> None:
    found = rates(RECIPES["paper"], 113)[epoch - 1]
    assert sum(found) / len(found) == pytest.approx(rate, rel=1e-12)


def test_the_reported_learning_rate_is_that_of_the_last_step() -> None:
    assert [r.learning_rate for r in results()] == pytest.approx([epoch[-1] for epoch in rates(BRIEF, 10)])


def test_stopped_is_asked_before_every_step() -> None:
    asked = itertools.count(1)
    steps: list[torch.optim.Optimizer] = []
    with each_step(steps.append), pytest.raises(StoppedError):
        list(train(build(SPEC), EASY, BRIEF, should_stop=lambda: next(asked) > 14))
    assert len(steps) == 14


def test_evaluation_is_a_plain_computation_without_dropout_that_changes_nothing() -> None:
    images = split(50, 1201)  # more than two batches of evaluation, the last one smaller
    network = build(replace(SPEC, dropout=0.9))
    list(train(network, images, replace(BRIEF, epochs=1)))
    before = {name: value.clone() for name, value in network.train().state_dict().items()}
    accuracy, loss = evaluate(network, images.validation, images)
    assert evaluate(network.train(), images.validation, images) == (accuracy, loss)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    ready = ((images.validation.images.float() - images.mean) / images.std).permute(0, 3, 1, 2)
    with torch.no_grad():
        scores = network(ready)
    right = scores.argmax(1) == images.validation.labels
    assert accuracy == pytest.approx(float(right.double().mean()), abs=1.5 / 1201)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(scores, images.validation.labels)), rel=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU records steps")
def test_results_say_why_steps_were_not_replayed() -> None:
    asked = [*train(build(SPEC), split(50, 20), BRIEF, graphed=True)]
    assert asked[0].not_recorded == ""  # its steps are those before the one that is recorded
    assert {result.not_recorded != "" for result in asked[1:]} == {True}
    assert {result.not_recorded for result in train(build(SPEC), split(50, 20), BRIEF)} == {""}


@pytest.mark.parametrize(("loss", "expected"), [(0.0, False), (9e9, False), (math.nan, True), (math.inf, True)])
def test_diverged_is_a_loss_that_is_no_number(loss: float, expected: bool) -> None:
    assert EpochResult(1, loss, 0.1, 2.3, 0.1, 1.0).diverged is expected


def test_a_network_that_diverges_says_so_and_does_not_fail() -> None:
    network = build(SPEC)
    nn.init.constant_(network.fc.bias, math.nan)
    found = list(train(network, EASY, BRIEF))
    assert [r.epoch for r in found] == [1, 2, 3]
    assert all(r.diverged and r.learning_rate > 0 for r in found)


@pytest.mark.parametrize(("clip_value", "least", "most"), [(0.01, 0.0099, 0.0101), (0.0, 0.02, math.inf)])
def test_gradients_are_clipped_by_value(clip_value: float, least: float, most: float) -> None:
    seen: list[float] = []

    def see(optimizer: torch.optim.Optimizer) -> None:
        seen.extend(float(p.grad.abs().max()) for group in optimizer.param_groups for p in group["params"])

    with each_step(see):
        results(clip_value=clip_value)
    assert least < max(seen) < most


def test_weights_decay_and_batch_norm_and_biases_only_where_the_recipe_says_so() -> None:
    n_parameters = len(list(build(SPEC).parameters()))
    decaying, others = make_optimizers(build(SPEC), BRIEF)[0].param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (BRIEF.weight_decay, 0)
    assert {p.ndim for p in decaying["params"]} == {2, 4}
    assert {p.ndim for p in others["params"]} == {1}
    assert len(decaying["params"]) + len(others["params"]) == n_parameters
    (group,) = make_optimizers(build(SPEC), RECIPES["paper"])[0].param_groups
    assert (group["weight_decay"], len(group["params"])) == (1e-4, n_parameters)


@pytest.mark.parametrize(("n_train", "batch_size", "n_steps"), [(10, 128, 1), (59, 20, 2)])
def test_a_batch_is_all_images_at_most_and_one_that_would_be_too_small_is_left_out(
    n_train: int, batch_size: int, n_steps: int
) -> None:
    steps: list[torch.optim.Optimizer] = []
    with each_step(steps.append):
        epochs = list(train(build(SPEC), split(n_train, 11), replace(BRIEF, batch_size=batch_size)))
    assert len(steps) == 3 * n_steps
    assert not any(r.diverged for r in epochs)


KINDS: list[dict[str, Any]] = [
    {"optimizer": "adam"}, {"optimizer": "muon"}, {"schedule": "onecycle"}, {"schedule": "cosine"},
    {"label_smoothing": 0.1}, {"flip": "alternate"}, {"cutout": 2}, {"cutmix": 0.3}, {"trivial_augment": True},
    {"ema": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_every_kind_of_recipe_trains(changes: dict[str, Any]) -> None:
    found = results(**{"learning_rate": 0.02, "epochs": 4, **changes})
    assert found[-1].train_loss < found[0].train_loss


def test_bf16_runs_on_a_cpu_and_agrees_roughly() -> None:
    exact, rough = (list(train(build(SPEC), EASY, BRIEF, precision=name)) for name in ("fp32", "bf16"))
    assert rough[0].train_loss != exact[0].train_loss
    assert rough[0].train_loss == pytest.approx(exact[0].train_loss, rel=0.1)
    assert rough[-1].accuracy > 0.9
