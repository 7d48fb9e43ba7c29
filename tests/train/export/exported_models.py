"""Networks to export, and their logits."""

from __future__ import annotations

import torch
from torch import nn

from nas_budget import ResNetSpec, build
from nas_budget.train.engine.weights import Model

SMALL = ResNetSpec((4, 6), blocks=1, image_size=8, classes=3, pool="global")
SPECS = {
    "basic": ResNetSpec((4, 6), blocks=2, image_size=9, pool=2, kernels=(3, 5), stem_kernel=5),
    "preact, 1x1": ResNetSpec(
        (5, 8), blocks=(1, 2), block="preact", shortcut_kernel=1, stem_width=3, dropout=0.2, image_size=8, pool=2
    ),
    "bottleneck": ResNetSpec((6, 9), blocks=1, block="bottleneck", se_reduction=2, image_size=8, pool=1, in_channels=1),
    "squeezed": ResNetSpec((4, 5), blocks=1, se_reduction=16, strides=(2, 3), image_size=12, in_channels=2, classes=1),
    "no shortcut": ResNetSpec((4,), blocks=2, image_size=5, pool="global", block="preact", se_reduction=3),
    "grouped": ResNetSpec(
        (6, 9), blocks=1, block="bottleneck", groups=3, expansions=0.5, activation="silu", image_size=8, pool=1
    ),
    "separable": ResNetSpec(
        (4, 6), block="separable", blocks=2, kernels=(3, 1), activation="hard-swish", se_reduction=2, image_size=8
    ),
    "inverted": ResNetSpec(
        (4, 6), blocks=2, block="inverted", expansions=(1, 3), activation="relu6", stem_stride=2, head_width=9,
        se_reduction=4, image_size=9, pool="global",
    ),
    "one pixel": ResNetSpec((4, 4), blocks=1, strides=(2, 2), image_size=2, pool=1, shortcut_kernel=1),
}  # fmt: skip


def model(spec: ResNetSpec = SMALL, seed: int = 0) -> Model:
    """A network whose batch norm has statistics that matter, as a trained one's has."""
    network, random = build(spec, seed).eval(), torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (module.running_mean, -1), (module.running_var, 0.5), (module.bias, -1):
                assert tensor is not None
                tensor.data.uniform_(low, 1.5, generator=random)
    n = spec.in_channels
    classes = tuple(f"class {i}" for i in range(spec.classes))
    mean, std = tuple(100.0 + i for i in range(n)), tuple(60.0 + i for i in range(n))
    return Model(spec, network, classes, mean, std, {"data": "shapes", "seed": 3, "weights": "plain", "accuracy": 0.75})


def images_of(spec: ResNetSpec, n: int) -> torch.Tensor:
    shape = (n, spec.image_size, spec.image_size, spec.in_channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def logits_of(made: Model, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = made.network(made.normalized(images))
    return logits
