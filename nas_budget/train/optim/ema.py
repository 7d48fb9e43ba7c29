"""Weights averaged over the last steps, which tell more than those of any one step."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightEMA:
    """The exponential average of a network's weights and batch norm statistics.

    Args:
        network: Whose weights; it must lie where it trains.
        horizon: Steps after which a weight still counts for 37 %.

    Attributes:
        network: A copy of the network with the EMA weights.
    """

    def __init__(self, network: nn.Module, horizon: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.share = 1 / max(1.0, horizon)
        self.pairs = ([*_floats(self.network)], [*_floats(network)])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, from 0; the first ones count less the fewer have been seen."""
        ours, theirs = self.pairs
        torch._foreach_lerp_(ours, theirs, max(self.share, 1 / (step + 1)))


def _floats(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]
