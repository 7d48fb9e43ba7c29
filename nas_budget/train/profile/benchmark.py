"""Benchmark of a network on a device: latency, throughput and peak memory, on random images.

Run as a module, it reads a network from stdin and prints the memory that this network takes in a fresh process.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.spec import AnySpec, ResNetSpec
from nas_budget.records.versions import package_versions
from nas_budget.train.engine.device import (
    autocast,
    describe_device,
    free_memory,
    is_out_of_memory,
    memory_format,
    seeded,
    wait_for,
)
from nas_budget.train.engine.model import build
from nas_budget.train.engine.process import keep_freed_memory

BATCHES = (8, 32, 128, 512, 2048)
MIN_REPEATS = 4
"""What `torch.utils.benchmark` repeats at the least, however long a call takes."""
RESIDENT = "growth of a fresh process at its peak, weights included"
ALLOCATED = "peak of what torch allocated, weights included"

Peaks = tuple[int, int] | tuple[None, None]
"""Peak bytes for one image, and of a training step; None where they cannot be measured."""


@dataclass(frozen=True)
class Quartiles:
    """The median of `n` repeats, and the quartiles below and above it."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Quartiles:
        """The quartiles of one value or more."""
        found = [*values]
        low, median, high = np.quantile(found, (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high, len(found))


@dataclass(frozen=True)
class Measurement:
    """Latency, throughput and peak memory of a network on a device, as `measure` returns them.

    Attributes:
        threads: Threads on a CPU; 0 on a GPU.
        versions: Of this package and of torch.
        latency_ms: Milliseconds for one image.
        inference: Images a second, in the batch size that gives the most, `inference_batch`.
        training: Images a second of whole training steps (forward, backward, SGD), in `training_batch` likewise.
        inference_bytes: Peak memory for one image. None where it could not be measured, perhaps for lack of memory.
        training_bytes: Peak memory of a training step of `training_batch` images; None likewise.
        memory: How peak memory was measured, in words.

    Examples:
        >>> found = measure(ResNetSpec((8, 16), blocks=1), torch.device("cpu"), time_s=0.1)
        >>> found.precision, found.latency_ms.low <= found.latency_ms.median
        ('fp32', True)
    """

    device: str
    precision: str
    threads: int
    versions: str
    latency_ms: Quartiles
    inference: Quartiles
    inference_batch: int
    training: Quartiles
    training_batch: int
    inference_bytes: int | None
    training_bytes: int | None
    memory: str


def prepare(spec: AnySpec, device: torch.device, precision: str, training: bool, batch: int) -> Callable[[], None]:
    """A function that evaluates a batch of random images, or takes a training step, and waits for the device.

    The network has fresh weights. A training step is forward, backward and SGD with momentum.
    """
    network: nn.Module = build(spec).to(device, memory_format=memory_format(device)).train(training)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True, fused=True)
    shape = batch, spec.in_channels, spec.image_size, spec.image_size
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    images = images.to(device, memory_format=memory_format(device))
    labels = torch.zeros(batch, dtype=torch.long, device=device)

    def run() -> None:
        with torch.inference_mode(not training), autocast(device, precision):
            logits = network(images)
            loss = F.cross_entropy(logits, labels) if training else None
        if loss is not None:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        wait_for(device)

    return run


def measure(spec: ResNetSpec, device: torch.device, precision: str = "fp32", time_s: float = 7.0) -> Measurement:
    """The latency, throughput and peak memory of a network with fresh weights.

    The timings take about `time_s` seconds, peak memory on a CPU some more: it is measured in a process of its own.
    The part for a GPU has not been run on a GPU yet.
    """
    inference, training = (partial(prepare, spec, device, precision, trains) for trains in (False, True))
    latency = [1e3 * seconds for seconds in repeat(inference(1), 0.15 * time_s)]
    inference_batch, inference_rate = fastest_batch(inference, 0.35 * time_s)
    with seeded(device, 0):  # dropout draws from torch's global generator
        training_batch, training_rate = fastest_batch(training, 0.5 * time_s)
    on_cpu = device.type == "cpu"
    peaks = (_peaks_on_cpu if on_cpu else _peaks_on_gpu)(spec, device, precision, training_batch)
    return Measurement(
        device=describe_device(device),
        precision=precision,
        threads=torch.get_num_threads() if on_cpu else 0,
        versions=package_versions("torch"),
        latency_ms=Quartiles.of(latency),
        inference=inference_rate,
        inference_batch=inference_batch,
        training=training_rate,
        training_batch=training_batch,
        inference_bytes=peaks[0],
        training_bytes=peaks[1],
        memory=RESIDENT if on_cpu else ALLOCATED,
    )


