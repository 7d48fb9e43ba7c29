"""`CandidateTrainer`: what trains the candidates of a search; `TorchTrainer`: with torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from nas_budget.arch.spec import AnySpec
from nas_budget.records.trials import EpochResult
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.device import describe_device, free_memory
from nas_budget.train.engine.loop import train
from nas_budget.train.engine.model import build
from nas_budget.train.profile.benchmark import latency_s


class CandidateTrainer(Protocol):
    """Trains candidates. A benchmark may have another than torch's."""

    @property
    def precision(self) -> str:
        """Number format it trains in, such as "fp32"."""

    @property
    def device(self) -> str:
        """Where it trains, in words."""

    def latency_s(self, spec: AnySpec) -> float | None:
        """Seconds of one image through a network; None where that cannot be timed."""

    def train(self, candidate: Candidate, seed: int) -> Iterator[EpochResult]:
        """Train the candidate and yield each epoch's result."""

    def release(self) -> None:
        """Give back what the last training held."""


class TorchTrainer:
    """Trains with torch where the images are.

    Args:
        images: Images on the device.
        precision: "fp32", "bf16" or "fp16".
        should_stop: Asked before every step; training raises `StoppedError` when it says so.
        graphed: Whether steps are replayed from a CUDA graph.
    """

    def __init__(
        self, images: SplitImages, precision: str = "fp32", should_stop: Callable[[], bool] = lambda: False,
        graphed: bool = False,
    ) -> None:  # fmt: skip
        self.images, self.should_stop, self.graphed = images, should_stop, graphed
        self.precision = precision

    @property
    def device(self) -> str:
        """Where it trains, in words."""
        return describe_device(self.images.mean.device)

    def latency_s(self, spec: AnySpec) -> float:
        """Seconds of one image through a network, measured in about a tenth of a second."""
        return latency_s(spec, self.images.mean.device, self.precision)

    def train(self, candidate: Candidate, seed: int) -> Iterator[EpochResult]:
        """Train the candidate's network from its beginning and yield each epoch's result.

        Raises:
            StoppedError: `should_stop` said so.
        """
        network = build(candidate.spec, seed)
        return train(network, self.images, candidate.recipe, seed, self.precision, self.should_stop, self.graphed)

    def release(self) -> None:
        """Give the device's memory back."""
        free_memory(self.images.mean.device)
