"""Networks of the literature: published counts, and modules written here on their own."""

from __future__ import annotations

from itertools import starmap
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec


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
