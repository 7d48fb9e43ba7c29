"""`Recipe`: the hyperparameters of a training, and `RECIPES`: five tested ones by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nas_budget.errors import SettingsError

CHOICES = {
    "optimizer": ("sgd", "adam", "muon"),
    "decays": ("all", "weights", "convolutions"),
    "schedule": ("onecycle", "linear", "cosine"),
    "flip": ("none", "random", "alternate"),
}
"""What a field may be."""

MOST_EPOCHS = 100_000
Rule = tuple[Callable[[float], bool], str]
POSITIVE: Rule = (lambda value: 0 < value < math.inf, "a number above 0")
NOT_NEGATIVE: Rule = (lambda value: 0 <= value < math.inf, "0 or more")
SHARE: Rule = (lambda value: 0 <= value < 1, "a share from 0 up to, but not, 1")
NUMBERS: dict[str, Rule] = {
    "learning_rate": POSITIVE,
    "other_lr": POSITIVE,
    "batch_size": (lambda value: 2 <= value <= 1_000_000, "2 to 1,000,000"),
    "epochs": (lambda value: 1 <= value <= MOST_EPOCHS, f"1 to {MOST_EPOCHS:,}"),
    "weight_decay": NOT_NEGATIVE,
    "clip_value": NOT_NEGATIVE,
    "crop_pad": NOT_NEGATIVE,
    "cutout": NOT_NEGATIVE,
    "label_smoothing": SHARE,
    "warmup": SHARE,
    "ema": SHARE,
    "cutmix": (lambda value: 0 <= value <= 1, "a share from 0 to 1"),
}
"""Which numbers a field may be, and how that is said."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a training needs beside the network and the images: optimizer, schedule, augmentation, EMA.

    A recipe is frozen: change one with `dataclasses.replace`. Values are checked when it is made, and all
    mistakes are named at once. NaN is out of range everywhere.

    Attributes:
        optimizer: "sgd" (Nesterov momentum 0.9), "adam", or "muon" for convolutions and Nesterov SGD for the rest.
        learning_rate: Its largest value over the schedule.
        other_lr: With "muon", the largest learning rate of the rest; otherwise without effect.
        weight_decay: As the optimizer takes it: added to the gradient; with "muon" decoupled.
        decays: Which parameters decay: "all", "weights" (not batch norm and biases) or "convolutions".
        schedule: "onecycle" (torch's defaults), or a linear rise and then down to zero, "linear" or as a "cosine".
        warmup: Share of the steps on which the linear and cosine schedules rise.
        batch_size: Images a step.
        epochs: Passes over the images.
        label_smoothing: Share of each target spread over all classes.
        clip_value: Largest absolute value of a gradient; 0 for no limit.
        crop_pad: Largest random shift in pixels, less than the image; the border is reflected; 0 for none.
        flip: Which images are mirrored: "none", half of them at "random", or half of them and in "alternate"
            epochs the other half.
        trivial_augment: Whether each image is changed in one random way by a random strength.
        cutout: Side in pixels of a square that is blanked in each image; 0 for none.
        cutmix: Share of images of which a rectangle is from another image, and so is that share of the target.
        ema: Weights are averaged exponentially over this share of all steps; 0 for no averaging.

    Raises:
        SettingsError: Values out of range; all of them at once.

    Examples:
        >>> from dataclasses import replace
        >>> brief = replace(RECIPES["fast"], epochs=4, ema=0.1)
        >>> brief.optimizer, brief.batch_size, brief.epochs
        ('muon', 512, 4)
        >>> Recipe(optimizer="lion")
        Traceback (most recent call last):
        nas_budget.errors.SettingsError: optimizer: 'lion' is unknown; allowed are sgd, adam, muon
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    other_lr: float = 0.1
    weight_decay: float = 5e-4
    decays: str = "weights"
    schedule: str = "linear"
    warmup: float = 0.2
    batch_size: int = 128
    epochs: int = 16
    label_smoothing: float = 0.0
    clip_value: float = 0.0
    crop_pad: int = 4
    flip: str = "random"
    trivial_augment: bool = False
    cutout: int = 0
    cutmix: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise SettingsError(problems)

    def _problems(self) -> Iterator[str]:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                yield f"{name}: {getattr(self, name)!r} is unknown; allowed are {', '.join(allowed)}"
        for name, (inside, rule) in NUMBERS.items():
            if not inside(getattr(self, name)):
                yield f"{name}: {getattr(self, name)} is not allowed; give {rule}"


RECIPES = {
    # The reference's notebook: Adam, one-cycle, coupled decay of everything, gradients clipped by value.
    "paper": Recipe(
        optimizer="adam", learning_rate=0.01, weight_decay=1e-4, decays="all", schedule="onecycle",
        batch_size=400, epochs=150, clip_value=0.1,
    ),
    # For trials. Muon, which learns most in few epochs (Jordan 2024, kellerjordan.github.io/posts/muon), rising and
    # falling linearly, and alternate flip (Jordan 2024, arXiv:2404.00498).
    "fast": Recipe(
        optimizer="muon", learning_rate=0.1, weight_decay=0.01, batch_size=512, epochs=16, flip="alternate",
    ),
    # The same for a few thousand images on a CPU: small batches, so that there are steps enough to learn.
    "brief": Recipe(optimizer="muon", learning_rate=0.05, weight_decay=0.01, batch_size=64, epochs=6),
    # For a final run of some hours without a GPU: what was worth something alone in eight epochs, together
    # (benchmarks/evening.py). Smaller batches than 256 cost large networks more of the optimizer's time.
    "evening": Recipe(
        optimizer="muon", learning_rate=0.1, other_lr=0.3, weight_decay=0.01, batch_size=256, epochs=30,
        decays="convolutions", label_smoothing=0.1, crop_pad=2, flip="alternate",
    ),
    # For the final run. CutMix (Yun et al. 2019, arXiv:1905.04899), TrivialAugment (Müller and Hutter 2021,
    # arXiv:2103.10158), decay of convolutions only and label smoothing (He et al. 2018, arXiv:1812.01187),
    # EMA weights (Polyak and Juditsky 1992).
    "strong": Recipe(
        optimizer="muon", learning_rate=0.05, weight_decay=0.01, batch_size=128, epochs=200, decays="convolutions",
        warmup=0.05, label_smoothing=0.1, flip="alternate", trivial_augment=True, cutmix=0.5, ema=0.01,
    ),
}  # fmt: skip
