"""Convolutions whose gradients are computed in ways of our own: as torch says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from nas_budget import ResNetSpec, build
from nas_budget.train.engine.convolutions import DepthwiseConv2d, PointwiseConv2d, _Depthwise

STRIDED_OR_LARGE = [(3, 2), (3, 3), (5, 1), (5, 2), (7, 1), (7, 2), (9, 1)]
"""Kernel sizes and strides of depthwise convolutions."""


@pytest.mark.parametrize(("n_in", "n_out", "stride"), [(4, 4, 2), (5, 7, 2), (3, 8, 3)])
def test_a_strided_pointwise_convolution_is_what_torch_says(n_in: int, n_out: int, stride: int) -> None:
    ours = PointwiseConv2d(n_in, n_out, 1, stride, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(50, n_in, 32, 32).contiguous(memory_format=torch.channels_last)
    expected = nn.functional.conv2d(images.contiguous(), ours.weight.contiguous(), stride=stride)
    for _ in range(20):  # the gradient that this class avoids ends the process after a few
        scores = ours(images.clone().requires_grad_())
        scores.square().sum().backward()
    assert torch.allclose(scores, expected, atol=1e-5)


def test_a_strided_depthwise_convolution_of_one_pixel_keeps_its_groups() -> None:
    ours = PointwiseConv2d(6, 6, 1, 2, groups=6, bias=False)
    images = torch.rand(2, 6, 9, 9)
    assert torch.allclose(ours(images), nn.functional.conv2d(images, ours.weight, stride=2, groups=6))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), *STRIDED_OR_LARGE])
@pytest.mark.parametrize("size", [9, 8, 1])
def test_gradients_of_a_depthwise_convolution_are_those_of_small_differences(
    kernel: int, stride: int, size: int
) -> None:
    images = torch.rand(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(3, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    assert gradcheck(_Depthwise.apply, (images, weight, stride))


@pytest.mark.parametrize(("kernel", "stride"), STRIDED_OR_LARGE)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_depthwise_convolution_in_bf16_is_what_torch_says(kernel: int, stride: int, frozen: bool) -> None:
    theirs = nn.Conv2d(10, 10, kernel, stride, kernel // 2, groups=10, bias=False)
    theirs.weight.requires_grad_(not frozen)
    ours = nn.Conv2d(10, 10, kernel, stride, kernel // 2, groups=10, bias=False)
    ours.load_state_dict(theirs.state_dict())
    ours.weight.requires_grad_(not frozen)
    ours.__class__ = DepthwiseConv2d  # type: ignore[assignment]
    values = torch.rand(4, 10, 16, 16).contiguous(memory_format=torch.channels_last)
    images = [values.clone().requires_grad_() for _ in range(2)]
    made = []
    for network, given in zip((ours, theirs), images, strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            made.append(network(given))
        made[-1].float().square().sum().backward()
    assert type(made[0].grad_fn).__name__ == "_DepthwiseBackward"
    assert torch.equal(*made)
    assert torch.allclose(images[0].grad, images[1].grad, rtol=0.05, atol=0.02)
    if frozen:
        assert ours.weight.grad is None
    else:
        assert torch.allclose(ours.weight.grad, theirs.weight.grad, rtol=0.05, atol=0.5)


@pytest.mark.parametrize("block", ["separable", "inverted"])
def test_networks_have_it_where_torch_is_slow(block: str) -> None:
    def ours(kernel: int, stride: int) -> list[str]:
        network = build(ResNetSpec((4, 8), blocks=1, kernels=kernel, block=block, strides=stride))
        return [name for name, module in network.named_modules() if isinstance(module, DepthwiseConv2d)]

    assert ours(3, 1) == []
    strided = {"separable": "conv1", "inverted": "conv2"}[block]
    assert ours(3, 2) == [f"layer{stage}.0.{strided}" for stage in (1, 2)]
    assert {f"layer{stage}.0.{strided}" for stage in (1, 2)} <= {*ours(5, 1)}
