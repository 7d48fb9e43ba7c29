"""Networks of the literature: published counts, and modules written here on their own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, starmap
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import mobilenet_v2, resnext50_32x4d
from torchvision.models.resnet import Bottleneck

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.engine.model import build


def resnet(n: int) -> ResNetSpec:
    """ResNet of depth 6 n + 2 with projections (He et al. 2015, section 4.2, option B)."""
    return ResNetSpec((16, 32, 64), blocks=n, shortcut_kernel=1, pool="global")


def wide(depth: int, k: int) -> ResNetSpec:
    """Wide residual network (Zagoruyko and Komodakis 2016, table 1)."""
    options: dict[str, Any] = {"block": "preact", "stem_width": 16, "shortcut_kernel": 1, "pool": "global"}
    return ResNetSpec((16 * k, 32 * k, 64 * k), blocks=(depth - 4) // 6, **options)


BOTTLENECK = ResNetSpec(
    (64, 128, 256), blocks=18, block="bottleneck", stem_width=16, shortcut_kernel=1, pool="global"
)  # fmt: skip
WIDE = [(16, 4), (40, 2), (40, 3), (16, 8), (28, 10)]
SQUEEZED = ResNetSpec((64, 128, 256), blocks=(4, 4, 3), se_reduction=16, shortcut_kernel=1, pool="global")


@pytest.mark.parametrize(
    ("spec", "params"),
    [
        (resnet(3), 272_474),
        (resnet(9), 855_770),
        (resnet(18), 1_730_714),
        (wide(16, 4), 2_748_890),
        (wide(40, 2), 2_243_546),
        (wide(40, 3), 5_038_554),
        (wide(16, 8), 10_961_370),
        (wide(28, 10), 36_479_194),
    ],
    ids=str,
)
def test_published_parameters(spec: ResNetSpec, params: int) -> None:
    assert cost(spec).params == params


def test_a_wide_network_is_just_over() -> None:
    (margin,) = Budget().check(wide(40, 3)).margins
    assert margin.margin == -38_554


class Net(nn.Module):
    """Any of these networks, by another way of writing them: lists of layers, run by hand."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...], kind: str, stem: int, reduction: int) -> None:
        super().__init__()
        self.kind = kind
        self.stem = nn.Conv2d(3, stem, 3, 1, 1, bias=False)
        self.stem_norm = nn.Identity() if kind == "preact" else nn.BatchNorm2d(stem)
        self.rows = nn.ModuleList()
        before = stem
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                self.rows.append(self._row(before, width, stride, reduction))
                before = width
        self.end = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU()) if kind == "preact" else nn.Identity()
        self.classes = nn.Linear(before, 10)

    def _row(self, n: int, m: int, stride: int, reduction: int) -> nn.ModuleDict:
        if self.kind == "bottleneck":
            plan = [(n, m // 4, 1, 1), (m // 4, m // 4, 3, stride), (m // 4, m, 1, 1)]
        else:
            plan = [(n, m, 3, stride), (m, m, 3, 1)]
        steps = []
        for i, (a, b, kernel, step) in enumerate(plan):
            conv = nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False)
            if self.kind == "preact":
                steps += [conv] if i == 0 else [nn.BatchNorm2d(a), nn.ReLU(), conv]
            else:
                steps += [conv, nn.BatchNorm2d(b)] + ([nn.ReLU()] if i < len(plan) - 1 else [])
        row = nn.ModuleDict({"path": nn.Sequential(*steps)})
        if self.kind == "preact":
            row["enter"] = nn.Sequential(nn.BatchNorm2d(n), nn.ReLU())
        if n != m or stride != 1:
            project = nn.Conv2d(n, m, 1, stride, bias=False)
            row["side"] = project if self.kind == "preact" else nn.Sequential(project, nn.BatchNorm2d(m))
        if reduction:
            few = m // reduction
            row["gate"] = nn.Sequential(nn.Flatten(), nn.Linear(m, few), nn.ReLU(), nn.Linear(few, m), nn.Sigmoid())
        return row

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x))
        x = x if self.kind == "preact" else x.relu()
        for row in self.rows:
            entered = row["enter"](x) if "enter" in row else x
            out = row["path"](entered)
            if "gate" in row:
                out = out * row["gate"](out.mean((2, 3))).reshape(len(out), -1, 1, 1)
            x = out + (row["side"](entered) if "side" in row else x)
            x = x if self.kind == "preact" else x.relu()
        scores: Tensor = self.classes(self.end(x).mean((2, 3)))
        return scores


