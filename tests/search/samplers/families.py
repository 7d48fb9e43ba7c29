"""Families of networks for the tests, as a user would write them."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn


class Plain:
    """Convolutions; some widths cannot be built, and odd groups make cost fall at times."""

    space: ClassVar[Any] = {
        "depth": (1, 2, 3),
        "norm": (False, True),
        "act": ("relu", "gelu"),
        "width": range(4, 41, 4),
    }
    knob = "width"

    def build(self, input_shape: tuple[int, int, int], classes: int, **values: Any) -> nn.Module:
        depth, width = values["depth"], values["width"]
        if width == 20:
            raise ValueError("no such width")
        act = {"relu": nn.ReLU, "gelu": nn.GELU}[values["act"]]
        groups = 4 if width % 8 == 0 else 1
        layers: list[nn.Module] = [nn.Conv2d(input_shape[0], width, 3, padding=1), act()]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=groups), act()]
            layers += [nn.BatchNorm2d(width)] if values["norm"] else []
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class WithoutKnob(Plain):
    """The same, with nothing to lower first."""

    knob = ""


class NoLogits(Plain):
    """Returns the features."""

    def build(self, input_shape: tuple[int, int, int], classes: int, **values: Any) -> nn.Module:
        return nn.Conv2d(input_shape[0], values["width"] * classes, 3)


class Several(Plain):
    """Returns its logits twice, as networks with a second classifier do."""

    def build(self, input_shape: tuple[int, int, int], classes: int, **values: Any) -> nn.Module:
        return Twice(super().build(input_shape, classes, **values))


class Twice(nn.Module):
    """What a network returns, in a pair."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same twice."""
        return self.network(images), self.network(images)


class Fails(Plain):
    """An error of another kind."""

    def build(self, *_: Any, **__: Any) -> nn.Module:
        raise KeyError("missing")


class TakenName(Plain):
    """A dimension of the name of a column."""

    space: ClassVar[Any] = {"accuracy": (1, 2)}


class NoChoices(Plain):
    """A dimension that is no list."""

    space: ClassVar[Any] = {"width": 3}


class NoBuild:
    """No family."""

    space: ClassVar[Any] = {"width": (1, 2)}
