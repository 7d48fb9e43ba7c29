"""`build`: the torch module of a spec, with layers named as in torchvision and timm.

`train.export.standalone` writes the source of `ResNet`, and of what it uses, into the file that needs PyTorch alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.blocks import inner_width
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.arch.spec import AnySpec, ResNetSpec
from nas_budget.train.engine.convolutions import class_of
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
        if isinstance(module, nn.Conv2d):
            module.__class__ = class_of(module)
        elif isinstance(module, nn.BatchNorm2d):
            module.__class__ = BatchNorm2d
    return network


ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hard-swish": F.hardswish,
    "silu": F.silu,
}


def conv(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded to keep the size of the map; depthwise with `groups` as many as `n_in`."""
    return nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)


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
    """conv-BN-act-conv-BN plus shortcut, then act (He et al. 2015, arXiv:1512.03385, figure 5 left).

    The shortcut is the identity where the shape is kept (its kernel is None), else a convolution and batch norm.
    """

    def __init__(self, spec: ResNetSpec, stage: int, n_in: int, stride: int, shortcut: int | None) -> None:
        super().__init__()
        n_out, kernel = spec.channels[stage], spec.kernels[stage]
        self.act = ACTIVATIONS[spec.activation]
        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.se = SqueezeExcite(n_out, spec.se_reduction) if spec.se_reduction else nn.Identity()
        self.downsample = conv_bn(n_in, n_out, shortcut, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        out = self.act(self.bn1(self.conv1(x)), inplace=True)
        out = self.se(self.bn2(self.conv2(out)))
        return self.act(out + self.downsample(x), inplace=True)


class PreactBlock(nn.Module):
    """BN-act-conv-BN-act-conv plus shortcut (He et al. 2016, arXiv:1603.05027, figure 1b).

    Where the shape changes the shortcut is a convolution of the activated input, without batch norm,
    as in wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
    """

    def __init__(self, spec: ResNetSpec, stage: int, n_in: int, stride: int, shortcut: int | None) -> None:
        super().__init__()
        n_out, kernel = spec.channels[stage], spec.kernels[stage]
        self.act = ACTIVATIONS[spec.activation]
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.se = SqueezeExcite(n_out, spec.se_reduction) if spec.se_reduction else nn.Identity()
        self.downsample = nn.Sequential(conv(n_in, n_out, shortcut, stride)) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        active = self.act(self.bn1(x), inplace=True)
        out = self.act(self.bn2(self.conv1(active)), inplace=True)
        out = self.se(self.conv2(out))
        joined: Tensor = out + (x if self.downsample is None else self.downsample(active))
        return joined


class BottleneckBlock(nn.Module):
    """1x1 to the width inside, the stage's kernel, 1x1 back (He et al. 2015, figure 5 right).

    The middle convolution has the stride, and the groups (Xie et al. 2016, arXiv:1611.05431, figure 3c). The shortcut
    is that of a `BasicBlock`.
    """

    def __init__(self, spec: ResNetSpec, stage: int, n_in: int, stride: int, shortcut: int | None) -> None:
        super().__init__()
        n_out = spec.channels[stage]
        n_mid = inner_width(n_out, spec.expansions[stage], spec.groups)
        self.act = ACTIVATIONS[spec.activation]
        self.conv1 = conv(n_in, n_mid, 1)
        self.bn1 = nn.BatchNorm2d(n_mid)
        self.conv2 = conv(n_mid, n_mid, spec.kernels[stage], stride, spec.groups)
        self.bn2 = nn.BatchNorm2d(n_mid)
        self.conv3 = conv(n_mid, n_out, 1)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.se = SqueezeExcite(n_out, spec.se_reduction) if spec.se_reduction else nn.Identity()
        self.downsample = conv_bn(n_in, n_out, shortcut, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        out = self.act(self.bn1(self.conv1(x)), inplace=True)
        out = self.act(self.bn2(self.conv2(out)), inplace=True)
        out = self.se(self.bn3(self.conv3(out)))
        return self.act(out + self.downsample(x), inplace=True)


class SeparableBlock(nn.Module):
    """A `BasicBlock` with a depthwise and a 1x1 convolution for each of its two (Howard et al. 2017, arXiv:1704.04861).

    Batch norm and activation follow each, but for the last activation: it comes after the shortcut.
    """

    def __init__(self, spec: ResNetSpec, stage: int, n_in: int, stride: int, shortcut: int | None) -> None:
        super().__init__()
        n_out, kernel = spec.channels[stage], spec.kernels[stage]
        self.act = ACTIVATIONS[spec.activation]
        self.conv1 = conv(n_in, n_in, kernel, stride, groups=n_in)
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv2 = conv(n_in, n_out, 1)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv3 = conv(n_out, n_out, kernel, groups=n_out)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.conv4 = conv(n_out, n_out, 1)
        self.bn4 = nn.BatchNorm2d(n_out)
        self.se = SqueezeExcite(n_out, spec.se_reduction) if spec.se_reduction else nn.Identity()
        self.downsample = conv_bn(n_in, n_out, shortcut, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        out = self.act(self.bn1(self.conv1(x)), inplace=True)
        out = self.act(self.bn2(self.conv2(out)), inplace=True)
        out = self.act(self.bn3(self.conv3(out)), inplace=True)
        out = self.se(self.bn4(self.conv4(out)))
        return self.act(out + self.downsample(x), inplace=True)


class InvertedBlock(nn.Module):
    """1x1 to more channels, depthwise, 1x1 back without activation (Sandler et al. 2018, arXiv:1801.04381).

    An expansion of 1 leaves out the first convolution. A squeeze-excitation stands in the wide middle (Howard et al.
    2019, arXiv:1905.02244). There is a shortcut, the identity, only where the shape is kept.
    """

    def __init__(self, spec: ResNetSpec, stage: int, n_in: int, stride: int, shortcut: int | None) -> None:
        super().__init__()
        n_out, n_mid = spec.channels[stage], inner_width(n_in, spec.expansions[stage], spec.groups)
        self.act = ACTIVATIONS[spec.activation]
        self.expands, self.adds = spec.expansions[stage] != 1, shortcut is None
        if self.expands:
            self.conv1 = conv(n_in, n_mid, 1)
            self.bn1 = nn.BatchNorm2d(n_mid)
        self.conv2 = conv(n_mid, n_mid, spec.kernels[stage], stride, groups=n_mid)
        self.bn2 = nn.BatchNorm2d(n_mid)
        self.se = SqueezeExcite(n_mid, spec.se_reduction) if spec.se_reduction else nn.Identity()
        self.conv3 = conv(n_mid, n_out, 1)
        self.bn3 = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in, H, W) to (N, n_out, ceil(H / stride), ceil(W / stride))."""
        out = self.act(self.bn1(self.conv1(x)), inplace=True) if self.expands else x
        out = self.se(self.act(self.bn2(self.conv2(out)), inplace=True))
        projected: Tensor = self.bn3(self.conv3(out))
        return projected + x if self.adds else projected


BLOCKS: dict[str, type[nn.Module]] = {
    "basic": BasicBlock,
    "preact": PreactBlock,
    "bottleneck": BottleneckBlock,
    "separable": SeparableBlock,
    "inverted": InvertedBlock,
}


class ResNet(nn.Module):
    """Stem, stages of blocks, a 1x1 convolution where the spec has a head width, average pool, dropout, classifier.

    With preactivated blocks the stem is a convolution alone, and batch norm and activation follow the last stage.
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.preact = preact = spec.block == "preact"
        block_type = BLOCKS[spec.block]
        self.act = ACTIVATIONS[spec.activation]
        width, size = spec.stem_channels, -(-spec.image_size // spec.stem_stride)
        self.conv1 = conv(spec.in_channels, width, spec.stem_kernel, spec.stem_stride)
        if not preact:
            self.bn1 = nn.BatchNorm2d(width)
        self.n_stages = len(spec.channels)
        for stage, channels in enumerate(spec.channels):
            blocks = nn.Sequential()
            for block in range(spec.blocks[stage]):
                stride = spec.strides[stage] if block == 0 else 1
                keeps_shape = (width, size) == (channels, -(-size // stride))
                blocks.append(block_type(spec, stage, width, stride, None if keeps_shape else spec.shortcut_kernel))
                width, size = channels, -(-size // stride)
            self.add_module(f"layer{stage + 1}", blocks)
        if preact:
            self.bn = nn.BatchNorm2d(width)
        if spec.head_width:
            self.head_conv = conv(width, spec.head_width, 1)
            self.head_bn = nn.BatchNorm2d(spec.head_width)
            width = spec.head_width
        self.has_head = spec.head_width > 0
        self.avgpool = nn.AvgPool2d(spec.pool_size)
        self.dropout = nn.Dropout(spec.dropout)
        self.fc = nn.Linear(width * (size // spec.pool_size) ** 2, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, image_size, image_size) to (N, classes)."""
        x = self.conv1(x)
        if not self.preact:
            x = self.act(self.bn1(x), inplace=True)
        for number in range(1, self.n_stages + 1):
            x = getattr(self, f"layer{number}")(x)
        if self.preact:
            x = self.act(self.bn(x), inplace=True)
        if self.has_head:
            x = self.act(self.head_bn(self.head_conv(x)), inplace=True)
        x = self.avgpool(x).flatten(1)
        logits: Tensor = self.fc(self.dropout(x))
        return logits


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
