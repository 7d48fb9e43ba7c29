"""`CandidateTrainer`: what trains the candidates of a search; `TorchTrainer`: with torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from nas_budget.arch.spec import AnySpec
from nas_budget.errors import ModelError
from nas_budget.records.trials import EpochResult
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.checkpoint import RegularCheckpoints, load_checkpoint
from nas_budget.train.engine.device import describe_device, free_memory, inference_precision, is_out_of_memory
from nas_budget.train.engine.loop import train_epoch
from nas_budget.train.engine.model import build
from nas_budget.train.engine.trainer import Graph, Trainer
from nas_budget.train.profile.benchmark import latency_s


@dataclass(frozen=True)
class Kept:
    """Where a training is kept after its epochs, so that an interrupted one goes on there.

    Attributes:
        file: The checkpoint. One that is there is resumed.
        about: What is trained and with what, as JSON has it. A checkpoint of anything else is not resumed.
        on_message: Called with notes for a person.
    """

    file: Path
    about: Mapping[str, Any]
    on_message: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class CandidateTraining:
    """The epochs of a candidate's training, each the mean over its seeds.

    Attributes:
        left: Those that are trained as they are asked for. Whoever asks for another one has decided to go on.
        past: Those before, which an earlier attempt trained.
    """

    left: Iterator[EpochResult]
    past: Sequence[EpochResult] = ()


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

    def train(self, candidate: Candidate, seeds: Sequence[int], kept: Kept | None = None) -> CandidateTraining:
        """Train the candidate with all seeds at once."""

    def release(self) -> None:
        """Give back what the last training held."""


class TorchTrainer:
    """Trains with torch where the images are.

    Args:
        images: Images on the device.
        precision: "fp32", "bf16" or "fp16".
        should_stop: Asked before every step; training raises `StoppedError` when it says so.
        graphed: Whether steps are replayed from a CUDA graph; "auto": on a CUDA device, where that is faster.
    """

    def __init__(
        self, images: SplitImages, precision: str = "fp32", should_stop: Callable[[], bool] = lambda: False,
        graphed: Graph = False,
    ) -> None:  # fmt: skip
        self.images, self.should_stop, self.graphed = images, should_stop, graphed
        self.precision = precision
        self.checkpoints, self.can_save = RegularCheckpoints(), True

    @property
    def device(self) -> str:
        """Where it trains, in words."""
        return describe_device(self.images.mean.device)

    def latency_s(self, spec: AnySpec) -> float:
        """Seconds of one image through a network, measured in about a tenth of a second."""
        device = self.images.mean.device
        return latency_s(spec, device, inference_precision(self.precision, device))

    def train(self, candidate: Candidate, seeds: Sequence[int], kept: Kept | None = None) -> CandidateTraining:
        """Train the candidate's network with all seeds at once, from its checkpoint where there is one that fits.

        A step raises `StoppedError` when `should_stop` says so.
        """
        trainers, past = self._trainers(candidate, seeds), list[EpochResult]()
        if kept and kept.file.exists():
            try:
                past = _resumed(kept, trainers, candidate)
            except ModelError as error:
                kept.on_message(f"it starts from its beginning, as its checkpoint cannot be used: {error}")
                kept.file.unlink()
                trainers = self._trainers(candidate, seeds)
        for trainer in trainers:
            trainer.record(self.graphed)
        return CandidateTraining(self._epochs(trainers, candidate, past, kept), past)

    def _trainers(self, candidate: Candidate, seeds: Sequence[int]) -> list[Trainer]:
        networks = [build(candidate.spec, seed) for seed in seeds]
        pairs = zip(networks, seeds, strict=True)
        return [Trainer(network, self.images, candidate.recipe, seed, self.precision) for network, seed in pairs]

    def _epochs(
        self, trainers: list[Trainer], candidate: Candidate, past: Sequence[EpochResult], kept: Kept | None
    ) -> Iterator[EpochResult]:
        results, last = [*past], candidate.recipe.epochs
        for epoch in range(len(past) + 1, last + 1):
            results.append(mean_of([train_epoch(trainer, epoch, self.should_stop) for trainer in trainers]))
            yield results[-1]
            if kept and epoch < last and self.checkpoints.due:
                self._save(kept, trainers, results)

    def _save(self, kept: Kept, trainers: list[Trainer], results: Sequence[EpochResult]) -> None:
        """Write a checkpoint. Where that fails the trial goes on without one: it is an aid and no result."""
        try:
            values = {"about": kept.about, "epochs": [asdict(result) for result in results]}
            self.checkpoints.save(kept.file, trainers, values)
            self.can_save = True
        except (ModelError, RuntimeError, MemoryError) as error:
            if not isinstance(error, ModelError) and not is_out_of_memory(error):
                raise
            if self.can_save:
                why = (str(error).splitlines() or ["not enough memory"])[0]
                kept.on_message(f"it would start from its beginning if it were interrupted: {why}")
            self.can_save = False

    def release(self) -> None:
        """Give the device's memory back."""
        free_memory(self.images.mean.device)


def _resumed(kept: Kept, trainers: Sequence[Trainer], candidate: Candidate) -> list[EpochResult]:
    """Load the checkpoint into the trainers; the epochs that it comes after.

    Raises:
        ModelError: It is damaged, or of another training. The trainers are not to be used then.
    """
    values = load_checkpoint(kept.file, trainers)
    about, wanted = values.get("about"), json.loads(json.dumps(kept.about))
    if about != wanted:
        known = about if isinstance(about, dict) else {}
        names = [name for name in wanted if known.get(name) != wanted[name]]
        raise ModelError(f"{kept.file}: is of a training with another {' and '.join(names)}")
    try:
        past = [EpochResult.from_json(epoch) for epoch in values["epochs"]]
    except (KeyError, TypeError, ValueError):
        past = []
    is_in_order = [result.epoch for result in past] == [*range(1, len(past) + 1)]
    if not is_in_order or not 0 < len(past) < candidate.recipe.epochs:
        raise ModelError(f"{kept.file}: holds no epochs of this training")
    return past


def mean_of(results: Sequence[EpochResult]) -> EpochResult:
    """The mean of the same epoch of several trainings, with the sum of their seconds and what befell any of them."""
    means: dict[str, Any] = {
        name: fmean(getattr(r, name) for r in results) for name in ("train_loss", "accuracy", "validation_loss")
    }
    how: dict[str, Any] = {
        "micro_batches": max(r.micro_batches for r in results),
        "not_recorded": next((r.not_recorded for r in results if r.not_recorded), ""),
    }
    return replace(results[0], **means, seconds=sum(r.seconds for r in results), **how)