@pytest.mark.parametrize("spec", [*map(resnet, (3, 9, 18)), *starmap(wide, WIDE), BOTTLENECK, SQUEEZED], ids=str)
def test_networks_written_on_their_own_agree(spec: ResNetSpec) -> None:
    with torch.device("meta"):
        network = Net(spec.channels, spec.blocks, spec.block, spec.stem_channels, spec.se_reduction).eval()
        image = torch.empty(1, 3, 32, 32)
    assert cost(spec).params == sum(p.numel() for p in network.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    assert 2 * cost(spec).macs == counter.get_total_flops()


def divisible(width: float) -> int:
    """A width of MobileNetV2 as a multiple of 8, none below nine tenths of what was asked for."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 * (near < 0.9 * width)


def mobilenet(factor: float) -> ResNetSpec:
    """MobileNetV2 (Sandler et al. 2018, table 2)."""
    return ResNetSpec(
        tuple(divisible(factor * width) for width in (16, 24, 32, 64, 96, 160, 320)), blocks=(1, 2, 3, 4, 3, 3, 1),
        block="inverted", expansions=(1, 6, 6, 6, 6, 6, 6), strides=(1, 2, 2, 2, 1, 2, 1), activation="relu6",
        stem_width=divisible(factor * 32), stem_stride=2, head_width=1280, pool="global", dropout=0.2, image_size=224,
        classes=1000,
    )  # fmt: skip


def resnext29(groups: int) -> ResNetSpec:
    """ResNeXt-29 of groups that are 64 wide (Xie et al. 2016, section 5.3)."""
    return ResNetSpec(
        (256, 512, 1024), blocks=3, block="bottleneck", groups=groups, expansions=groups * 64 / 256, stem_width=64,
        shortcut_kernel=1, pool="global",
    )  # fmt: skip


def counted(make: Callable[[], nn.Module], size: int) -> tuple[int, int]:
    """Parameters and MACs of a module, as torch counts them."""
    with torch.device("meta"):
        network, image = make().eval(), torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("factor", "params", "macs", "published"),
    [
        (1.0, 3_504_872, 300_774_272, (3.47, 300)),
        (0.5, 1_968_680, 97_131_840, (1.95, 97)),
        (0.35, 1_677_128, 59_285_808, (1.66, 59)),
    ],
)
def test_mobilenet_is_that_of_torchvision_and_as_published(
    factor: float, params: int, macs: int, published: tuple[float, float]
) -> None:
    """What its authors publish, in millions, is counted without batch norm: they fold it into the convolutions."""
    used = cost(mobilenet(factor))
    assert (used.params, used.macs) == counted(lambda: mobilenet_v2(width_mult=factor), 224) == (params, macs)
    of_batch_norm = used.buffers  # as many as its parameters
    assert (round((used.params - of_batch_norm) / 1e6, 2), used.macs // 10**6) == published
    assert used.depth == 53


@pytest.mark.parametrize(("groups", "millions"), [(8, 34.4), (16, 68.1)])
def test_resnext_has_the_published_parameters(groups: int, millions: float) -> None:
    def by_torchvisions_blocks() -> nn.Module:
        rows: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)]
        for before, width in pairwise((64, 256, 512, 1024)):
            for i in range(3):
                n_in, stride = (width, 1) if i else (before, 1 if before == 64 else 2)
                project = nn.Sequential(nn.Conv2d(n_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
                shortcut = None if i else project
                rows.append(Bottleneck(n_in, width // 4, stride, shortcut, groups=groups, base_width=64))
        return nn.Sequential(*rows, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10))

    used = cost(resnext29(groups))
    assert int(used.params / 1e5) / 10 == millions
    assert (used.params, used.macs) == counted(by_torchvisions_blocks, 32)
    assert used.depth == 29


def test_resnext_50_is_that_of_torchvision() -> None:
    """Its maximum pool is no layer of ours: past it, the network is one on images of 56 pixels."""
    spec = ResNetSpec(
        (256, 512, 1024, 2048), blocks=(3, 4, 6, 3), block="bottleneck", groups=32, expansions=0.5, stem_width=64,
        stem_kernel=7, shortcut_kernel=1, pool="global", image_size=56, classes=1000,
    )  # fmt: skip
    params, macs = counted(resnext50_32x4d, 224)
    used = cost(spec)
    assert used.params == params == 25_028_904
    assert used.macs - used.parts[0].macs == macs - 7 * 7 * 3 * 64 * 112 * 112


def test_a_network_of_the_size_of_mcunet() -> None:
    """Kernels and expansions as MCUNet mixes them (Lin et al. 2020, arXiv:2007.10319), for 320 kB and 1 MB in int8."""
    spec = ResNetSpec(
        (8, 16, 24, 40, 48, 96, 160), blocks=(1, 2, 2, 2, 2, 2, 1), kernels=(3, 7, 3, 7, 5, 5, 7), block="inverted",
        expansions=(1, 3, 6, 5, 5, 4, 6), strides=(1, 2, 2, 2, 1, 2, 1), stem_width=16, stem_stride=2, pool="global",
        image_size=176, classes=1000,
    )  # fmt: skip
    used = cost(spec)
    assert used.weight_bytes["int8"] < 1_000_000
    assert used.activation_bytes is not None
    assert used.activation_bytes // 4 < 320_000
    assert (used.params, used.macs) == counted(lambda: build(spec), 176)
