"""What a training step takes: how fast it is, and where its time goes."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any

import torch
from results import Figure, UnmeasuredError, Worker, summary
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, schedule
from training import NETWORKS

from nas_budget import build
from nas_budget.train.data.dataset import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import RECIPES

N_HELD_OUT = 5_000
N_STRETCHES, N_PROFILED, N_RECORDED, N_TOP = 5, 10, 3, 8
LIMIT_S = 180.0
"""How long a process that is profiled may be silent."""
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


@lru_cache(maxsize=1)
def images_of(setting: Setting) -> SplitImages:
    """The images, on the device; read once in a process."""
    return split_images(open_dataset(setting.data), torch.device(setting.device), setting.n_train, N_HELD_OUT)


def trainer_of(setting: Setting, name: str, batch: int, mode: str) -> Trainer:
    """A network about to train, eager, as a CUDA graph or to be compiled at its first step."""
    release()
    recipe = replace(RECIPES["fast"], batch_size=batch, epochs=1_000)
    trainer = Trainer(build(NETWORKS[name]), images_of(setting), recipe, precision=setting.precision)
    trainer.network.train()
    if mode == "graph":
        trainer.record()
    if mode == "compile":
        torch.compiler.reset()
        trainer.compile()
    return trainer


def release() -> None:
    """Give back what the network before held."""
    gc.collect()  # optimisers and schedules hold each other, and with them the weights
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def wait(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def stretch_s(trainer: Trainer, chosen: Tensor, n_steps: int) -> float:
    """Seconds of so many steps."""
    wait(trainer.device)
    start = time.perf_counter()
    for _ in range(n_steps):
        trainer.step(chosen)
    wait(trainer.device)
    return time.perf_counter() - start


def stretches_s(trainer: Trainer, chosen: Tensor, n_steps: int) -> list[float]:
    """Seconds of each of some stretches, after one that does not count."""
    return [stretch_s(trainer, chosen, n_steps) for _ in range(N_STRETCHES + 1)][1:]


def speed(setting: Setting, name: str, batch: int, mode: str) -> Figure:
    """Images a second of forward, backward and optimiser, and the seconds until the first step was done."""
    images_of(setting)
    start = time.perf_counter()
    trainer = trainer_of(setting, name, batch, mode)
    chosen = next(trainer.begin(1))
    stretch_s(trainer, chosen, 1)
    ready_s = time.perf_counter() - start
    n_steps = max(1, setting.stretch_images // trainer.batch_size)
    n_images = n_steps * trainer.batch_size
    return summary([n_images / s for s in stretches_s(trainer, chosen, n_steps)]) | {"ready_s": ready_s}


def recording_s(setting: Setting, name: str) -> Figure:
    """Seconds in which a network's CUDA graph is recorded, after a step of another that has loaded the kernels."""
    batch = RECIPES["fast"].batch_size
    first = trainer_of(setting, name, batch, "eager")
    stretch_s(first, next(first.begin(1)), 1)
    del first
    seconds = []
    for _ in range(N_RECORDED):
        trainer = trainer_of(setting, name, batch, "eager")
        wait(trainer.device)
        start = time.perf_counter()
        trainer.record()
        wait(trainer.device)
        seconds.append(time.perf_counter() - start)
    return summary(seconds)


def where_time_goes(setting: Setting, name: str, batch: int, mode: str) -> Figure:
    """Kernels, launches, busy time and groups of kernels of a step.

    In a process of its own: what a profiler leaves behind slows down what is timed later, and a second one in a
    process may see no kernels.
    """
    with Worker(_profile, setting, name, batch, mode) as worker:
        found: Figure = worker.answer(LIMIT_S)
    return found


def _profile(pipe: Connection, setting: Setting, name: str, batch: int, mode: str) -> None:
    trainer = trainer_of(setting, name, batch, mode)
    chosen = next(trainer.begin(1))
    n_steps = max(1, setting.stretch_images // trainer.batch_size)
    wall_s = summary([s / n_steps for s in stretches_s(trainer, chosen, n_steps)])
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (trainer.device.type == "cuda")
    with profile(activities=activities, schedule=schedule(wait=0, warmup=1, active=1, repeat=1)) as profiler:
        for _ in range(2):  # the first only warms the profiler up
            stretch_s(trainer, chosen, N_PROFILED)
            profiler.step()
    pipe.send(digest(profiler.events(), trainer.device.type, N_PROFILED, wall_s))


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
