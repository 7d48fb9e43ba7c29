"""Latency, throughput and memory of a network on this device; nothing here depends on how fast the device is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch

from nas_budget import ResNetSpec, cost
from nas_budget.train.profile import benchmark as module
from nas_budget.train.profile.benchmark import BATCHES, MIN_REPEATS, Quartiles, fastest_batch, measure

CPU = torch.device("cpu")
SMALL = ResNetSpec((8, 16), 1, strides=2)
LARGE = ResNetSpec((64, 128), 1)


class Device:
    """A device whose time passes only when something runs: so many seconds for a batch, repeated four times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.batches: list[int] = []
        self.limits: list[float] = []
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(module, "repeat", self.repeat)

    def repeat(self, run: Callable[[], float], time_s: float) -> list[float]:
        self.limits.append(time_s)
        seconds = [run() for _ in range(MIN_REPEATS)]
        self.now += sum(seconds)
        return seconds

    def prepare(self, seconds: Callable[[int], float]) -> Callable[[int], Callable[[], float]]:
        def prepared(batch: int) -> Callable[[], float]:
            self.batches.append(batch)
            return lambda: seconds(batch)

        return prepared


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


def test_a_call_is_repeated_four_times_at_least_and_longer_where_there_is_time() -> None:
    assert Quartiles.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Quartiles(3.0, 2.0, 4.0, 5)
    calls: list[float] = []
    values = torch.zeros(100_000)

    def run() -> None:
        calls.append(values.sum().item())

    seconds = module.repeat(run, 0.0)
    assert MIN_REPEATS == len(seconds) < len(calls)  # the others are the warm-up
    assert min(seconds) > 0
    assert sum(module.repeat(run, 0.05)) * len(calls) > 0.05  # a repeat is the mean over a block of calls


def test_the_fastest_batch_is_found(device: Device) -> None:
    batch, rate = fastest_batch(device.prepare(lambda n: n * (1.0 if n <= 128 else 2.0) + 10.0), 1e6)
    assert (batch, rate.n) == (128, MIN_REPEATS)
    assert rate.median == pytest.approx(128 / 138)
    assert device.batches == [*BATCHES]


def test_no_batch_is_begun_for_which_there_is_no_time(device: Device) -> None:
    fastest_batch(device.prepare(lambda n: n / 8), 40.0)
    assert device.batches == [8, 32]
    assert device.limits == [40.0 / 4, 36.0 / 4]


def test_a_batch_too_large_for_the_memory_ends_it(device: Device) -> None:
    def seconds(batch: int) -> float:
        if batch > 32:
            raise torch.OutOfMemoryError("no memory")
        return 10.0

    assert fastest_batch(device.prepare(seconds), 1e6)[0] == 32
    with pytest.raises(torch.OutOfMemoryError):
        fastest_batch(device.prepare(lambda n: seconds(n + 32)), 1e6)


@pytest.mark.parametrize("training", [False, True])
def test_training_changes_weights_and_inference_does_not(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = module.build(SMALL)
    # The count of batches of batch norm never changes.
    before = {name: value.clone() for name, value in network.state_dict().items() if "num_batches" not in name}
    monkeypatch.setattr(module, "build", lambda _: network)
    module.prepare(SMALL, CPU, "fp32", training, batch=3)()
    after = network.state_dict()
    assert [name for name, value in before.items() if torch.equal(after[name], value) == training] == []
    assert network.training == training


def test_everything_is_measured(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure is of the pass and batch that it says, and within its share of the time."""

    def prepared(spec: ResNetSpec, _device: object, precision: str, training: bool, batch: int) -> Callable[[], float]:
        assert (spec, precision) == (LARGE, "bf16")
        return lambda: batch * (0.2 if training else 0.1) + (1 if batch <= 32 or not training else 100)

    monkeypatch.setattr(module, "prepare", prepared)
    monkeypatch.setattr(module, "_peaks_on_cpu", lambda *given: given[3:] * 2)
    found = measure(LARGE, CPU, "bf16", time_s=1e6)
    assert found.latency_ms == Quartiles(1100, 1100, 1100, MIN_REPEATS)
    assert (found.inference_batch, found.training_batch) == (2048, 32)
    assert found.inference.median == pytest.approx(2048 / 205.8)
    assert found.training.median == pytest.approx(32 / 7.4)
    assert (found.inference_bytes, found.training_bytes) == (32, 32)
    assert (found.memory, found.precision, found.threads) == (module.RESIDENT, "bf16", torch.get_num_threads())
    assert "torch" in found.versions
    values = json.loads(json.dumps(asdict(found)))
    assert values["latency_ms"] == {"median": 1100, "low": 1100, "high": 1100, "n": MIN_REPEATS}
    assert [device.limits[i] for i in (0, 1, 6)] == pytest.approx([0.15e6, 0.35e6 / 4, 0.5e6 / 4])


def test_training_takes_more_memory_than_inference() -> None:
    inference, training = module._peaks_on_cpu(LARGE, CPU, "fp32", 32)
    weights = cost(LARGE).weight_bytes["fp32"]
    assert inference is not None and training is not None
    assert weights < inference < training
    assert training > 3 * weights  # gradients and momenta too


def test_memory_that_cannot_be_measured_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    found = measure(SMALL, CPU, time_s=0.0)
    assert (found.inference_bytes, found.training_bytes) == (None, None)
    assert min(found.latency_ms.low, found.inference.low, found.training.low, module.latency_s(SMALL, CPU)) > 0


def test_the_peak_stays_when_memory_is_freed() -> None:
    block = torch.ones(256 << 20, dtype=torch.uint8)
    peak = module.peak_resident()
    del block
    # What is held now is 256 MiB less; Linux counts the peak itself to within some hundred kilobytes.
    assert module.peak_resident() > peak - (64 << 20) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_gpu_is_measured() -> None:
    found = measure(LARGE, torch.device("cuda"), "bf16", time_s=2.0)
    assert found.threads == 0
    assert min(found.inference.low, found.training.low) > 0
    assert cost(LARGE).weight_bytes["fp32"] < (found.inference_bytes or 0) < (found.training_bytes or 0)
