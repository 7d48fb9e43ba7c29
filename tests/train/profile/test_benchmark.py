"""Latency, throughput and memory of a network on this device."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.profile import benchmark as module
from nas_budget.train.profile.benchmark import (
    BATCHES,
    RESIDENT,
    Runner,
    best_rate,
    measure,
    peak_resident,
    repeated,
    spread,
)

CPU = torch.device("cpu")
SMALL = ResNetSpec((8, 16), 1, strides=2)
LARGE = ResNetSpec((64, 128), 1)


class Clock:
    """A clock that only runs when something is run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.runs: list[int] = []
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def prepare(self, seconds: Callable[[int], float]) -> Callable[[int], Callable[[], None]]:
        """What takes so many seconds for a batch."""

        def prepared(batch: int) -> Callable[[], None]:
            def run() -> None:
                self.now += seconds(batch)
                self.runs.append(batch)

            return run

        return prepared


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_spread_is_median_and_quartiles() -> None:
    found = spread([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.low, found.median, found.high, found.n) == (2.0, 3.0, 4.0, 5)


def test_it_is_repeated_while_there_is_time_but_three_times_at_least(clock: Clock) -> None:
    assert repeated(clock.prepare(lambda _: 1.0)(1), 7.5) == [1.0] * 8
    assert repeated(clock.prepare(lambda _: 1.0)(1), 0.0) == [1.0] * 3
    assert len(repeated(clock.prepare(lambda _: 1e-9)(1), 7.5)) == 500


def test_the_fastest_batch_is_found(clock: Clock) -> None:
    batch, rate = best_rate(clock.prepare(lambda n: n * (1.0 if n <= 128 else 2.0) + 10.0), 1e6)
    assert batch == 128
    assert rate.median == pytest.approx(128 / 138)
    assert set(clock.runs) == set(BATCHES)


def test_no_batch_is_begun_for_which_there_is_no_time(clock: Clock) -> None:
    batch, _ = best_rate(clock.prepare(lambda n: n / 8), 40.0)
    assert batch in (8, 32)
    assert set(clock.runs) == {8, 32}
    assert clock.now < 50


def test_a_batch_too_large_for_the_memory_ends_it(clock: Clock) -> None:
    def seconds(batch: int) -> float:
        if batch > 32:
            raise torch.OutOfMemoryError("no memory")
        return 10.0

    assert best_rate(clock.prepare(seconds), 1e6)[0] == 32
    with pytest.raises(torch.OutOfMemoryError):
        best_rate(clock.prepare(lambda n: seconds(n + 32)), 1e6)


def test_training_changes_weights_and_inference_does_not() -> None:
    runner = Runner(SMALL, CPU, "fp32")
    before = {name: value.clone() for name, value in runner.network.state_dict().items()}
    runner.inference(3)()
    assert all(torch.equal(value, before[name]) for name, value in runner.network.state_dict().items())
    runner.training(3)()
    assert not torch.equal(runner.network.state_dict()["linear.weight"], before["linear.weight"])
    assert not torch.equal(runner.network.state_dict()["stem.norm.running_mean"], before["stem.norm.running_mean"])


def test_everything_is_measured_and_more_costs_more() -> None:
    small, large = (measure(spec, CPU, time_s=0.2) for spec in (SMALL, LARGE))
    assert cost(LARGE).macs > 50 * cost(SMALL).macs
    assert large.latency_ms.median > 2 * small.latency_ms.median
    assert small.inference.median > 5 * large.inference.median
    assert small.training.median > 5 * large.training.median
    assert small.inference.median > small.training.median
    assert large.inference_bytes is not None
    assert large.training_bytes is not None
    weights = cost(LARGE).weight_bytes["fp32"]
    assert weights < large.inference_bytes < large.training_bytes
    assert large.training_bytes > 3 * weights  # their gradients and momenta too
    assert (large.memory, large.precision, large.threads) == (RESIDENT, "fp32", torch.get_num_threads())
    assert "torch" in large.versions
    values = json.loads(json.dumps(large.to_dict()))
    assert set(values["latency_ms"]) == {"median", "low", "high", "n"}
    assert values["latency_ms"]["low"] <= values["latency_ms"]["median"] <= values["latency_ms"]["high"]
    assert values["latency_ms"]["n"] >= 3


def test_memory_that_cannot_be_measured_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    found = measure(SMALL, CPU, "bf16", time_s=0.0)
    assert (found.inference_bytes, found.training_bytes, found.precision) == (None, None, "bf16")


def test_the_peak_stays_when_memory_is_freed() -> None:
    block = torch.ones(256 << 20, dtype=torch.uint8)
    peak = peak_resident()
    del block
    # What is held now is 256 MiB less; Linux counts the peak itself to within some hundred kilobytes.
    assert peak_resident() > peak - (64 << 20) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_gpu_is_measured() -> None:
    found = measure(LARGE, torch.device("cuda"), "bf16", time_s=2.0)
    assert found.threads == 0
    assert found.inference.median > found.training.median > 0
    assert cost(LARGE).weight_bytes["fp32"] < (found.inference_bytes or 0) < (found.training_bytes or 0)
