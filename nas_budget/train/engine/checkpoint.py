"""Checkpoints: trainings between two epochs as a file, with weights, optimizer state, EMA and position."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_budget.errors import ModelError
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.engine.weights import fit_tensors, load_tensors, save_tensors

FORMAT = "nas-budget checkpoint 3"
OPTIMIZER = "optimizer."
MOST_STEPS = 10**9
"""More than any training has."""
SHARE = 20
"""A checkpoint is written after each epoch, unless that would take more than one part in so many of the time."""


class RegularCheckpoints:
    """Writes checkpoints after epochs, so seldom that it takes at most one part in `SHARE` of the time."""

    def __init__(self) -> None:
        self.next_write = 0.0

    @property
    def due(self) -> bool:
        """Whether one is to be written now."""
        return time.monotonic() >= self.next_write

    def save(self, path: Path, trainers: Sequence[Trainer], values: Mapping[str, Any]) -> None:
        """Write one, as `save_checkpoint` does, and note how long that takes."""
        start = time.monotonic()
        try:
            save_checkpoint(path, trainers, values)
        finally:
            now = time.monotonic()
            self.next_write = now + SHARE * (now - start)


def save_checkpoint(path: Path, trainers: Sequence[Trainer], values: Mapping[str, Any]) -> None:
    """Write trainings between the same two epochs, all of it or nothing, with `values` of the caller's own.

    Raises:
        ModelError: It cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    places = {}
    for start, trainer in _named(trainers):
        tensors |= {start + name: tensor for name, tensor in _tensors(trainer).items()}
        scaler = trainer.scaler.state_dict()
        places[f"{start}place"] = {"done": trainer.done, "micro_batches": trainer.micro_batches, "scaler": scaler}
    save_tensors(path, tensors, FORMAT, {**values, **places})


def load_checkpoint(path: Path, trainers: Sequence[Trainer]) -> dict[str, Any]:
    """Resume: load a checkpoint into new trainers; the caller's values of `save_checkpoint`.

    Raises:
        ModelError: It is damaged, or of other networks or recipes. The trainers are not to be used then.
    """
    tensors, values = load_tensors(path, FORMAT)
    try:
        for start, trainer in _named(trainers):
            _load(path, trainer, _part(tensors, start), values.pop(f"{start}place"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: holds no such training ({type(error).__name__}: {error})") from None
    return values


def _load(path: Path, trainer: Trainer, tensors: Mapping[str, Tensor], place: Mapping[str, Any]) -> None:
    for start, network in _networks(trainer).items():
        fit_tensors(network, _part(tensors, start), path)
    for number, optimizer in enumerate(trainer.optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for name, tensor in _part(tensors, f"{OPTIMIZER}{number}.").items():
            index, _, key = name.partition(".")
            if int(index) >= len(parameters):
                raise ModelError(f"{path}: is of a training with another optimizer")
            optimizer.state[parameters[int(index)]][key] = _like(parameters[int(index)], tensor)
    trainer.done, trainer.micro_batches = place["done"], place["micro_batches"]
    for number in trainer.done, trainer.micro_batches - 1:
        if not isinstance(number, int) or not 0 <= number < MOST_STEPS:
            raise ValueError(f"{number} steps or micro-batches")
    if place["scaler"]:
        trainer.scaler.load_state_dict(place["scaler"])


def _named(trainers: Sequence[Trainer]) -> list[tuple[str, Trainer]]:
    """The trainers with what their names in a file begin with; the first, often the only one, has none."""
    return [(f"{i}." if i else "", trainer) for i, trainer in enumerate(trainers)]


def _networks(trainer: Trainer) -> dict[str, nn.Module]:
    return {"network.": trainer.network, **({"ema.": trainer.ema.network} if trainer.ema else {})}


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    networks = _networks(trainer).items()
    found = {start + name: tensor for start, network in networks for name, tensor in network.state_dict().items()}
    for number, optimizer in enumerate(trainer.optimizers):
        for place, state in optimizer.state_dict()["state"].items():
            found |= {f"{OPTIMIZER}{number}.{place}.{key}": t for key, t in state.items() if isinstance(t, Tensor)}
    return found


def _part(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor on the parameter's device, in its memory format, so that sums are taken in the same order."""
    if tensor.shape != parameter.shape:
        return tensor.to(parameter.device)
    return torch.empty_like(parameter).copy_(tensor)
