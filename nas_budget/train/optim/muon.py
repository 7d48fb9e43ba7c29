"""`Muon`: an optimizer that orthogonalizes the momentum of convolutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# The quintic a x + b x^3 + c x^5 of steepest slope at 0 that keeps values near 1 (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5
LAYOUTS = (torch.contiguous_format, torch.channels_last)
BF16_SINCE = (8, 0)
"""CUDA's compute capability from which bf16 is computed and not emulated."""


class Muon(Optimizer):
    """Nesterov momentum, orthogonalized (Jordan 2024, https://kellerjordan.github.io/posts/muon).

    Each parameter is read as a matrix of its first dimension by all others. The step is the momentum with all its
    singular values set to about 1, times `lr * max(1, rows / columns) ** 0.5`: its size depends on the learning rate
    and the shape, not on the size of the gradient. A NaN in a gradient makes the whole matrix NaN.

    The outputs of a convolution in groups depend on their group's inputs alone, so each group is a matrix of its own.
    Of a depthwise convolution that is each filter: its step is about as long as the learning rate, whatever others do.

    It takes scaled gradients as torch's fused optimizers do: a `GradScaler` leaves it to the device whether a step is
    taken, and nothing waits for that.

    Args:
        params: Parameters of two dimensions or more, such as the weights of convolutions, contiguous or channels last.
        lr: Learning rate.
        momentum: Share of the old momentum that is kept in a step.
        weight_decay: Decoupled: weights shrink by `lr * weight_decay` in each step.
        groups: Groups of the convolutions that have more than one, by their weight.

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
        self, params: Iterable[Any], lr: float = 0.05, momentum: float = 0.9, weight_decay: float = 0.0,
        groups: Mapping[Tensor, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._n_groups = dict(groups or {})  # of the network, and so no part of the state that a checkpoint keeps
        self._step_supports_amp_scaling = True  # torch's scaler then sets `grad_scale` and `found_inf`

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            parameters = sorted((p for p in group["params"] if p.grad is not None), key=self._matrices)
            if parameters:
                self._step(parameters, group)
        return loss

    def _matrices(self, parameter: Tensor) -> tuple[torch.Size, int]:
        """The shape of a parameter, and into how many matrices its rows are divided."""
        return parameter.shape, self._n_groups.get(parameter, 1)

    def _step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """The step of parameters sorted by shape, in few calls: a GPU waits longer for a call than for its sums."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        kept = [self.state[p]["momentum_buffer"] for p in parameters] if group["momentum"] else []
        gradients = [_laid_out_as(p, p.grad) for p in parameters if p.grad is not None]
        scale, skip = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        # torch's fused SGD adds the gradient to the momentum, and, at rate -1, to zeros what Nesterov steps along: the
        # gradient and the momentum that already has it. Where the gradient is not finite it leaves both as they were.
        like = parameters[0]
        ahead = torch.zeros(sum(p.numel() for p in parameters), dtype=like.dtype, device=like.device)
        _sgd(_split(ahead, parameters), gradients, kept, -1.0, group["momentum"], 0.0, scale, skip)
        rough = ahead.to(_iteration_type(like.device, like.dtype))
        by_shape: dict[tuple[torch.Size, int], list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            by_shape[self._matrices(parameter)].append(parameter)
        start = 0
        # One batched product for all parameters of a shape: many small ones would leave a GPU idle.
        for (shape, groups), alike in by_shape.items():
            rows = shape[0] // groups
            matrices = rough[start : start + len(alike) * shape.numel()].view(len(alike) * groups, rows, -1)
            # A tall matrix has fewer singular values than rows: scaled up, its outputs change as much as a wide one's.
            orthogonalize_(matrices, max(1.0, rows / matrices.shape[2]) ** 0.5)
            start += matrices.numel()
        steps = _split(rough.to(like.dtype), parameters)
        _sgd(parameters, steps, [], group["lr"], 0.0, group["weight_decay"], None, skip)


def orthogonalize_(matrices: Tensor, scale: float = 1.0) -> Tensor:
    """Give matrices (n, rows, columns), in place, singular values of about 0.7 to 1.2 times `scale`; vectors stay.

    Five Newton-Schulz iterations of a quintic polynomial: far cheaper than a decomposition. Singular values below some
    thousandths of the largest stay smaller.
    """
    a, b, c = COEFFICIENTS
    # The product below is of the shorter side.
    kept = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    # The Frobenius norm bounds every singular value by 1, where the iteration converges.
    x = kept / (kept.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for left in reversed(range(N_ITERATIONS)):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        last = 1.0 if left else scale
        x = torch.baddbmm(x, polynomial, x, beta=a * last, alpha=last, out=None if left else kept)
    return matrices


@cache
def _iteration_type(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What iterations compute in: a GPU multiplies 16-bit numbers many times faster, and an old one has no bf16."""
    if device.type != "cuda":
        return dtype
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= BF16_SINCE else torch.float16


def _sgd(
    parameters: list[Tensor], gradients: list[Tensor], kept: list[Tensor], lr: Any,
    momentum: float, weight_decay: float, scale: Tensor | None, skip: Tensor | None,
) -> None:  # fmt: skip
    """One call of torch's fused SGD with Nesterov momentum; without `kept` there is no momentum."""
    torch._fused_sgd_(
        parameters, gradients, kept, weight_decay=weight_decay, momentum=momentum, lr=lr, dampening=0.0,
        nesterov=bool(kept), maximize=False, is_first_step=False, grad_scale=scale, found_inf=skip,
    )  # fmt: skip


def _split(flat: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Views of a flat tensor with the shapes and strides of the parameters, one after the other."""
    starts = accumulate((p.numel() for p in parameters), initial=0)
    return [flat.as_strided(p.shape, p.stride(), start) for p, start in zip(parameters, starts, strict=False)]


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the memory layout of its parameter: the fused kernels read both as they lie."""
    if not any(parameter.is_contiguous(memory_format=each) for each in LAYOUTS[: 1 + (parameter.ndim == 4)]):
        raise ValueError(f"Muon: a parameter has strides {parameter.stride()}; give contiguous or channels-last ones")
    layouts = zip(parameter.shape, parameter.stride(), gradient.stride(), strict=True)
    same = all(size == 1 or ours == theirs for size, ours, theirs in layouts)
    return gradient if same else torch.empty_like(parameter).copy_(gradient)
