"""Devices and number formats; settings of torch that hold within a `with` block."""

from __future__ import annotations

import gc
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic
from torch import Tensor, nn

from nas_budget.errors import UsageError
from nas_budget.train.engine.process import give_freed_memory_back
from nas_budget.train.optim.muon import BF16_SINCE

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OUT_OF_MEMORY = (
    "can't allocate memory", "out of memory", "ALLOC_FAILED", "std::bad_alloc", "could not create a primitive",
    "unable to find an engine",
)  # fmt: skip
"""How torch, CUDA, cuBLAS, oneDNN and cuDNN say that memory did not suffice."""
SPOILED = (
    "illegal memory access", "illegal instruction", "device-side assert", "launch failure", "misaligned address",
    "uncorrectable", "unknown error", "GPU is lost", "hardware stack error", "invalid program counter",
)  # fmt: skip
"""How CUDA says that a process must end to use the GPU again."""
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""Those of a CPU, as torch names them. AMD has them since Zen 4, Intel since Cooper Lake and Sapphire Rapids."""
CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
DEVICE_TYPES = ("cpu", "cuda", "mps")
NO_KERNELS = ("no kernel image", "invalid device function")
"""How CUDA says that a program was not compiled for a GPU."""
OLD_GPUS = "torch up to 2.14 built for CUDA 12.6 has them from 5.0 (GTX 10xx, P100, V100) to 9.0"


def choose_device(name: str = "auto", on_message: Callable[[str], None] = lambda _: None) -> torch.device:
    """The device of a name such as "cpu", "cuda", "cuda:1" or "mps".

    "auto" is the first CUDA GPU that computes, else the CPU. `on_message` gets a note on each GPU that does not.

    Raises:
        UsageError: A device that is not there or does not compute; it says why.
    """
    if name == "auto":
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            device = torch.device("cuda", index)
            if not (fault := why_unusable(device)):
                return torch.device("cuda") if index == 0 else device
            on_message(f"NOTE: {device} is not used: {fault}")
        return torch.device("cpu")
    fault = ""
    with suppress(RuntimeError):  # no name of a device
        device = torch.device(name)
        if device.type in DEVICE_TYPES and not (fault := why_unusable(device)):
            return device
    here = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    why = f" ({fault})" if fault else ""
    raise UsageError(f"device: {name!r} is not available{why}; allowed are {', '.join(here)}")


def has_gpus() -> bool:
    """Whether there are CUDA GPUs, whether they compute or not; to ask leaves nothing of this process on one."""
    return torch.cuda.is_available()


def why_unusable(device: torch.device) -> str:
    """Why nothing is computed on a device, in words; empty where a kernel runs."""
    if device.type == "cuda" and not (torch.version.cuda or torch.version.hip):
        return f"torch {torch.__version__} is built for CPUs alone; install one built for CUDA"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "this torch finds no Apple GPU"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old GPUs, in several lines
            torch.ones(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        if any(words in str(error) for words in NO_KERNELS):
            card, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
            built = ", ".join(torch.cuda.get_arch_list())
            return (
                f"torch {torch.__version__} has no kernels for the {card}, of compute capability "
                f"{'.'.join(map(str, capability))}, but for {built}; {OLD_GPUS}"
            )
        first_line: str = (str(error).splitlines() or [type(error).__name__])[0]
        return first_line.partition(". ")[0].rstrip(".")
    return ""


def choose_precision(name: str, device: torch.device) -> str:
    """The number format to train in.

    "auto" is bf16 on a CUDA GPU or CPU that has instructions for it, fp16 on an older GPU where a step in fp16 gives
    finite numbers, and fp32 elsewhere.
    """
    if name == "auto":
        if device.type == "cpu" and cpu_has_bf16():
            return "bf16"
        if device.type != "cuda":
            return "fp32"
        if torch.cuda.get_device_capability(device) >= BF16_SINCE:
            return "bf16"
        return "fp16" if trains_in_fp16(device) else "fp32"
    if name not in PRECISIONS:
        raise UsageError(f"precision: {name!r} is unknown; allowed are auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise UsageError("precision: fp16 on a CPU is over a hundred times slower; allowed there are auto, fp32, bf16")
    if device.type == "mps" and name != "fp32":
        raise UsageError(f"precision: {name} has not been tried on mps; allowed there are auto, fp32")
    return name


def cpu_has_bf16() -> bool:
    """Whether convolutions in bf16 are faster than in fp32 on this CPU: whether it multiplies such numbers itself.

    Without these instructions bf16 is slower. Versions of torch that do not tell have fp32.
    """
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name, False) for name in BF16_INSTRUCTIONS)


def inference_precision(precision: str, device: torch.device) -> str:
    """The number format in which latency is measured of what trains in `precision`: on a CPU fp32, else the same.

    bf16 pays in the large batches of a training. For one image a CPU would mostly cast weights.
    """
    return "fp32" if device.type == "cpu" else precision


def trains_in_fp16(device: torch.device) -> bool:
    """Whether forward and backward pass of a small network in fp16 give finite numbers; on some GPUs they do not."""
    with seeded(device, 0):
        layers = (nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.Flatten())
        network: Any = nn.Sequential(*layers).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.randn(16, 3, 8, 8, device=device)
    try:
        with autocast(device, "fp16"):
            logits = network(images)
        (1024 * logits.float().mean()).backward()  # scaled, as gradients are in training
    except RuntimeError:
        return False
    return all(bool(tensor.isfinite().all()) for tensor in (logits, *(p.grad for p in network.parameters())))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a forward pass computes in `precision`."""
    if precision == "fp32":
        return nullcontext()
    # Each weight is used once a pass: nothing to cache, and a CUDA graph must not have a cache.
    return torch.autocast(device.type, PRECISIONS[precision], cache_enabled=False)


