"""What trains a candidate for a search."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Protocol

import torch

from nas_budget.search.candidates import Candidate
from nas_budget.train.device import describe_device
from nas_budget.train.images import SplitImages
from nas_budget.train.loop import EpochResult, train
from nas_budget.train.network import build


class Trainer(Protocol):
    """Trains candidates; a benchmark may have another than torch's."""

    @property
    def device(self) -> str:
        """Where it trains, in words."""

    def train(self, candidate: Candidate, seed: int) -> Iterator[EpochResult]:
        """Train the candidate and yield each epoch's result."""

    def release(self) -> None:
        """Give back what the last training held."""


class TorchTrainer:
    """Trains with torch where the images are.

    Args:
        images: Images on the device.
        precision: "fp32", "bf16" or "fp16".
        stopped: Asked before every step; training raises `StoppedError` when it says so.
    """

    def __init__(
        self, images: SplitImages, precision: str = "fp32", stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.images = images
        self.precision = precision
        self.stopped = stopped

    @property
    def device(self) -> str:
        """Where it trains, in words."""
        return describe_device(self.images.mean.device)

    def train(self, candidate: Candidate, seed: int) -> Iterator[EpochResult]:
        """Train the candidate's network from its beginning and yield each epoch's result.

        Raises:
            StoppedError: `stopped` said so.
        """
        network = build(candidate.spec, seed)
        device = self.images.mean.device
        for result in train(network, self.images, candidate.recipe, seed, self.precision, self.stopped):
            chance = _chance(device)
            yield result
            _set_chance(device, chance)  # whatever is trained meanwhile: a training is the same alone and beside others

    def release(self) -> None:
        """Give the device's memory back."""
        if self.images.mean.device.type == "cuda":
            gc.collect()  # schedulers and optimisers hold each other, and with them the weights
            torch.cuda.empty_cache()


def _chance(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The state of torch's random numbers on the CPU, and on the device if it is another."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_chance(device: torch.device, chance: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    of_cpu, of_device = chance
    torch.set_rng_state(of_cpu)
    if of_device is not None:
        torch.cuda.set_rng_state(of_device, device)
