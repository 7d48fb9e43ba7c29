"""Checkpoints: a training between two epochs as a file, with weights, optimizer state, EMA and position."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_budget.errors import ModelError
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.engine.weights import fit_tensors, load_tensors, save_tensors

FORMAT = "nas-budget checkpoint 3"
OPTIMIZER = "optimizer."


def save_checkpoint(path: Path, trainer: Trainer, values: Mapping[str, Any]) -> None:
    """Write a training between two epochs to `path`, all of it or nothing, with `values` of the caller's own."""
    place = {"done": trainer.done, "micro_batches": trainer.micro_batches, "scaler": trainer.scaler.state_dict()}
    save_tensors(path, _tensors(trainer), FORMAT, {**values, "place": place})


def load_checkpoint(path: Path, trainer: Trainer) -> dict[str, Any]:
    """Resume: load a checkpoint into a new trainer; the caller's values of `save_checkpoint`.

    After a `ModelError`, of a file that is damaged or of another network or recipe, the trainer is not to be used.
    """
    tensors, values = load_tensors(path, FORMAT)
    for start, network in _networks(trainer).items():
        fit_tensors(network, _part(tensors, start), path)
    for number, optimizer in enumerate(trainer.optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for name, tensor in _part(tensors, f"{OPTIMIZER}{number}.").items():
            place, _, key = name.partition(".")
            if int(place) >= len(parameters):
                raise ModelError(f"{path}: is of a training with another optimizer")
            optimizer.state[parameters[int(place)]][key] = _like(parameters[int(place)], tensor)
    place = values.pop("place")
    trainer.done, trainer.micro_batches = place["done"], place["micro_batches"]
    if place["scaler"]:
        trainer.scaler.load_state_dict(place["scaler"])
    return values


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
