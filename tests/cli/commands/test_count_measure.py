"""`nas-budget count --measure`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.profile import benchmark as module
from nas_budget.train.profile.benchmark import RESIDENT, Measurement, Quartiles
from tests.conftest import Ran

Run = Callable[..., Ran]
FOUND = Measurement(
    device="a CPU (2 threads)",
    precision="fp32",
    threads=2,
    versions="nas-budget 0.1.0, torch 2.13.0",
    latency_ms=Quartiles(12.345, 12.0, 13.0, 99),
    inference=Quartiles(1_234.5, 1_200.0, 1_300.0, 7),
    inference_batch=128,
    training=Quartiles(301.0, 290.0, 310.4, 3),
    training_batch=32,
    inference_bytes=38_400_000,
    training_bytes=1_234_000_000,
    memory=RESIDENT,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ResNetSpec, torch.device, str]]:
    """What was to be measured; nothing is."""
    calls: list[tuple[ResNetSpec, torch.device, str]] = []

    def measure(spec: ResNetSpec, device: torch.device, precision: str) -> Measurement:
        calls.append((spec, device, precision))
        return FOUND

    monkeypatch.setattr(module, "measure", measure)
    return calls


def test_figures_come_with_spread_batch_and_device(run: Run, asked: list[object]) -> None:
    ran = run("count", "--channels", "8,16", "--measure", "--device", "cpu")
    assert ran.code == 0
    assert "measured     a CPU (2 threads), fp32; nas-budget 0.1.0, torch 2.13.0" in ran.out
    assert "latency      12.35 ms for one image (12.00 to 13.00, n = 99)" in ran.out
    assert "inference    1,234 images/s in batches of 128 (1,200 to 1,300, n = 7)" in ran.out
    assert "training     301 images/s in batches of 32 (290 to 310, n = 3)" in ran.out
    assert f"memory       38 MB for one image, 1,234 MB to train in batches of 32\n             ({RESIDENT})" in ran.out
    assert "fits: " in ran.out
    assert asked == [(ResNetSpec((8, 16)), torch.device("cpu"), "fp32")]
    assert all(len(line) <= 80 for line in ran.out.splitlines())


def test_json_has_them_under_a_key_of_their_own(run: Run, asked: list[object]) -> None:
    ran = run("count", "--channels", "8,16", "--measure", "--precision", "bf16", "--json")
    assert ran.err == ""
    assert ran.json["measured"] == FOUND.to_dict()
    assert ran.json["params"] > 0
    assert asked == [(ResNetSpec((8, 16)), torch.device("cpu"), "bf16")] or torch.cuda.is_available()
    assert "measured" not in run("count", "--channels", "8,16", "--json").json


def test_memory_not_measured_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(FOUND, inference_bytes=None, training_bytes=None)
    monkeypatch.setattr(module, "measure", lambda *_: unknown)
    assert "memory       not measured" in run("count", "--channels", "8", "--measure").out


def test_a_network_over_budget_is_measured_too(run: Run, asked: list[object]) -> None:
    ran = run("count", "--channels", "8,16", "--measure", "--budget", "10", "--explain")
    assert ran.code == 3
    assert "latency" in ran.out
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--channels 8 --channels 16 --measure", "--measure takes one network, not 2"),
        ("--module torch.nn:Identity --measure", "--module"),
        ("--channels 8 --device cpu", "--device goes with --measure"),
        ("--channels 8 --precision bf16", "--precision goes with --measure"),
        ("--channels 8 --measure --device tpu", "device: 'tpu'"),
        ("--channels 8 --measure --device cpu --precision fp16", "fp16 on a CPU"),
        ("--channels 8 --measure --precision fp8", "fp8"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, asked: list[object], arguments: str, said: str) -> None:
    ran = run("count", *arguments.split())
    assert (ran.code, ran.out, asked) == (2, "", [])
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_an_interruption_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "repeat", interrupted)
    ran = run("count", "--channels", "8", "--blocks", "1", "--measure", "--device", "cpu")
    assert ran.code == 130
    assert ran.err.splitlines()[-1] == "interrupted"
