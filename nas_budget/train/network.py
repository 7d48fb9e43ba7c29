"""From a spec to the torch module that trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.spec import ResNetSpec


def build(spec: ResNetSpec, seed: int = 0) -> nn.Module:
    """The network of a spec, with fresh weights that follow from the seed, in fp32 on the CPU.

    It maps images of shape (N, in_channels, image_size, image_size) to scores of shape (N, classes).
    Its submodules carry the names that `arch.layers.layers` gives them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet(spec)


class ConvNorm(nn.Sequential):
    """Convolution without bias, padded to keep the map, then batch norm."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False))
        self.add_module("norm", nn.BatchNorm2d(n_out))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus shortcut, then ReLU (He et al. 2015, arXiv:1512.03385, figure 2).

    The shortcut is the identity where the shape is kept (`shortcut_kernel` is None), else a convolution
    with the block's stride and batch norm.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, shortcut_kernel: int | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, kernel, 1, kernel // 2, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if shortcut_kernel is not None:
            self.shortcut = ConvNorm(n_in, n_out, shortcut_kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """Stem, stages of basic blocks, average pool, dropout, linear classifier."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.stem = ConvNorm(spec.in_channels, spec.channels[0], spec.stem_kernel)
        self.stages = nn.Sequential()
        width, size = spec.channels[0], spec.image_size
        for stage, channels in enumerate(spec.channels):
            blocks = nn.Sequential()
            for block in range(spec.blocks[stage]):
                stride = spec.strides[stage] if block == 0 else 1
                keeps_shape = (width, size) == (channels, -(-size // stride))
                shortcut = None if keeps_shape else spec.shortcut_kernel
                blocks.append(BasicBlock(width, channels, spec.kernels[stage], stride, shortcut))
                width, size = channels, -(-size // stride)
            self.stages.append(blocks)
        self.pool = nn.AvgPool2d(spec.pool_size)
        self.dropout = nn.Dropout(spec.dropout)
        self.linear = nn.Linear(width * (size // spec.pool_size) ** 2, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, image_size, image_size) to (N, classes)."""
        x = F.relu(self.stem(x), inplace=True)
        x = self.pool(self.stages(x)).flatten(1)
        scores: Tensor = self.linear(self.dropout(x))
        return scores


def summarise(spec: ResNetSpec) -> str:
    """Torchinfo's summary of the network, built for the purpose, with its own count of parameters."""
    from torchinfo import summary

    shape = (1, spec.in_channels, spec.image_size, spec.image_size)
    columns = ("output_size", "num_params", "mult_adds")
    with torch.device("meta"):  # shapes without memory, however wide the network is
        network = build(spec)
    return str(summary(network, shape, depth=4, col_names=columns, verbose=0, device="meta"))
