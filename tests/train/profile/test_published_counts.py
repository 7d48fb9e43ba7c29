"""Published parameters and multiply-accumulates of known models, attention included.

torchvision publishes both with its weights (`meta["num_params"]`, `meta["_ops"]`), for one image or clip of the size
that the weights were evaluated at. Those of timm are of its benchmark of inference (RTX 3090, torch 1.13), where fvcore
counted them without fused attention, but with normalization.
"""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from nas_budget.train.profile.count_module import ModuleCost, count_module

NO_AUXILIARY = "(aux_logits=False, init_weights=False)"
"""What the published parameters of GoogLeNet leave out: classifiers that only a training uses."""
ARGUMENTS = {
    ("googlenet", 224): NO_AUXILIARY,
    ("inception_v3", 299): "(init_weights=False)",
    ("vit_b_16", 384): "(image_size=384)",
    ("vit_h_14", 518): "(image_size=518)",
    ("vit_l_16", 512): "(image_size=512)",
}
FRAMES = 16
"""Of the clips that the published figures of video models are for."""
QUICK = {
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small", "mvit_v1_b", "r3d_18", "regnet_x_400mf",
    "regnet_y_400mf", "resnet50", "resnext50_32x4d", "s3d", "shufflenet_v2_x1_0", "squeezenet1_0", "swin3d_t", "swin_t",
    "swin_v2_t", "vgg11_bn", "vit_b_16", "vit_b_32", "wide_resnet50_2",
}  # fmt: skip
HUGE = {"regnet_y_128gf"}
"""Left out: half a minute of initial values for 645 million parameters."""


def published() -> list[Any]:
    """Name, image size, published parameters and GMACs of every model for images or clips, once."""
    found: dict[str, tuple[str, int, int, float]] = {}
    for module in (models, models.video):
        for name in models.list_models(module=module):
            for weights in models.get_model_weights(name):
                crop = weights.transforms().crop_size
                size = crop if isinstance(crop, int) else crop[0]
                figures = name, size, weights.meta["num_params"], weights.meta["_ops"]
                found[f"{name}-{size}"] = figures
    return [
        pytest.param(*figures, id=key, marks=() if figures[0] in QUICK else pytest.mark.slow)
        for key, figures in found.items()
        if figures[0] not in HUGE
    ]


@pytest.mark.parametrize(("name", "size", "params", "gmacs"), published())
def test_torchvision(name: str, size: int, params: int, gmacs: float) -> None:
    module = models.get_model_builder(name).__module__
    clip = (FRAMES,) if module.startswith("torchvision.models.video") else ()
    found = count_module(f"{module}:{name}{ARGUMENTS.get((name, size), '')}", (3, *clip, size, size))
    assert found.params == params
    assert found.macs / 1e9 == pytest.approx(gmacs, abs=0.00051)  # published with three digits
    assert found.uncounted == ()


def segmentation(name: str, auxiliary: bool) -> ModuleCost:
    module = models.get_model_builder(name).__module__
    arguments = f"(num_classes=21, weights_backbone=None, aux_loss={auxiliary})"
    return count_module(f"{module}:{name}{arguments}", (3, 520, 520))


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50"])
def test_segmentation_gives_a_dictionary_and_is_published_with_its_auxiliary_classifier(name: str) -> None:
    published = models.get_model_weights(name).DEFAULT.meta
    found = segmentation(name, auxiliary=True)
    assert (found.params, round(found.macs / 1e9, 3)) == (published["num_params"], published["_ops"])
    assert {part.name: part.out_shape for part in found.parts}["aux_classifier"][0] == 21
    assert segmentation(name, auxiliary=False).macs < found.macs


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
