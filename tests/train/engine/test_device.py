from __future__ import annotations

import os

import pytest
import torch

from nas_budget.errors import UsageError
from nas_budget.train.engine import device as module
from nas_budget.train.engine.device import autocast, choose_device, choose_precision, deterministic, seeded

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_a_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == choose_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == CUDA
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "tpu", "CPU", "meta", "mps:7"])
def test_a_device_that_is_not_there_is_answered_with_those_that_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not available; allowed are auto, cpu") as said:
        choose_device(name)
    assert repr(name) in str(said.value)
    assert "\n" not in str(said.value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="allowed are auto, cpu, cuda:0, cuda:1$"):
        choose_device(name)


def test_auto_precision_is_bf16_only_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("auto", CPU) == "fp32"
    for capability, expected in ((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp32"):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, capability=capability: capability)
        assert choose_precision("auto", CUDA) == expected


@pytest.mark.parametrize("name", ["", "fp8", "float32", "BF16"])
def test_an_unknown_precision_is_answered_with_the_known_ones_and_fp16_is_for_gpus(name: str) -> None:
    with pytest.raises(UsageError, match=f"precision: '{name}' is unknown; allowed are auto, fp32, bf16, fp16"):
        choose_precision(name, CPU)
    assert choose_precision("fp16", CUDA) == "fp16"
    with pytest.raises(UsageError, match="fp16 on a CPU .* allowed there are auto, fp32, bf16"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_matrices_are_multiplied_in_the_chosen_precision(name: str, dtype: torch.dtype) -> None:
    assert choose_precision(name, CPU) == choose_precision(name, CUDA) == name
    with autocast(CPU, name):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == dtype == module.PRECISIONS[name]


def test_a_device_is_described_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for n_threads, words in (1, " (1 thread)"), (2, " (2 threads)"):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        name, found, _ = module.describe_device(CPU).rpartition(words)
        assert found == words
        assert name
    assert module.describe_device(torch.device("mps")) == "mps"


def test_determinism_is_for_as_long_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for wanted in (True, False):
        with deterministic(wanted):
            assert torch.are_deterministic_algorithms_enabled() is wanted
            assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) is wanted
        assert not torch.are_deterministic_algorithms_enabled()
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_draws_follow_from_the_seed_within_and_continue_as_before_afterwards() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    found = [torch.rand(2)]
    with pytest.raises(ValueError, match="ends it"), seeded(CPU, 3):
        assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(3)))
        raise ValueError("ends it")
    assert torch.equal(torch.cat([*found, torch.rand(2)]), expected)
