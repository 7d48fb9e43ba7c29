"""How a network is trained, as named settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nas_budget.errors import SettingsError


@dataclass(frozen=True)
class Recipe:
    """Everything but the network and the images.

    Attributes:
        optimizer: "sgd" (Nesterov momentum 0.9) or "adam".
        learning_rate: Its largest value.
        weight_decay: As the optimiser takes it (added to the gradient).
        decay_all: Whether batch norm and biases decay too.
        schedule: "onecycle" (torch's defaults) or "linear" (a linear rise, then linearly to zero).
        warm_up: Share of the steps on which the linear schedule rises.
        batch_size: Images a step.
        epochs: Passes over the images.
        label_smoothing: Share of each target spread over all classes.
        clip_value: Largest absolute value of a gradient; 0 for no limit.
        crop_pad: Largest random shift in pixels, less than the image; the border is reflected; 0 for none.
        flip: Whether images are mirrored at random.

    Raises:
        SettingsError: Values out of range; all of them at once.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    decay_all: bool = False
    schedule: str = "linear"
    warm_up: float = 0.2
    batch_size: int = 128
    epochs: int = 16
    label_smoothing: float = 0.0
    clip_value: float = 0.0
    crop_pad: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise SettingsError(problems)

    def _problems(self) -> Iterator[str]:
        for name, allowed in ("optimizer", ("sgd", "adam")), ("schedule", ("onecycle", "linear")):
            if getattr(self, name) not in allowed:
                yield f"{name}: {getattr(self, name)!r} is unknown; allowed are {', '.join(allowed)}"
        if not 0 < self.learning_rate < math.inf:
            yield f"learning_rate: {self.learning_rate} is not allowed; give a number above 0"
        for name, least, most in ("batch_size", 2, 1_000_000), ("epochs", 1, 100_000):
            if not least <= getattr(self, name) <= most:
                yield f"{name}: {getattr(self, name)} is not allowed; give {least} to {most:,}"
        for name in "weight_decay", "clip_value", "crop_pad":
            if not 0 <= getattr(self, name) < math.inf:
                yield f"{name}: {getattr(self, name)} is not allowed; give 0 or more"
        for name in "label_smoothing", "warm_up":
            if not 0 <= getattr(self, name) < 1:
                yield f"{name}: {getattr(self, name)} is not allowed; give a share from 0 up to, but not, 1"


RECIPES = {
    # The reference's notebook: Adam, one-cycle, coupled decay of everything, gradients clipped by value.
    "paper": Recipe(
        optimizer="adam", learning_rate=0.01, weight_decay=1e-4, decay_all=True, schedule="onecycle",
        batch_size=400, epochs=150, clip_value=0.1,
    ),
    # Nesterov SGD that rises and falls linearly, as the CIFAR-10 speed runs do (Jordan 2024, arXiv:2404.00498).
    "sgd": Recipe(learning_rate=0.4, batch_size=512, epochs=16),
    # The same for a few thousand images on a CPU: small batches, so that there are steps enough to learn.
    "brief": Recipe(learning_rate=0.1, batch_size=64, epochs=6),
}  # fmt: skip
