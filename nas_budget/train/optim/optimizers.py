"""The optimizers of a recipe, and their learning rate and momentum before each step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from nas_budget.train.optim.lr_schedule import MOMENTUM, ScheduleStep
from nas_budget.train.optim.muon import Muon
from nas_budget.train.optim.recipe import Recipe

LEAST_DIMENSIONS = {"all": 0, "weights": 2, "convolutions": 3}
"""Fewest dimensions of a parameter that decays."""


def make_optimizers(network: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """The optimizers that together train all parameters of a network, at the largest learning rate of the recipe."""
    parameters = [*network.parameters()]
    if recipe.optimizer == "adam":
        return [Adam(_groups(parameters, recipe, recipe.learning_rate), fused=True)]
    if recipe.optimizer == "sgd":
        return [SGD(_groups(parameters, recipe, recipe.learning_rate), momentum=MOMENTUM, nesterov=True, fused=True)]
    convolutions, rest = [p for p in parameters if p.ndim == 4], [p for p in parameters if p.ndim != 4]
    grouped = {m.weight: m.groups for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    return [
        Muon(_groups(convolutions, recipe, recipe.learning_rate), momentum=MOMENTUM, groups=grouped),
        SGD(_groups(rest, recipe, recipe.other_lr), momentum=MOMENTUM, nesterov=True, fused=True),
    ]


def set_schedule(optimizers: list[Optimizer], now: ScheduleStep) -> None:
    """Set learning rate and momentum for the step to come."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rate = group["largest_rate"] * now.lr_factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # in place, where a recorded step reads it
            else:
                group["lr"] = rate
            if "betas" in group:
                group["betas"] = (now.momentum, group["betas"][1])
            else:
                group["momentum"] = now.momentum


def _groups(parameters: list[nn.Parameter], recipe: Recipe, rate: float) -> list[dict[str, Any]]:
    """Groups for an optimizer, those that decay first."""
    least = LEAST_DIMENSIONS[recipe.decays]
    decaying, others = [p for p in parameters if p.ndim >= least], [p for p in parameters if p.ndim < least]
    return [
        {"params": group, "lr": rate, "largest_rate": rate, "weight_decay": weight_decay}
        for group, weight_decay in ((decaying, recipe.weight_decay), (others, 0.0))
        if group
    ]
