"""The optimizers of a recipe, and their learning rate and momentum before each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from nas_budget.train.optim.lr_schedule import MOMENTUM, ScheduleStep
from nas_budget.train.optim.muon import Muon
from nas_budget.train.optim.recipe import Recipe

LEAST_DIMENSIONS = {"all": 0, "weights": 2, "convolutions": 3}
"""Fewest dimensions of a parameter that decays."""


def make_optimizers(network: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """The optimizers that together train all parameters of a network, at the largest learning rate of the recipe."""
    if recipe.optimizer == "adam":
        return [Adam(_groups(network, recipe, recipe.learning_rate), fused=True)]
    if recipe.optimizer == "sgd":
        return [SGD(_groups(network, recipe, recipe.learning_rate), momentum=MOMENTUM, nesterov=True, fused=True)]
    convolutions = [p for p in network.parameters() if p.ndim == 4]
    rest = [group for group in _groups(network, recipe, recipe.other_lr, most=2) if group["params"]]
    return [
        Muon(_at(convolutions, recipe.learning_rate, recipe.weight_decay), momentum=MOMENTUM),
        SGD(rest, momentum=MOMENTUM, nesterov=True, fused=True),
    ]


def set_schedule(optimizers: list[Optimizer], now: ScheduleStep) -> None:
    """Set learning rate and momentum for the step to come."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["largest_rate"] * now.lr_factor
            if "betas" in group:
                group["betas"] = (now.momentum, group["betas"][1])
            else:
                group["momentum"] = now.momentum


def _groups(network: nn.Module, recipe: Recipe, rate: float, most: int = 4) -> list[dict[str, Any]]:
    """Parameters of at most `most` dimensions, those that decay first."""
    least = LEAST_DIMENSIONS[recipe.decays]
    ours = [p for p in network.parameters() if p.ndim <= most]
    decaying, others = [p for p in ours if p.ndim >= least], [p for p in ours if p.ndim < least]
    groups = _at(decaying, rate, recipe.weight_decay) + _at(others, rate, 0.0)
    return [group for group in groups if group["params"]]


def _at(params: list[torch.nn.Parameter], rate: float, weight_decay: float) -> list[dict[str, Any]]:
    return [{"params": params, "lr": rate, "largest_rate": rate, "weight_decay": weight_decay}]