class CastTogether(torch.autograd.Function):
    """Tensors in another number format, and their gradients back in their own: one call each way for all of them.

    `apply(dtype, *tensors)` gives what `tensor.to(dtype)` gives of each, which on a GPU is a launch for each, and
    another in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors, of one type, in that of `dtype`."""
        ctx.dtype = tensors[0].dtype
        ctx.set_materialize_grads(False)
        return _cast(tensors, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients in the type of the tensors; None of what was not used."""
        cast = iter(_cast([gradient for gradient in gradients if gradient is not None], ctx.dtype))
        return None, *(None if gradient is None else next(cast) for gradient in gradients)


def _cast(tensors: tuple[Tensor, ...] | list[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    made = tuple(torch.empty_like(tensor, dtype=dtype) for tensor in tensors)
    torch._foreach_copy_(made, tensors)
    return made


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Within it torch's global generators of the CPU and of this device start from the seed; it restores them after."""
    gpus = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        for generator in (torch.default_generator, *(torch.cuda.default_generators[gpu] for gpu in gpus)):
            generator.manual_seed(seed)
        if device.type != "mps":
            yield
            return
        before = torch.mps.get_rng_state()
        torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            torch.mps.set_rng_state(before)


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


@contextmanager
def cudnn_benchmark() -> Iterator[None]:
    """Within it cuDNN, which is on GPUs alone, times its algorithms for each new shape and takes the fastest.

    That pays in a full training, whose shapes stay the same. A trial of a search would end before it has paid.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def free_memory(device: torch.device) -> None:
    """Give back the memory of a device that nothing holds any longer."""
    if device.type == "cpu":
        give_freed_memory_back()
        return
    gc.collect()  # optimizers and schedules hold each other, and with them the weights
    (torch.mps if device.type == "mps" else torch.cuda).empty_cache()


def wait_for(device: torch.device) -> None:
    """Return once a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Torch uses `n` threads within it, unless that is None; the caller's count comes back."""
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def memory_format(device: torch.device) -> torch.memory_format:
    """How networks lie in memory: channels last, which convolutions are faster on, but on Apple's GPUs."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or on a CPU."""
    lacking = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return lacking or (isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY))


def is_spoiled(error: BaseException) -> bool:
    """Whether an error says that this process can use its GPU no more, whatever it does there."""
    said = str(error)
    return isinstance(error, RuntimeError) and "CUDA error" in said and any(words in said for words in SPOILED)


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
