"""A table of real trainings on CIFAR-10, to compare searches on without training: `trainings.csv` beside this file.

    python benchmarks/trainings.py [workers]

Every network of a small space that fits a budget is trained once (part "full"); some of them are trained again
with another seed, with EMA weights measured beside (part "again"), and in short runs whose learning rate
falls to zero early (part "short"). Rows are appended as they come; run it again to resume.
"""

from __future__ import annotations

import csv
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
N_TRAIN, N_VALIDATION = 3_000, 3_000
N_AGAIN = 60
SHORT = (1, 2, 4)
AVERAGED_STEPS = 20
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
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from the others in the table."""
        return self.part, joined(self.spec.channels), joined(self.spec.blocks), str(self.epochs)


def joined(values: tuple[int, ...]) -> str:
    """Numbers as one text."""
    return "-".join(map(str, values))


def every_spec() -> list[ResNetSpec]:
    """Every network of the space that fits, by parameters."""
    found: dict[ResNetSpec, None] = {}
    n = count_fitting(SPACE, BUDGET)
    seed = 0
    while len(found) < n:
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


def trained(job: Job, images: SplitImages) -> dict[str, Any]:
    """The row of a training."""
    network = build(job.spec, job.seed)
    ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / AVERAGED_STEPS), use_buffers=True)
    hook = None
    if job.part == "again":
        hook = register_optimizer_step_post_hook(lambda *_: ema.update_parameters(network))
    results, of_averaged, start = [], [], time.perf_counter()
    for result in train(network, images, replace(RECIPE, epochs=job.epochs), job.seed):
        results.append(result)
        if hook:
            of_averaged.append(evaluate(ema, images.validation, images)[0])
    if hook:
        hook.remove()
    used = cost(job.spec)
    return {
        "part": job.part, "channels": joined(job.spec.channels), "blocks": joined(job.spec.blocks),
        "params": used.params, "macs": used.macs, "seed": job.seed, "epochs": job.epochs,
        "accuracy": curve([r.accuracy for r in results]),
        "validation_loss": curve([r.validation_loss for r in results]),
        "train_loss": curve([r.train_loss for r in results]), "ema_accuracy": curve(of_averaged),
        "seconds": f"{time.perf_counter() - start:.2f}", "device": describe_device(images.mean.device),
        "versions": f"torch {torch.__version__}",
    }  # fmt: skip


def curve(values: list[float]) -> str:
    """One number an epoch as text."""
    return " ".join(f"{value:.5f}" for value in values)


def work(queue: Any, rows: Any) -> None:
    """Train jobs of the queue until there are no more."""
    torch.set_num_threads(1)
    images = split_images(open_dataset("cifar10"), torch.device("cpu"), N_TRAIN, N_VALIDATION)
    while (job := queue.get()) is not None:
        rows.put(trained(job, images))
    rows.put(None)


def main() -> None:
    """Train what the table lacks."""
    n_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    known = set()
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            known = {(row["part"], row["channels"], row["blocks"], row["epochs"]) for row in csv.DictReader(file)}
    left = [job for job in jobs() if job.key not in known]
    print(f"{len(known)} trainings in {TABLE.name}, {len(left)} left")
    context = multiprocessing.get_context("spawn")
    queue, rows = context.Queue(), context.Queue()
    for job in [*left, *[None] * n_workers]:
        queue.put(job)
    workers = [context.Process(target=work, args=(queue, rows), daemon=True) for _ in range(n_workers)]
    for worker in workers:
        worker.start()
    with TABLE.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not known:
            writer.writeheader()
        ended = 0
        while ended < n_workers:
            row = rows.get()
            ended += row is None
            if row:
                writer.writerow(row)
                file.flush()


if __name__ == "__main__":
    main()
