"""What a training step takes: how fast it is, and where its time goes. Each generator here runs in its own process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import RECIPES

N_VALIDATION = 5_000
N_STRETCHES, N_PROFILED, N_RECORDED, N_TOP = 5, 10, 3, 8
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchCooperativeKernel", "cuLaunchKernel")
GRAPH_LAUNCHES = ("cudaGraphLaunch", "cuGraphLaunch")
GROUPS = {
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw"),
    "convolution": ("conv", "fprop", "dgrad", "wgrad", "cudnn", "nchwtonhwc", "nhwctonchw"),
    "matrix product": ("gemm", "gemv", "nvjet", "cutlass", "cublas", "splitk"),
    "lists of tensors": ("multi_tensor_apply",),  # fused optimisers, gradients clipped, Muon's momentum
    "pooling": ("pool",),
    "dropout": ("dropout",),
    "loss": ("softmax", "nll_loss"),
    "gather": ("index", "gather", "scatter"),
    "copy": ("copy", "memcpy", "memset", "fill", "catarray"),
    "reduction": ("reduce",),
    "elementwise": ("elementwise",),
}
"""Parts of kernels' names; the first group that has one counts, since the names of the later ones are more general."""


@dataclass(frozen=True)
class Setting:
    """What all figures have in common.

    Attributes:
        device: Where networks train.
        data: Name of the data set.
        n_train: Images that train.
        precision: Number format.
        stretch_images: Images of a stretch of steps that is timed.
    """

    device: str
    data: str
    n_train: int
    precision: str
    stretch_images: int


def images_of(setting: Setting) -> SplitImages:
    """The images, on the device."""
    return split_images(open_dataset(setting.data), torch.device(setting.device), setting.n_train, N_VALIDATION)


def trainer_of(setting: Setting, images: SplitImages, name: str, batch: int, mode: str) -> Trainer:
    """A network about to train, eager, as a CUDA graph or to be compiled at its first step."""
    recipe = replace(RECIPES["fast"], batch_size=batch, epochs=1_000)
    trainer = Trainer(build(NETWORKS[name]), images, recipe, precision=setting.precision)
    trainer.network.train()
    if mode == "graph":
        trainer.record()
    if mode == "compile":
        trainer.compile()
    return trainer


def steps_s(trainer: Trainer, chosen: Tensor, n_steps: int) -> list[float]:
    """Seconds of a step, in each of some stretches of steps after one that does not count."""
    return [seconds_of(lambda: trainer.step(chosen), n_steps) for _ in range(N_STRETCHES + 1)][1:]


def speed(setting: Setting, name: str, batch: int, mode: str) -> Iterator[Figure]:
    """Images a second of forward, backward and optimizer, and the seconds until the first step was done."""
    images = images_of(setting)
    made: list[Trainer] = []

    def first_step() -> None:
        made.append(trainer_of(setting, images, name, batch, mode))
        made[-1].step(next(made[-1].begin(1)))

    ready_s = seconds_of(first_step)
    trainer = made[-1]
    seconds = steps_s(trainer, next(trainer.begin(1)), max(1, setting.stretch_images // trainer.batch_size))
    yield summary([trainer.batch_size / s for s in seconds]) | {"ready_s": ready_s}


def recording_s(setting: Setting, name: str) -> Iterator[Figure]:
    """Seconds in which a network's CUDA graph is recorded, after a step of another that has loaded the kernels."""
    images, batch = images_of(setting), RECIPES["fast"].batch_size
    first = trainer_of(setting, images, name, batch, "eager")
    first.step(next(first.begin(1)))
    trainers = [trainer_of(setting, images, name, batch, "eager") for _ in range(N_RECORDED)]
    yield summary([seconds_of(trainer.record) for trainer in trainers])


def where_time_goes(setting: Setting, name: str, batch: int, mode: str) -> Iterator[Figure]:
    """Kernels, launches, busy time and groups of kernels of a step."""
    trainer = trainer_of(setting, images_of(setting), name, batch, mode)
    chosen = next(trainer.begin(1))
    wall_s = summary(steps_s(trainer, chosen, max(1, setting.stretch_images // trainer.batch_size)))
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (trainer.device.type == "cuda")
    with profile(activities=activities, schedule=schedule(wait=0, warmup=1, active=1, repeat=1)) as profiler:
        for _ in range(2):  # the first only warms the profiler up
            for _ in range(N_PROFILED):
                trainer.step(chosen)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            profiler.step()
    yield digest(profiler.events(), trainer.device.type, N_PROFILED, wall_s)


def digest(events: Sequence[Any], device: str, n_steps: int, wall_s: Figure) -> Figure:
    """What a profiler's events say of a step; on a CPU operators are taken for kernels.

    Args:
        events: Of `n_steps` steps.
        device: "cuda" or "cpu".
        n_steps: How many steps.
        wall_s: Seconds of a step without the profiler.

    Raises:
        UnmeasuredError: The profiler saw no kernels.
    """
    kind = DeviceType.CUDA if device == "cuda" else DeviceType.CPU
    ran = [event for event in events if event.device_type == kind and not event.is_user_annotation]
    if not ran:
        raise UnmeasuredError("the profiler saw no kernels")
    calls: Counter[str] = Counter(event.name for event in ran)
    own_us: Counter[str] = Counter()
    for event in ran:
        own_us[event.name] += event.time_range.elapsed_us() if device == "cuda" else event.self_cpu_time_total
    called = [event.name for event in events if event.device_type == DeviceType.CPU]
    busy_s = busy_us((event.time_range.start, event.time_range.end) for event in ran) / 1e6 / n_steps
    return {
        "n_steps": n_steps,
        "wall_s": wall_s,
        "busy_s": busy_s,
        "host_share": 1 - busy_s / wall_s["median"],
        "kernels": sum(n for name, n in calls.items() if not name.startswith(("Memcpy", "Memset"))) / n_steps,
        "launches": sum(name.startswith(LAUNCHES) for name in called) / n_steps,
        "graph_launches": sum(name.startswith(GRAPH_LAUNCHES) for name in called) / n_steps,
        "groups": _shares(own_us if device == "cpu" else _grouped(own_us)),
        "top": [
            {"name": name[:120], "calls": calls[name] / n_steps, "share": share}
            for name, share in _shares(own_us).items()
        ],
    }


def busy_us(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of some spans of time lasts."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _grouped(own_us: Counter[str]) -> Counter[str]:
    groups: Counter[str] = Counter()
    for name, us in own_us.items():
        low = name.lower()
        groups[next((g for g, parts in GROUPS.items() if any(p in low for p in parts)), "other")] += us
    return groups


def _shares(own_us: Counter[str]) -> dict[str, float]:
    """The longest and their shares of the whole."""
    whole = sum(own_us.values())
    return {name: us / whole for name, us in own_us.most_common(N_TOP)}
