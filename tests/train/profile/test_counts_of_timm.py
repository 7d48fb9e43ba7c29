"""Parameters and multiply-accumulates of models of timm, attention included.

The figures are of timm's benchmark of inference (RTX 3090, torch 1.13), where fvcore counted them without fused
attention, but with normalization.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nas_budget.train.profile.count_module import count_module

timm = pytest.importorskip("timm", reason="timm is not installed")

TIMM = [
    # name, size of the images, millions of parameters, GMACs
    ("lcnet_050", 224, 1.88, 0.05),
    ("mobilenetv2_035", 224, 1.68, 0.07),
    ("mobilenetv2_050", 224, 1.97, 0.1),
    ("mobilenetv2_100", 224, 3.5, 0.31),
    ("mobilenetv3_small_050", 224, 1.59, 0.03),
    ("ghostnet_100", 224, 5.18, 0.15),
    ("mnasnet_100", 224, 4.38, 0.33),
    ("fbnetc_100", 224, 5.57, 0.4),
    ("tf_efficientnetv2_b0", 224, 7.14, 0.73),
    ("regnetx_002", 224, 2.68, 0.2),
    ("regnety_002", 224, 3.16, 0.2),
    ("resnet18", 224, 11.69, 1.82),
    ("resnet34d", 224, 21.82, 3.91),
    ("resnet26", 224, 16.0, 2.36),
    ("densenet121", 224, 7.98, 2.87),
    ("repvgg_b0", 224, 15.82, 3.41),
    ("mixnet_s", 224, 4.13, 0.25),
    ("rexnet_100", 224, 4.8, 0.41),
    ("edgenext_xx_small", 288, 1.33, 0.33),
    ("convnext_atto", 288, 3.7, 0.91),
    ("deit_tiny_patch16_224", 224, 5.72, 1.26),
    ("vit_small_patch32_224", 224, 22.88, 1.15),
    ("levit_128s", 224, 7.78, 0.31),
    ("pit_ti_224", 224, 4.85, 0.7),
    ("mixer_s32_224", 224, 19.1, 1.0),
    ("resmlp_12_224", 224, 15.35, 3.01),
    ("gmlp_ti16_224", 224, 5.87, 1.34),
    ("swin_tiny_patch4_window7_224", 224, 28.29, 4.51),
    ("poolformer_s12", 224, 11.92, 1.82),
    ("coat_lite_tiny", 224, 5.72, 1.6),
    ("pvt_v2_b0", 224, 3.67, 0.57),
    ("mobilevit_xxs", 256, 1.27, 0.42),
    ("xcit_nano_12_p16_224", 224, 3.05, 0.56),
    ("cait_xxs24_224", 224, 11.96, 2.53),
    ("twins_svt_small", 224, 24.06, 2.94),
    ("vgg11", 224, 132.86, 7.61),
    ("inception_v3", 299, 23.83, 5.73),
    ("resnext50_32x4d", 224, 25.03, 4.26),
    ("seresnet50", 224, 28.09, 4.11),
    ("legacy_xception", 299, 22.86, 8.4),
    ("hrnet_w18_small", 224, 13.19, 1.61),
    ("dla34", 224, 15.74, 3.07),
    ("selecsls42b", 224, 32.46, 2.98),
    ("efficientformer_l1", 224, 12.29, 1.3),
    ("visformer_tiny", 224, 10.32, 1.27),
    ("convit_tiny", 224, 5.71, 1.26),
    ("botnet26t_256", 256, 12.49, 3.32),
    ("coatnet_0_rw_224", 224, 27.44, 4.43),
    ("volo_d1_224", 224, 26.63, 6.94),
    ("vgg11_bn", 224, 132.87, 7.62),
]


def of_norms(name: str, size: int) -> int:
    """What fvcore counts for normalization, and we do not: 2 for each element of a batch norm, 5 of other norms."""
    counted: list[int] = []

    def count(module: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> None:
        counted.append((2 if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) else 5) * given[0].numel())

    with torch.device("meta"):
        model = timm.create_model(name).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
                module.register_forward_hook(count)
        model(torch.empty(1, 3, size, size))
    return sum(counted)


@pytest.mark.parametrize(("name", "size", "millions", "gmacs"), TIMM, ids=[row[0] for row in TIMM])
def test_timm(name: str, size: int, millions: float, gmacs: float) -> None:
    found = count_module(f"timm:create_model('{name}')", (3, size, size))
    assert round(found.params / 1e6, 2) == millions
    assert round((found.macs + of_norms(name, size)) / 1e9, 2) == gmacs
    assert found.uncounted == ()
