"""Muon: steps of convolutions whose matrix has all its singular values near one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5


class Muon(Optimizer):
    """Nesterov momentum, made orthogonal (Jordan 2024, https://kellerjordan.github.io/posts/muon).

    Each parameter is taken for a matrix of its first dimension times all others; those of one shape take their
    step together. Decay is decoupled: weights shrink by `lr * weight_decay`.

    Args:
        params: Parameters of two dimensions or more.
        lr: Learning rate.
        momentum: Of the gradient.
        weight_decay: What is taken off the weights.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.05, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = ...) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._step(parameters, group)
        return loss

    def _step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """The step of parameters of one shape."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        kept = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(kept, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, kept, group["momentum"])
        matrices = torch.stack([g.flatten(1) for g in ahead])
        rows, columns = matrices.shape[1:]
        updates = orthogonal(matrices).unbind(0)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        scale = -group["lr"] * max(1.0, rows / columns) ** 0.5
        torch._foreach_add_(parameters, [u.view(parameters[0].shape) for u in updates], alpha=scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (n, rows, columns) with the same singular vectors, and singular values of about 0.7 to 1.2.

    Five Newton-Schulz iterations of a quintic, in bf16 on a GPU.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(N_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    found: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return found
