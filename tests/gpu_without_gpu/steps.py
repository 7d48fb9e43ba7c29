"""Training steps on a GPU that is not there; prints what they did as JSON.

    python -m tests.gpu_without_gpu.steps LIBRARY RECIPE

The recipe trains the network of 100 k parameters in every precision and in micro-batches, and the reference. It is a
process of its own, which ends without torch's clean-up.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.gpu_without_gpu.fake_cuda import FakeGraph, install

if __name__ == "__main__":
    install(Path(sys.argv[1]))

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nas_budget import Recipe, ResNetSpec, build
from nas_budget.train.data.split import LabelledImages, SplitImages, channel_statistics
from nas_budget.train.engine.loop import train_epoch
from nas_budget.train.engine.trainer import N_WARM_UP, Trainer
from nas_budget.train.optim.recipe import RECIPES
from tests.gpu_without_gpu.watch import Watch

REFERENCE = ResNetSpec((32, 64, 96, 128, 185), dropout=0.2)
SMALL = ResNetSpec((16, 32, 64), (1, 2, 1), pool="global", shortcut_kernel=1)
"""A network of 100 k parameters."""
CASES = {"fp32": ("fp32", 1), "bf16": ("bf16", 1), "fp16": ("fp16", 1), "micro-batches": ("fp16", 2)}
"""Precision and number of micro-batches."""


def images(device: str, n: int) -> SplitImages:
    """Images without values."""
    shape = (n, 32, 32, 3)
    part = LabelledImages(
        torch.zeros(shape, dtype=torch.uint8, device=device), torch.zeros(n, dtype=torch.long, device=device)
    )
    return SplitImages(part, part, torch.zeros(3, device=device), torch.ones(3, device=device), 10)


def trainer_of(spec: ResNetSpec, recipe: Recipe, precision: str, device: str = "cuda") -> Trainer:
    """A trainer with three batches of images an epoch."""
    recipe = replace(recipe, epochs=4)
    return Trainer(build(spec), images(device, 3 * recipe.batch_size), recipe, 0, precision)


def epoch(trainer: Trainer) -> dict[str, Any]:
    """What an epoch of three steps and its evaluation does: faults, launches of a step, how two steps differ."""
    trainer.network.train()
    marks: list[tuple[int, int]] = []
    step = trainer.step

    def marked(indices: torch.Tensor) -> torch.Tensor:
        marks.append((len(watch.operators), len(watch.faults)))
        loss = step(indices)
        marks.append((len(watch.operators), len(watch.faults)))
        return loss

    trainer.step = marked  # type: ignore[method-assign]
    with Watch() as watch:
        train_epoch(trainer, 1)
    in_steps = watch.faults[marks[0][1] : marks[-1][1]]
    second, third = (watch.operators[marks[i][0] : marks[i + 1][0]] for i in (2, 4))
    return {
        "faults": sorted({*in_steps}),
        "faults_between": sorted({*watch.faults[: marks[0][1]], *watch.faults[marks[-1][1] :]}),
        "launches": len(third),
        "evaluation": sum(n for name, n in watch.counts(marks[-1][0]).items() if name.startswith("conv")),
        "counts": Counter(name for name, _, _ in third),
        "same_operators": [each[:2] for each in second] == [each[:2] for each in third],
        "other_numbers": sorted({a[0] for a, b in zip(second, third, strict=False) if a[2] != b[2]}),
        "devices": sorted(watch.devices),
    }


def automatic(recipe: Recipe) -> dict[str, Any]:
    """What waits in the first steps of a training that records where that is faster, and in those after them."""
    trainer = trainer_of(SMALL, recipe, "bf16")
    trainer.record("auto")
    trainer.network.train()
    (chosen, *_) = trainer.begin(1)
    with Watch() as first:
        for _ in range(N_WARM_UP + 1):
            trainer.step(chosen)
    with Watch() as later:
        for _ in range(2):
            trainer.step(chosen)
    return {"first": sorted({*first.faults}), "later": sorted({*later.faults})}


def recorded(recipe: Recipe) -> dict[str, Any]:
    """Where two trainings record their steps on the second device, and what a replay launches."""
    found: dict[str, Any] = {}
    for _ in range(2):
        trainer = trainer_of(SMALL, recipe, "bf16", "cuda:1")
        trainer.record()
        trainer.network.train()
        (chosen, *_) = trainer.begin(1)
        with Watch() as watch:
            for _ in range(N_WARM_UP + 1):
                trainer.step(chosen)
        with Watch() as replay:
            trainer.step(chosen)
        found = {
            "not_recorded": trainer.not_recorded,
            "devices": sorted(watch.devices),
            "launches": len(replay.operators),
            "counts": replay.counts(),
            "faults": sorted({*watch.faults, *replay.faults}),
            "graphs": [[*graph.where, *graph.generators, graph.n_replays] for graph in FakeGraph.made],
        }
    return found


def statistics() -> list[str]:
    """What is wrong in the statistics of images, but for the transfers of a few numbers."""
    torch.bincount = lambda given, minlength: torch.zeros(minlength, dtype=torch.long, device=given.device)
    with Watch() as watch:
        channel_statistics(images("cuda", 4).train.images)
    return [fault for fault in watch.faults if not fault.startswith("copies")]


def main(recipe: Recipe) -> None:
    """Print what the recipe does in each case, what it does with the reference in bf16, and what it records."""
    found: dict[str, Any] = {}
    with FakeTensorMode():
        for case, (precision, n) in CASES.items():
            trainer = trainer_of(SMALL, recipe, precision)
            trainer.micro_batches = n
            found[case] = epoch(trainer)
        found["reference"] = epoch(trainer_of(REFERENCE, recipe, "bf16"))
        found["recorded"] = recorded(recipe)
        found["automatic"] = automatic(recipe)
        found["statistics"] = statistics()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(RECIPES[sys.argv[2]])
    sys.stdout.flush()
    os._exit(0)
