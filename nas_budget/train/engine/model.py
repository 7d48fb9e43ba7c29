"""`build`: the torch module of a spec, with layers named as in torchvision and timm.

`train.export.standalone` writes the source of `ResNet`, and of what it uses, into the file that needs PyTorch alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.family_spec import FamilySpec
from nas_budget.arch.spec import AnySpec, ResNetSpec
from nas_budget.train.engine.device import seeded
from nas_budget.train.modules.family import build_family


def build(spec: AnySpec, seed: int = 0) -> nn.Module:
    """The network of a spec, with fresh weights that follow from the seed, in fp32 on the CPU.

    It maps normalized images of shape (N, in_channels, image_size, image_size) to logits of shape (N, classes).
    Its submodules carry the names that `arch.layers.layers` gives them. torch's global generators are left as they are.
    The network of a `FamilySpec` is built by its family, whose code is run.

    Examples:
        >>> network = build(ResNetSpec((8, 16), blocks=1), seed=0)
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> [name for name, _ in network.named_children()]
        ['conv1', 'bn1', 'layer1', 'layer2', 'avgpool', 'dropout', 'fc']
    """
    with seeded(torch.device("cpu"), seed):
        if isinstance(spec, FamilySpec):
            return build_family(spec)
        network = ResNet(spec)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) != module.stride:
            module.__class__ = PointwiseConv2d
        elif isinstance(module, nn.BatchNorm2d):
            module.__class__ = BatchNorm2d
    return network


def conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded to keep the size of the map."""
    return nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)


def conv_bn(n_in: int, n_out: int, kernel: int, stride: int) -> nn.Sequential:
    """The convolution and batch norm of a shortcut that changes the shape."""
    return nn.Sequential(conv(n_in, n_out, kernel, stride), nn.BatchNorm2d(n_out))


class SqueezeExcite(nn.Module):
    """Scales each channel by factors computed from the means of all channels (Hu et al. 2017, arXiv:1709.01507)."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        n_few = max(1, width // reduction)
        self.fc1 = nn.Linear(width, n_few)
        self.fc2 = nn.Linear(n_few, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        factors = F.relu(self.fc1(x.mean((2, 3))), inplace=True)
        scaled: Tensor = x * self.fc2(factors).sigmoid()[:, :, None, None]
        return scaled


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus shortcut, then ReLU (He et al. 2015, arXiv:1512.03385, figure 5 left).

    The shortcut is the identity where the shape is kept (its kernel is None), else a convolution and batch norm.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, shortcut: int | None, reduction: int) -> None:
        super().__init__()
        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.se = SqueezeExcite(n_out, reduction) if reduction else nn.Identity()
        self.downsample = conv_bn(n_in, n_out, shortcut, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.se(self.bn2(self.conv2(out)))
        return F.relu(out + self.downsample(x), inplace=True)


class PreactBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv plus shortcut (He et al. 2016, arXiv:1603.05027, figure 1b).

    Where the shape changes the shortcut is a convolution of the activated input, without batch norm,
    as in wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, shortcut: int | None, reduction: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.se = SqueezeExcite(n_out, reduction) if reduction else nn.Identity()
        self.downsample = nn.Sequential(conv(n_in, n_out, shortcut, stride)) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        active = F.relu(self.bn1(x), inplace=True)
        out = F.relu(self.bn2(self.conv1(active)), inplace=True)
        out = self.se(self.conv2(out))
        joined: Tensor = out + (x if self.downsample is None else self.downsample(active))
        return joined


class BottleneckBlock(nn.Module):
    """1x1 to a quarter of the width, the stage's kernel, 1x1 back (He et al. 2015, figure 5 right).

    The stride is on the middle convolution. The shortcut is that of a `BasicBlock`.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, shortcut: int | None, reduction: int) -> None:
        super().__init__()
        n_mid = max(1, n_out // 4)
        self.conv1 = conv(n_in, n_mid, 1)
        self.bn1 = nn.BatchNorm2d(n_mid)
        self.conv2 = conv(n_mid, n_mid, kernel, stride)
        self.bn2 = nn.BatchNorm2d(n_mid)
        self.conv3 = conv(n_mid, n_out, 1)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.se = SqueezeExcite(n_out, reduction) if reduction else nn.Identity()
        self.downsample = conv_bn(n_in, n_out, shortcut, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.se(self.bn3(self.conv3(out)))
        return F.relu(out + self.downsample(x), inplace=True)


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
        block_type = BLOCKS[spec.block]
        width, size = spec.stem_channels, spec.image_size
        self.conv1 = conv(spec.in_channels, width, spec.stem_kernel)
        if not preact:
            self.bn1 = nn.BatchNorm2d(width)
        self.n_stages = len(spec.channels)
        for stage, channels in enumerate(spec.channels):
            blocks = nn.Sequential()
            for block in range(spec.blocks[stage]):
                stride = spec.strides[stage] if block == 0 else 1
                keeps_shape = (width, size) == (channels, -(-size // stride))
                shortcut = None if keeps_shape else spec.shortcut_kernel
                blocks.append(block_type(width, channels, spec.kernels[stage], stride, shortcut, spec.se_reduction))
                width, size = channels, -(-size // stride)
            self.add_module(f"layer{stage + 1}", blocks)
        if preact:
            self.bn = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(spec.pool_size)
        self.dropout = nn.Dropout(spec.dropout)
        self.fc = nn.Linear(width * (size // spec.pool_size) ** 2, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, image_size, image_size) to (N, classes)."""
        x = self.conv1(x)
        if not self.preact:
            x = F.relu(self.bn1(x), inplace=True)
        for number in range(1, self.n_stages + 1):
            x = getattr(self, f"layer{number}")(x)
        if self.preact:
            x = F.relu(self.bn(x), inplace=True)
        x = self.avgpool(x).flatten(1)
        logits: Tensor = self.fc(self.dropout(x))
        return logits


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
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight)  # a pool of one pixel: the fastest way to skip


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that does not count its batches: nothing reads the count, and on a GPU each one is a launch."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, self.training, self.momentum or 0.0, self.eps)


def summarize(spec: AnySpec) -> str:
    """The summary that torchinfo prints of the network, with its own count of parameters."""
    from torchinfo import summary

    shape = (1, spec.in_channels, spec.image_size, spec.image_size)
    columns = ("output_size", "num_params", "mult_adds")
    with torch.device("meta"):  # shapes without memory, however wide the network is
        network = build(spec)
    return str(summary(network, shape, depth=3, col_names=columns, verbose=0, device="meta"))
