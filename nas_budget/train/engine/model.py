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


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution without bias, padded to keep the map."""
    kind = PointwiseConv2d if kernel == 1 and stride > 1 else nn.Conv2d
    return kind(n_in, n_out, kernel, stride, kernel // 2, bias=False)


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution with a stride: on a CPU, one with stride 1 of the pixels that it reads.

    The result is the same. The gradient of the strided one writes beyond its memory in torch 2.13 on CPUs with AVX2
    alone (oneDNN's brgconv_strided, channels last, widths that are no multiple of 8) and ends the process.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        if x.is_cuda:
            return super().forward(x)
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight)  # a pool of one pixel: the fastest way to skip


class ConvNorm(nn.Sequential):
    """Convolution, then batch norm unless `norm` is false."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, norm: bool = True) -> None:
        super().__init__()
        self.add_module("conv", _conv(n_in, n_out, kernel, stride))
        if norm:
            self.add_module("norm", nn.BatchNorm2d(n_out))


class SqueezeExcite(nn.Module):
    """Scales each channel by what the means of all channels say (Hu et al. 2017, arXiv:1709.01507)."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        n_few = max(1, width // reduction)
        self.reduce = nn.Linear(width, n_few)
        self.expand = nn.Linear(n_few, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        factors = F.relu(self.reduce(x.mean((2, 3))), inplace=True)
        scaled: Tensor = x * self.expand(factors).sigmoid()[:, :, None, None]
        return scaled


def _excite(width: int, reduction: int) -> nn.Module:
    return SqueezeExcite(width, reduction) if reduction else nn.Identity()


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus shortcut, then ReLU (He et al. 2015, arXiv:1512.03385, figure 5 left).

    The shortcut is the identity where the shape is kept (`shortcut_kernel` is None), else a convolution
    with the block's stride and batch norm.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int, shortcut_kernel: int | None, se_reduction: int
    ) -> None:
        super().__init__()
        self.conv1 = _conv(n_in, n_out, kernel, stride)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = _conv(n_out, n_out, kernel)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.squeeze = _excite(n_out, se_reduction)
        self.shortcut = ConvNorm(n_in, n_out, shortcut_kernel, stride) if shortcut_kernel else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride)); so do the other blocks."""
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.squeeze(self.norm2(self.conv2(out)))
        return F.relu(out + self.shortcut(x), inplace=True)


class PreactBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv plus shortcut (He et al. 2016, arXiv:1603.05027, figure 1b).

    Where the shape changes the shortcut is a convolution of the activated input, without batch norm,
    as in wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int, shortcut_kernel: int | None, se_reduction: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(n_in)
        self.conv1 = _conv(n_in, n_out, kernel, stride)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.conv2 = _conv(n_out, n_out, kernel)
        self.squeeze = _excite(n_out, se_reduction)
        self.shortcut = _conv(n_in, n_out, shortcut_kernel, stride) if shortcut_kernel else None

    def forward(self, x: Tensor) -> Tensor:
        """As `BasicBlock`."""
        active = F.relu(self.norm1(x), inplace=True)
        out = F.relu(self.norm2(self.conv1(active)), inplace=True)
        out = self.squeeze(self.conv2(out))
        joined: Tensor = out + (x if self.shortcut is None else self.shortcut(active))
        return joined


class BottleneckBlock(nn.Module):
    """1x1 to a quarter of the width, the stage's kernel, 1x1 back (He et al. 2015, figure 5 right).

    The stride is on the middle convolution, and the shortcut as in `BasicBlock`.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int, shortcut_kernel: int | None, se_reduction: int
    ) -> None:
        super().__init__()
        n_mid = max(1, n_out // 4)
        self.conv1 = _conv(n_in, n_mid, 1)
        self.norm1 = nn.BatchNorm2d(n_mid)
        self.conv2 = _conv(n_mid, n_mid, kernel, stride)
        self.norm2 = nn.BatchNorm2d(n_mid)
        self.conv3 = _conv(n_mid, n_out, 1)
        self.norm3 = nn.BatchNorm2d(n_out)
        self.squeeze = _excite(n_out, se_reduction)
        self.shortcut = ConvNorm(n_in, n_out, shortcut_kernel, stride) if shortcut_kernel else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """As `BasicBlock`."""
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = F.relu(self.norm2(self.conv2(out)), inplace=True)
        out = self.squeeze(self.norm3(self.conv3(out)))
        return F.relu(out + self.shortcut(x), inplace=True)


BLOCKS: dict[str, type[BasicBlock | PreactBlock | BottleneckBlock]] = {
    "basic": BasicBlock,
    "preact": PreactBlock,
    "bottleneck": BottleneckBlock,
}


class ResNet(nn.Module):
    """Stem, stages of blocks, average pool, dropout, linear classifier.

    With preactivated blocks the stem is a convolution alone, and batch norm and ReLU follow the last stage.
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.preact = preact = spec.block == "preact"
        width, size = spec.stem_channels, spec.image_size
        self.stem = ConvNorm(spec.in_channels, width, spec.stem_kernel, norm=not preact)
        self.stages = nn.Sequential()
        for stage, channels in enumerate(spec.channels):
            blocks = nn.Sequential()
            for block in range(spec.blocks[stage]):
                stride = spec.strides[stage] if block == 0 else 1
                keeps_shape = (width, size) == (channels, -(-size // stride))
                shortcut = None if keeps_shape else spec.shortcut_kernel
                blocks.append(
                    BLOCKS[spec.block](width, channels, spec.kernels[stage], stride, shortcut, spec.se_reduction)
                )
                width, size = channels, -(-size // stride)
            self.stages.append(blocks)
        if preact:
            self.norm = nn.BatchNorm2d(width)
        self.pool = nn.AvgPool2d(spec.pool_size)
        self.dropout = nn.Dropout(spec.dropout)
        self.linear = nn.Linear(width * (size // spec.pool_size) ** 2, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, image_size, image_size) to (N, classes)."""
        if self.preact:
            x = F.relu(self.norm(self.stages(self.stem(x))), inplace=True)
        else:
            x = self.stages(F.relu(self.stem(x), inplace=True))
        x = self.pool(x).flatten(1)
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
