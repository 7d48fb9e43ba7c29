"""`WeightEMA`: the exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightEMA:
    """The exponential moving average (EMA) of weights and batch norm statistics (Polyak and Juditsky 1992).

    After each step the average moves by `1 / horizon` of the way to the network's weights. In the first steps it is
    the plain mean of the weights so far, so that the random initial weights count for nothing.

    Args:
        network: The network that trains; it must already be on the device where it trains.
        horizon: Steps after which a weight still counts for 37 % (1/e).

    Attributes:
        network: A copy of the network with the EMA weights, in evaluation mode.

    Examples:
        >>> import torch
        >>> network = nn.Linear(1, 1, bias=False)
        >>> ema = WeightEMA(network, horizon=100)
        >>> for step, weight in enumerate([1.0, 2.0, 6.0]):
        ...     _ = network.weight.data.fill_(weight)
        ...     ema.update(step)
        >>> round(ema.network.weight.item(), 5)
        3.0
    """

    def __init__(self, network: nn.Module, horizon: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.share = 1 / max(1.0, horizon)
        self.pairs = ([*_floats(self.network)], [*_floats(network)])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        ours, theirs = self.pairs
        torch._foreach_lerp_(ours, theirs, max(self.share, 1 / (step + 1)))


def _floats(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]
