"""Two CUDA devices that are not there: code under `FakeTensorMode` runs on "cuda" with a torch that has no GPU.

Tensors have shapes, types, strides and a device, and no values. `build` compiles what torch asks of a device; `install`
loads it, before torch is imported, in a process that does nothing else.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

SOURCE = Path(__file__).with_name("device.cpp")
COMPILER = shutil.which("g++")
TORCH = Path(importlib.util.find_spec("torch").origin).parent  # type: ignore[union-attr, arg-type]
N_DEVICES = 2


def build(folder: Path) -> Path:
    """The compiled library, in the folder."""
    made = folder / "libfakecuda.so"
    headers = (TORCH / "include", TORCH / "include/torch/csrc/api/include")
    options = ["-std=c++20", "-shared", "-fPIC", *(f"-I{path}" for path in headers)]
    links = [f"-L{TORCH / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run([str(COMPILER), *options, str(SOURCE), "-o", str(made), *links], check=True)
    return made


def install(library: Path) -> None:
    """Load the library and have `torch.cuda` answer for its devices: an H100 each, of which "cuda:0" is the current."""
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(TORCH / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    ours = ctypes.CDLL(str(library))

    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    def exchange(device: int | torch.device) -> int:
        return int(ours.exchange_device(device if isinstance(device, int) else device.index))

    handles = count()
    ours.install_guard()
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda including_emulation=True: True,
        "device_count": lambda: N_DEVICES,
        "current_device": lambda: int(ours.current_device()),
        "set_device": exchange,
        "_exchange_device": exchange,
        "_maybe_exchange_device": exchange,
        "_lazy_init": lambda: None,
        "_is_compiled": lambda: False,  # torch then asks no CUDA library of its own
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: "H100",
        "get_device_properties": lambda device=None: SimpleNamespace(total_memory=80 * 1024**3),
        "get_arch_list": lambda: ["sm_90"],
        "is_current_stream_capturing": lambda: False,
        "CUDAGraph": FakeGraph,
        "graph": _recorded,
        "graph_pool_handle": lambda: f"memory {next(handles)} on cuda:{ours.current_device()}",
        "Stream": lambda device=None: f"stream on {device}",
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "default_generators": tuple(torch.Generator(f"cuda:{i}") for i in range(N_DEVICES)),
        "get_rng_state": lambda device: None,
        "set_rng_state": lambda state, device: None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    FakeTensorMode.avoid_device_init = property(lambda self: True)  # type: ignore[assignment, method-assign]
    FakeTensorMode.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    patch.object(torch.nn.Module, "to", _to).start()


class FakeGraph:
    """A CUDA graph that notes where it was recorded: current device, memory and stream; and how often it was replayed.

    What is recorded runs, as operators on fakes have no effect.
    """

    made: ClassVar[list[FakeGraph]] = []

    def __init__(self) -> None:
        self.where: tuple[Any, ...] = ()
        self.generators: list[str] = []
        self.n_replays = 0
        self.made.append(self)

    def register_generator_state(self, generator: Any) -> None:
        """Note the generator's device."""
        self.generators.append(str(generator.device))

    def replay(self) -> None:
        """Count a replay."""
        self.n_replays += 1


@contextmanager
def _recorded(graph: FakeGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "") -> Iterator[None]:
    import torch

    graph.where = (torch.cuda.current_device(), pool, stream)
    yield


def _to(module: Any, device: Any = None, memory_format: Any = None) -> Any:
    """`Module.to` with new parameters: torch's own swaps the data of those that are there, which fakes do not allow."""
    import torch

    def moved(tensor: Any) -> Any:
        there = tensor.detach().to(device)
        return there.contiguous(memory_format=memory_format) if memory_format and there.ndim == 4 else there

    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, torch.nn.Parameter(moved(parameter), parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, moved(buffer))
    return module
