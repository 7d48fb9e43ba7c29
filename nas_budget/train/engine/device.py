"""Devices and number formats; settings of torch that hold within a `with` block."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic

from nas_budget.errors import UsageError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OUT_OF_MEMORY = (
    "can't allocate memory", "out of memory", "ALLOC_FAILED", "std::bad_alloc", "could not create a primitive",
)  # fmt: skip
"""How torch, CUDA, cuBLAS and oneDNN say that memory did not suffice."""
CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
BF16_SINCE = (8, 0)
"""CUDA's compute capability from which bf16 is computed and not emulated."""


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name such as "cpu", "cuda" or "cuda:1"; "auto" is a CUDA GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("not a device that networks are trained on here")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        here = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UsageError(f"device: {name!r} is not available; allowed are {here}") from None
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """The number format to train in; "auto" is bf16 on a GPU that has it, else fp32."""
    if name == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.get_device_capability(device) >= BF16_SINCE else "fp32"
    if name not in PRECISIONS:
        raise UsageError(f"precision: {name!r} is unknown; allowed are auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise UsageError("precision: fp16 on a CPU is over a hundred times slower; allowed there are auto, fp32, bf16")
    return name


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a forward pass computes in `precision`."""
    if precision == "fp32":
        return nullcontext()
    # Each weight is used once a pass: nothing to cache, and a CUDA graph must not have a cache.
    return torch.autocast(device.type, PRECISIONS[precision], cache_enabled=False)


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Within it torch's global generators of the CPU and of this device start from the seed; it restores them after."""
    gpus = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        for generator in (torch.default_generator, *(torch.cuda.default_generators[gpu] for gpu in gpus)):
            generator.manual_seed(seed)
        yield


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Within it the same numbers come out of the same numbers on the same device, if so wanted; slower on a GPU."""
    cudnn = torch.backends.cudnn
    memory: Any = torch.utils.deterministic
    with ExitStack() as restore:
        if wanted:
            restore.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
            restore.callback(setattr, cudnn, "benchmark", cudnn.benchmark)
            restore.callback(setattr, memory, "fill_uninitialized_memory", memory.fill_uninitialized_memory)
            if CUBLAS_VARIABLE not in os.environ:
                restore.callback(os.environ.pop, CUBLAS_VARIABLE)
                os.environ[CUBLAS_VARIABLE] = ":4096:8"  # cuBLAS reads it when the GPU is first used
            torch.use_deterministic_algorithms(True)
            cudnn.benchmark = memory.fill_uninitialized_memory = False  # nothing here reads what it has not written
        yield


def free_memory(device: torch.device) -> None:
    """Give back the memory of a GPU that nothing holds any longer."""
    if device.type == "cuda":
        gc.collect()  # optimizers and schedules hold each other, and with them the weights
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or on a CPU."""
    lacking = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return lacking or (isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY))


def describe_device(device: torch.device) -> str:
    """The device in words: a GPU's name, or a CPU's name and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        n_threads = torch.get_num_threads()
        return f"{_cpu_name()} ({n_threads} thread{'' if n_threads == 1 else 's'})"
    return str(device)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or f"{os.cpu_count()}-core {platform.machine()}"