def latency_s(spec: AnySpec, device: torch.device, precision: str = "fp32") -> float:
    """Seconds of one image through a network with fresh weights: the least in a tenth of a second of repeats."""
    return min(repeat(prepare(spec, device, precision, training=False, batch=1), 0.1))


def repeat(run: Callable[[], None], time_s: float) -> list[float]:
    """Seconds of a call, once for each repeat: after a warm-up, for `time_s` seconds and at least four repeats.

    A repeat of a short call is the mean over a block of calls.
    """
    timer = _timer_class()("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return [*timer.adaptive_autorange(inf, min_run_time=time_s, max_run_time=inf).times]


@cache
def _timer_class() -> Any:
    log = logging.getLogger("torch.utils.cpp_extension")
    log.disabled = True  # it warns of a CUDA compiler without a GPU; nothing is compiled here
    try:
        from torch.utils.benchmark import Timer
    finally:
        log.disabled = False
    return Timer


def fastest_batch(prepare: Callable[[int], Callable[[], None]], time_s: float) -> tuple[int, Quartiles]:
    """The batch size that gives the most images a second, and how many they are.

    Batch sizes are tried from the smallest on, while there is memory and the next one fits what is left of `time_s`
    seconds. `prepare` makes the function that runs a batch of a size.
    """
    deadline = time.perf_counter() + time_s
    rates: dict[int, Quartiles] = {}
    for batch in BATCHES:
        left = deadline - time.perf_counter()
        if rates and (2 + MIN_REPEATS) * batch / rates[max(rates)].median > left:
            break
        try:
            seconds = repeat(prepare(batch), left / 4)
        except (MemoryError, RuntimeError) as error:
            if not rates or not is_out_of_memory(error):
                raise
            break
        rates[batch] = Quartiles.of(batch / each for each in seconds)
    fastest = max(rates, key=lambda each: rates[each].median)
    return fastest, rates[fastest]


def _peaks_on_gpu(spec: ResNetSpec, device: torch.device, precision: str, batch: int) -> Peaks:
    """Peaks of what torch allocates on a GPU; None on Apple's, where it keeps no peak."""
    if device.type != "cuda":
        return None, None
    free_memory(device)
    peaks = []
    for training, n in (False, 1), (True, batch):
        torch.cuda.reset_peak_memory_stats(device)
        prepare(spec, device, precision, training, n)()
        peaks.append(torch.cuda.max_memory_allocated(device))
    return peaks[0], peaks[1]


def _peaks_on_cpu(spec: ResNetSpec, _device: torch.device, precision: str, batch: int) -> Peaks:
    """Peaks of a process of its own; None where it fails, for lack of memory perhaps."""
    request = json.dumps([spec.to_dict(), precision, batch, torch.get_num_threads()])
    ran = subprocess.run([sys.executable, "-m", __name__], input=request, capture_output=True, text=True, check=False)
    return (None, None) if ran.returncode else tuple(json.loads(ran.stdout))


def _growth(request: str) -> tuple[int, int]:
    """Bytes by which this process grows at its peak: for one image, and with training steps."""
    values, precision, batch, n_threads = json.loads(request)
    torch.set_num_threads(n_threads)
    keep_freed_memory()
    spec, device = ResNetSpec.from_dict(values), torch.device("cpu")
    narrow = replace(spec, channels=(8,) * len(spec.channels))
    prepare(narrow, device, precision, training=True, batch=2)()  # what torch allocates once, whatever the network
    before = psutil.Process().memory_info().rss
    prepare(spec, device, precision, training=False, batch=1)()
    inference = peak_resident() - before
    step = prepare(spec, device, precision, training=True, batch=batch)
    step()
    step()  # now beside the momenta of the first
    return inference, peak_resident() - before


def peak_resident() -> int:
    """The most bytes of memory this process has held, to within some hundred kilobytes.

    Linux has it in a file. Its `getrusage` would return the peak of the parent process where that is higher.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_growth(sys.stdin.read())))
