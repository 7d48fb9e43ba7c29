"""Makes `trainings.csv`: real trainings on CIFAR-10, on which `search.py` compares searches without training.

    python benchmarks/trainings.py [workers]

Every network of a small space that fits a budget is trained once (part "full"). Some of them are trained again with
another seed and EMA weights (part "again"), and in short runs whose learning rate falls to zero early (part "short").
Rows are appended as they come. The same command resumes.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from training_table import curve, fill, joined

from nas_budget import Budget, ResNetSpec, build, cost, count_fitting, sample
from nas_budget.space.space import SearchSpace
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.device import describe_device
from nas_budget.train.engine.evaluate import evaluate
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import Recipe

TABLE = Path(__file__).with_name("trainings.csv")
SPACE = SearchSpace(
    stages=(3, 3), blocks=(1, 2), kernels=(3,), pool=("global",), shortcut_kernel=(1,), first_stride=(2,),
    width=(8, 48), width_step=8, growth=(1 / 6, 6.0), fill=(0.02, 1.0),
)  # fmt: skip
BUDGET = Budget(params=45_000, macs=4_000_000)
RECIPE = Recipe(learning_rate=0.1, batch_size=64, epochs=8)  # what `brief` was when the table was made
N_IMAGES = 3_000
"""Images that train, and as many for validation."""
N_AGAIN = 60
SHORT = (1, 2, 4)
EMA_STEPS = 20
COLUMNS = (
    "part", "channels", "blocks", "params", "macs", "seed", "epochs", "accuracy", "validation_loss", "train_loss",
    "ema_accuracy", "seconds", "device", "versions",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One training."""

    part: str
    spec: ResNetSpec
    seed: int
    epochs: int

    @property
    def key(self) -> tuple[str, ...]:
        """The cells that tell its row from the others."""
        return self.part, joined(self.spec.channels), joined(self.spec.blocks), str(self.epochs)


def every_spec() -> list[ResNetSpec]:
    """Every network of the space that fits, by parameters."""
    found: dict[ResNetSpec, None] = {}
    seed = 0
    while len(found) < count_fitting(SPACE, BUDGET):
        found.update(dict.fromkeys(sample(SPACE, 1_000, BUDGET, seed)))
        seed += 1
    return sorted(found, key=lambda spec: (cost(spec).params, spec.channels, spec.blocks))


def jobs() -> Iterator[Job]:
    """Every training of the table, in an order that leaves a fair sample where it is cut short."""
    specs = every_spec()
    random.Random(0).shuffle(specs)
    for spec in specs:
        yield Job("full", spec, 0, RECIPE.epochs)
    for spec in specs[: 4 * N_AGAIN : 4]:
        yield Job("again", spec, 1, RECIPE.epochs)
        yield from (Job("short", spec, 0, epochs) for epochs in SHORT)


@cache
def images_of_process() -> SplitImages:
    """The images, opened once in each process, which then trains on one thread."""
    torch.set_num_threads(1)
    return split_images(open_dataset("cifar10"), torch.device("cpu"), N_IMAGES, N_IMAGES)


def trained(job: Job) -> dict[str, Any]:
    """The row of a training."""
    images, network = images_of_process(), build(job.spec, job.seed)
    ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / EMA_STEPS), use_buffers=True)
    with_ema = job.part == "again"
    hook = register_optimizer_step_post_hook(lambda *_: with_ema and ema.update_parameters(network))
    results, of_ema, start = [], [], time.perf_counter()
    for result in train(network, images, replace(RECIPE, epochs=job.epochs), job.seed):
        results.append(result)
        if with_ema:
            of_ema.append(evaluate(ema, images.validation, images)[0])
    hook.remove()
    part, channels, blocks, epochs = job.key
    curves = {
        name: curve([getattr(r, name) for r in results]) for name in ("accuracy", "validation_loss", "train_loss")
    }
    return curves | {
        "part": part, "channels": channels, "blocks": blocks, "epochs": epochs, "seed": job.seed,
        "params": cost(job.spec).params, "macs": cost(job.spec).macs, "ema_accuracy": curve(of_ema),
        "seconds": f"{time.perf_counter() - start:.2f}", "device": describe_device(images.mean.device),
        "versions": f"torch {torch.__version__}",
    }  # fmt: skip


def main() -> None:
    """Train what the table lacks."""
    n_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    fill(TABLE, COLUMNS, ("part", "channels", "blocks", "epochs"), jobs(), trained, n_workers)


if __name__ == "__main__":
    main()
