"""What a training step takes: how fast it is, and where its time goes. Each generator here runs in its own process."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from harness import Figure, UnmeasuredError, seconds_of, summary
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, schedule
from training import NETWORKS

from nas_budget import build
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.trainer import N_WARM_UP, Trainer
from nas_budget.train.optim.recipe import RECIPES

N_VALIDATION = 5_000
N_STRETCHES, N_PROFILED = 5, 10
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchCooperativeKernel", "cuLaunchKernel")
GRAPH_LAUNCHES = ("cudaGraphLaunch", "cuGraphLaunch")
GROUPS = {
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw"),
    "convolution": ("conv", "fprop", "dgrad", "wgrad", "cudnn", "nchwtonhwc", "nhwctonchw"),
    "matrix product": ("gemm", "gemv", "nvjet", "cutlass", "cublas", "splitk"),
    "lists of tensors": ("multi_tensor_apply",),  # fused optimizers, gradients clipped, Muon's momentum
    "pooling": ("pool",),
    "dropout": ("dropout",),
    "loss": ("softmax", "nll_loss"),
    "gather": ("index", "gather", "scatter"),
    "copy": ("copy", "memcpy", "memset", "fill", "catarray"),
    "reduction": ("reduce",),
    "elementwise": ("elementwise",),
}
"""Parts of kernels' names; the first group that has one counts, since the names of the later ones are more general."""


def images_of(arguments: Namespace) -> SplitImages:
    """The images, on the device."""
    return split_images(
        open_dataset(arguments.data), torch.device(arguments.device), arguments.images, N_VALIDATION
    )  # fmt: skip


def trainer_of(arguments: Namespace, images: SplitImages, name: str, batch: int, mode: str) -> Trainer:
    """A network about to train, eager, as a CUDA graph or to be compiled at its first step."""
    recipe = replace(RECIPES["fast"], batch_size=batch, epochs=1_000)
    trainer = Trainer(build(NETWORKS[name]), images, recipe, precision=arguments.precision)
    trainer.network.train()
    if mode == "graph":
        trainer.record()
    if mode == "compile":
        trainer.compile()
    return trainer


def steps_s(trainer: Trainer, chosen: Tensor, n_images: int) -> list[float]:
    """Seconds of a step, in each of some stretches of steps after one that does not count."""
    n_steps = max(1, n_images // trainer.batch_size)
    return [seconds_of(lambda: trainer.step(chosen), n_steps) for _ in range(N_STRETCHES + 1)][1:]


def speed(arguments: Namespace, name: str, batch: int, mode: str) -> Iterator[Figure]:
    """Images a second of forward, backward and optimizer, and the seconds until the first step was done."""
    images = images_of(arguments)
    made: list[Trainer] = []

    def first_step() -> None:
        made.append(trainer_of(arguments, images, name, batch, mode))
        chosen = next(made[-1].begin(1))
        for _ in range(N_WARM_UP + 1 if mode == "graph" else 1):  # a step is recorded after some others
            made[-1].step(chosen)
        if made[-1].not_recorded:
            raise UnmeasuredError(f"a step cannot be recorded: {made[-1].not_recorded}")

    ready_s = seconds_of(first_step)
    trainer = made[-1]
    seconds = steps_s(trainer, next(trainer.begin(1)), arguments.stretch)
    yield summary([trainer.batch_size / s for s in seconds]) | {"ready_s": ready_s}


def where_time_goes(arguments: Namespace, name: str, batch: int, mode: str) -> Iterator[Figure]:
    """Kernels, launches, busy time and groups of kernels of a step.

    Raises:
        UnmeasuredError: The profiler saw no kernels, or there is no GPU.
    """
    if torch.device(arguments.device).type == "cpu":
        raise UnmeasuredError("only a GPU has kernels to profile", "absent")
    trainer = trainer_of(arguments, images_of(arguments), name, batch, mode)
    chosen = next(trainer.begin(1))
    wall_s = summary(steps_s(trainer, chosen, arguments.stretch))
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities, schedule=schedule(wait=0, warmup=1, active=1, repeat=1)) as profiler:
        for _ in range(2):  # the first only warms the profiler up
            for _ in range(N_PROFILED):
                trainer.step(chosen)
            torch.cuda.synchronize(trainer.device)
            profiler.step()
    yield digest(profiler.events(), wall_s)


def digest(events: Sequence[Any], wall_s: Figure) -> Figure:
    """What a profiler's events of some steps say of one, of so many seconds without the profiler."""
    ran = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
    if not ran:
        raise UnmeasuredError("the profiler saw no kernels")
    called = [event.name for event in events if event.device_type == DeviceType.CPU]
    busy_s = busy_us((event.time_range.start, event.time_range.end) for event in ran) / 1e6 / N_PROFILED
    groups: Counter[str] = Counter()
    for event in ran:
        groups[group_of(event.name.lower())] += event.time_range.elapsed_us()
    return {
        "n_steps": N_PROFILED,
        "wall_s": wall_s,
        "busy_s": busy_s,
        "host_share": 1 - busy_s / wall_s["median"],
        "kernels": sum(not event.name.startswith(("Memcpy", "Memset")) for event in ran) / N_PROFILED,
        "launches": sum(name.startswith(LAUNCHES) for name in called) / N_PROFILED,
        "graph_launches": sum(name.startswith(GRAPH_LAUNCHES) for name in called) / N_PROFILED,
        "groups": {name: us / groups.total() for name, us in groups.most_common()},
    }


def busy_us(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of some spans of time lasts."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def group_of(kernel: str) -> str:
    """The group of a kernel."""
    return next((group for group, parts in GROUPS.items() if any(part in kernel for part in parts)), "other")
