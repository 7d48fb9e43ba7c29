"""Convolutions whose gradients torch computes wrongly or slowly on a CPU: the same results by other ways."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812


def class_of(conv: nn.Conv2d) -> type[nn.Conv2d]:
    """The class that computes a convolution of `model.conv` best: one of those below, or torch's own."""
    if conv.kernel_size == (1, 1) != conv.stride:
        return PointwiseConv2d
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1
    if depthwise and (conv.kernel_size != (TAPS, TAPS) or conv.stride != (1, 1)):
        return DepthwiseConv2d
    return nn.Conv2d


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution with a stride: on a CPU, one with stride 1 of the pixels that it reads.

    The result is the same. The gradient of torch's own strided one writes beyond its memory on CPUs with AVX2 alone
    (oneDNN, channels last, widths that are no multiple of 8) and ends the process. This was measured in torch 2.13 and,
    with ONEDNN_MAX_CPU_ISA=AVX2, in torch 2.14.1: a segmentation fault within seconds, none with this class.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        if x.is_cuda:
            return super().forward(x)
        seen = F.avg_pool2d(x, 1, self.stride)  # a pool of one pixel: the fastest way to skip
        return F.conv2d(seen, self.weight, groups=self.groups)


TAPS = 3
"""Kernel size of the only depthwise convolution whose weights' gradient oneDNN computes as one."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with a stride or a kernel over 3, whose gradients in bf16 are fast on a CPU.

    The results are the same. In bf16 oneDNN has no depthwise kernel for two of torch's own gradients: that of the input
    where there is a stride, and that of the weights of kernels over 3. It computes each channel as 16 x 16 of them. In
    torch 2.14.1 one such gradient took 10 to 100 times as long as the rest of its layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to (N, width, ceil(H / stride), ceil(W / stride))."""
        if not self.training or x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return super().forward(x)
        cast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if cast else x.dtype
        if dtype != torch.bfloat16:
            return super().forward(x)
        made: Tensor = _Depthwise.apply(x.to(dtype), self.weight.to(dtype), self.stride[0])
        return made


class _Depthwise(torch.autograd.Function):
    """The convolution of images with a square odd kernel for each channel, padded to keep the size where it can."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x, of_weight, _ = ctx.needs_input_grad
        return (
            _input_gradient(gradient, x, weight, ctx.stride) if of_x else None,
            _weight_gradient(gradient, x, weight, ctx.stride) if of_weight else None,
            None,
        )


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """That of a convolution with a stride is that of one without, of a gradient with zeros where it skipped."""
    if stride > 1:
        spread = torch.zeros_like(x, memory_format=torch.channels_last)
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    return F.conv2d(gradient, weight.flip(2, 3), padding=weight.shape[-1] // 2, groups=len(weight))


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """That of a large kernel, by squares of 3 x 3 of it."""
    kernel = weight.shape[-1]
    if kernel == TAPS:
        return _by_torch(gradient, x, weight, stride, 1)
    padded = F.pad(x, [kernel // 2] * 4)
    height, width = (stride * (n - 1) + TAPS for n in gradient.shape[2:])
    square, made = weight[:, :, :TAPS, :TAPS], torch.empty_like(weight)
    starts = [*range(0, kernel - TAPS, TAPS), kernel - TAPS]  # the last may overlap
    for top, left in product(starts, starts):
        seen = padded[:, :, top : top + height, left : left + width]
        made[:, :, top : top + TAPS, left : left + TAPS] = _by_torch(gradient, seen, square, stride, 0)
    return made


def _by_torch(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Torch's own gradient of the weights of a depthwise convolution."""
    options = None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight), [False, True, False]
    made: Tensor = torch.ops.aten.convolution_backward(gradient, x, weight, *options)[1]
    return made
