"""Published parameters and multiply-accumulates of known models, attention included.

torchvision publishes both with its weights (`meta["num_params"]`, `meta["_ops"]`), for one image or clip of the size
that the weights were evaluated at.
"""

from __future__ import annotations

from typing import Any

import pytest
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
