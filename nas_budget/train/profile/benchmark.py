"""How fast a network is on this device and how much memory it takes, measured in some seconds.

Run as a module it answers one question on stdin: how much memory a network takes in a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.engine.device import autocast, describe_device, is_out_of_memory, keep_freed_memory
from nas_budget.train.engine.model import build

TIME_S = 7.0
"""Of a measurement in all, but for what at least three repeats take."""
LATENCY_SHARE, INFERENCE_SHARE, TRAINING_SHARE = 0.15, 0.35, 0.5
LEAST_REPEATS, MOST_REPEATS, WARM_UPS = 3, 500, 2
LATENCY_S = 0.1
"""Of a measurement of latency alone."""
BATCHES = (8, 32, 128, 512, 2048)
RESIDENT = "growth of a fresh process at its peak, weights included"
ALLOCATED = "peak of what torch allocated, weights included"


@dataclass(frozen=True)
class Spread:
    """A median of `n` repeats, with the quartiles about it."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Measurement:
    """What was measured of a network on a device.

    Attributes:
        device: Its name.
        precision: "fp32", "bf16" or "fp16".
        threads: Threads on a CPU; 0 on a GPU.
        versions: Of this package and torch.
        latency_ms: Milliseconds for one image.
        inference: Images a second.
        inference_batch: Images in a batch for it, of those tried the fastest.
        training: Images a second of whole training steps, forward, backward and SGD.
        training_batch: As `inference_batch`.
        inference_bytes: Peak memory for one image; None where the process that measures it failed.
        training_bytes: Peak memory of a training step of `training_batch` images; None likewise.
        memory: What is meant by peak memory.
    """

    device: str
    precision: str
    threads: int
    versions: str
    latency_ms: Spread
    inference: Spread
    inference_batch: int
    training: Spread
    training_batch: int
    inference_bytes: int | None
    training_bytes: int | None
    memory: str

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready values."""
        return asdict(self)


class Runner:
    """A network on a device that takes random images, to be told something of or to learn from.

    Args:
        spec: The network.
        device: Where it runs.
        precision: "fp32", "bf16" or "fp16".
    """

    def __init__(self, spec: ResNetSpec, device: torch.device, precision: str) -> None:
        self.spec, self.device, self.precision = spec, device, precision
        self.network: nn.Module = build(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
        )

    def inference(self, batch: int) -> Callable[[], None]:
        """What evaluates a batch and waits for it."""
        self.network.eval()
        images = self._images(batch)

        def run() -> None:
            with torch.inference_mode(), autocast(self.device, self.precision):
                self.network(images)
            self._wait()

        return run

    def training(self, batch: int) -> Callable[[], None]:
        """What takes a training step of a batch and waits for it."""
        self.network.train()
        images, labels = self._images(batch), torch.zeros(batch, dtype=torch.long, device=self.device)

        def run() -> None:
            with autocast(self.device, self.precision):
                loss = F.cross_entropy(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self._wait()

        return run

    def _images(self, n: int) -> Tensor:
        images = torch.randn(n, self.spec.in_channels, self.spec.image_size, self.spec.image_size)
        return images.to(self.device, memory_format=torch.channels_last)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(spec: ResNetSpec, device: torch.device, precision: str = "fp32", time_s: float = TIME_S) -> Measurement:
    """Latency, throughput and memory of a network with fresh weights on random images; it takes about `time_s` seconds.

    The GPU's part has not been run on a GPU.
    """
    if device.type == "cpu":
        keep_freed_memory()
    runner = Runner(spec, device, precision)
    latency = spread(1e3 * seconds for seconds in repeated(runner.inference(1), LATENCY_SHARE * time_s))
    inference_batch, inference = best_rate(runner.inference, INFERENCE_SHARE * time_s)
    training_batch, training = best_rate(runner.training, TRAINING_SHARE * time_s)
    del runner
    on_cpu = device.type == "cpu"
    peaks = (
        _resident(spec, precision, training_batch) if on_cpu else _allocated(spec, device, precision, training_batch)
    )
    return Measurement(
        device=describe_device(device),
        precision=precision,
        threads=torch.get_num_threads() if on_cpu else 0,
        versions=f"nas-budget {version('nas-budget')}, torch {torch.__version__}",
        latency_ms=latency,
        inference=inference,
        inference_batch=inference_batch,
        training=training,
        training_batch=training_batch,
        inference_bytes=peaks[0],
        training_bytes=peaks[1],
        memory=RESIDENT if on_cpu else ALLOCATED,
    )


def latency_s(spec: ResNetSpec, device: torch.device, precision: str = "fp32") -> float:
    """Seconds of one image through a network with fresh weights, the least in a tenth of a second of repeats."""
    return min(repeated(Runner(spec, device, precision).inference(1), LATENCY_S))


def spread(values: Any) -> Spread:
    """Median and quartiles of numbers, and how many there are."""
    found = [*values]
    low, median, high = np.quantile(found, (0.25, 0.5, 0.75)).tolist()
    return Spread(median, low, high, len(found))


def repeated(run: Callable[[], None], time_s: float) -> list[float]:
    """Seconds of each run, after two that are not counted, for as long as there is time and at least three times."""
    for _ in range(WARM_UPS):
        run()
    found: list[float] = []
    deadline = time.perf_counter() + time_s
    while len(found) < LEAST_REPEATS or (time.perf_counter() < deadline and len(found) < MOST_REPEATS):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found


def best_rate(prepare: Callable[[int], Callable[[], None]], time_s: float) -> tuple[int, Spread]:
    """The batch with the most images a second, and how many they are.

    Larger and larger batches are tried while there is time and memory.

    Args:
        prepare: From the size of a batch to what runs it.
        time_s: For all batches together.
    """
    deadline = time.perf_counter() + time_s
    found: list[tuple[int, Spread]] = []
    for batch in BATCHES:
        left = deadline - time.perf_counter()
        if found and batch / found[-1][1].median * (WARM_UPS + LEAST_REPEATS) > left:
            break
        try:
            took = repeated(prepare(batch), left / 4)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not found or not is_out_of_memory(error):
                raise
            break
        found.append((batch, spread(batch / seconds for seconds in took)))
    return max(found, key=lambda each: each[1].median)


def _allocated(spec: ResNetSpec, device: torch.device, precision: str, batch: int) -> tuple[int, int]:
    """Peak bytes on a GPU: for one image, and of a training step."""
    torch.cuda.empty_cache()
    runner, peaks = Runner(spec, device, precision), []
    for run in runner.inference(1), runner.training(batch):
        torch.cuda.reset_peak_memory_stats(device)
        run()
        peaks.append(torch.cuda.max_memory_allocated(device))
    return peaks[0], peaks[1]


def _resident(spec: ResNetSpec, precision: str, batch: int) -> tuple[int | None, int | None]:
    """The same on a CPU, as a process of its own tells; None twice when it fails, for lack of memory perhaps."""
    question = json.dumps([spec.to_dict(), precision, batch, torch.get_num_threads()])
    command = [sys.executable, "-m", __name__]
    ran = subprocess.run(command, input=question, capture_output=True, text=True, check=False)
    if ran.returncode:
        return None, None
    inference, training = json.loads(ran.stdout)
    return inference, training


def _answer(question: str) -> tuple[int, int]:
    """Bytes by which this process grew at its peak: for one image, and with a training step."""
    values, precision, batch, n_threads = json.loads(question)
    torch.set_num_threads(n_threads)
    keep_freed_memory()
    spec, device = ResNetSpec.from_dict(values), torch.device("cpu")
    small = Runner(replace(spec, channels=(8,) * len(spec.channels)), device, precision)
    small.training(2)()  # what torch needs once, whatever the network
    before = psutil.Process().memory_info().rss
    runner = Runner(spec, device, precision)
    runner.inference(1)()
    inference = peak_resident() - before
    for _ in range(WARM_UPS):
        runner.training(batch)()
    return inference, peak_resident() - before


def peak_resident() -> int:
    """Most bytes of memory this process has held, to within some hundred kilobytes (so Linux counts, a core at a time).

    Linux tells it in a file; its `getrusage` would tell that of the process it was started from where that is more.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(sys.stdin.read())))
