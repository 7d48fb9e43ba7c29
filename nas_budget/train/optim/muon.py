"""`Muon`: an optimizer that orthogonalizes the momentum of convolutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# The quintic a x + b x^3 + c x^5 of steepest slope at 0 that keeps values near 1 (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5


class Muon(Optimizer):
    """Nesterov momentum, orthogonalized (Jordan 2024, https://kellerjordan.github.io/posts/muon).

    Each parameter is read as a matrix of its first dimension by all others. The step is the momentum with all its
    singular values set to about 1, times `lr * max(1, rows / columns) ** 0.5`: its size depends on the learning rate
    and the shape, not on the size of the gradient. A NaN in a gradient makes the whole matrix NaN.

    Args:
        params: Parameters of two dimensions or more, such as the weights of convolutions.
        lr: Learning rate.
        momentum: Share of the old momentum that is kept in a step.
        weight_decay: Decoupled: weights shrink by `lr * weight_decay` in each step.

    Examples:
        >>> weight = torch.nn.Parameter(torch.zeros(4, 2))
        >>> optimizer = Muon([weight], lr=0.1, momentum=0.0)
        >>> weight.grad = torch.tensor([[3.0, 0], [0, 50], [0, 0], [0, 0]])
        >>> optimizer.step()
        >>> norms = torch.linalg.svdvals(weight.detach())  # 0.1 * sqrt(4 / 2) is 0.14
        >>> bool(((norms > 0.09) & (norms < 0.18)).all())
        True
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.05, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step."""
        with torch.enable_grad():
            loss = closure() if closure else None
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
        # Nesterov: step along the gradient mixed with the momentum that already has it.
        torch._foreach_lerp_(kept, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, kept, group["momentum"])
        # One batched product for all parameters of a shape: many small ones would leave a GPU idle.
        matrices = torch.stack([g.flatten(1) for g in ahead])
        rows, columns = matrices.shape[1:]
        updates = orthogonal(matrices).unbind(0)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        # A tall matrix has fewer singular values than rows: scaled up, its outputs change as much as a wide one's.
        scale = -group["lr"] * max(1.0, rows / columns) ** 0.5
        torch._foreach_add_(parameters, [u.view(parameters[0].shape) for u in updates], alpha=scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (n, rows, columns) with the singular vectors of the given ones and singular values of about 0.7 to 1.2.

    Five Newton-Schulz iterations of a quintic polynomial, in bf16 on a GPU: far cheaper than a decomposition. Singular
    values below some thousandths of the largest stay smaller.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x  # the product below is then of the shorter side
    # The Frobenius norm bounds every singular value by 1, where the iteration converges.
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(N_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    found: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return found
