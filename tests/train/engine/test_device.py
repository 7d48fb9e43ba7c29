from __future__ import annotations

import os

import pytest
import torch

from nas_budget.errors import UsageError
from nas_budget.train.engine import device as module
from nas_budget.train.engine.device import autocast, choose_device, choose_precision, deterministic, seeded

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def gpus(monkeypatch: pytest.MonkeyPatch, *faults: str) -> None:
    """As many GPUs as there are faults given; an empty one is of a GPU that computes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(faults))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(faults))
    monkeypatch.setattr(
        module, "why_unusable", lambda device: faults[device.index or 0] if device.type == "cuda" else ""
    )


def test_auto_is_a_gpu_only_where_one_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch)
    assert choose_device() == choose_device("auto") == CPU
    gpus(monkeypatch, "", "")
    assert choose_device("auto") == CUDA
    assert choose_device("cpu") == CPU
    notes: list[str] = []
    gpus(monkeypatch, "too old", "")
    assert choose_device("auto", notes.append) == torch.device("cuda:1")
    gpus(monkeypatch, "too old", "broken")
    assert choose_device("auto", notes.append) == CPU
    assert notes == [
        "NOTE: cuda:0 is not used: too old", "NOTE: cuda:0 is not used: too old", "NOTE: cuda:1 is not used: broken",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"'cuda:1' is not available \(broken\); allowed are auto, cpu, cuda:0"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "tpu", "CPU", "meta", "mps:7"])
def test_a_device_that_is_not_there_is_answered_with_those_that_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not available.*; allowed are auto, cpu") as said:
        choose_device(name)
    assert repr(name) in str(said.value)
    assert "\n" not in str(said.value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="allowed are auto, cpu, cuda:0, cuda:1$"):
        choose_device(name)


def test_a_gpu_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in "cuda", "hip":
        monkeypatch.setattr(torch.version, version, None)
    assert "is built for CPUs alone; install one built for CUDA" in module.why_unusable(CUDA)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert module.why_unusable(CPU) == ""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert module.why_unusable(torch.device("mps")) == "this torch finds no Apple GPU"

    def fail(error: Exception) -> None:
        def ones(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(torch, "ones", ones)

    fail(RuntimeError("Found no NVIDIA driver on your system. Install one.\nmore"))
    assert module.why_unusable(CUDA) == "Found no NVIDIA driver on your system"
    fail(RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
    said = module.why_unusable(CUDA)
    assert (
        "has no kernels for the Tesla P100, of compute capability 6.0, but for sm_75, sm_80; torch up to 2.14" in said
    )
    assert "CUDA 12.6" in said


def test_auto_precision_is_bf16_where_a_gpu_has_it_and_fp16_where_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose_precision("auto", torch.device("mps")) == "fp32"
    cases = (((9, 0), True, "bf16"), ((8, 0), False, "bf16"), ((7, 5), True, "fp16"), ((7, 5), False, "fp32"))
    for capability, finite, expected in cases:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, capability=capability: capability)
        monkeypatch.setattr(module, "trains_in_fp16", lambda device, finite=finite: finite)
        assert choose_precision("auto", CUDA) == expected
    with pytest.raises(UsageError, match="bf16 has not been tried on mps; allowed there are auto, fp32"):
        choose_precision("bf16", torch.device("mps"))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ({"avx512_bf16": False, "avx512_vnni": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_precision_on_a_cpu_is_bf16_where_it_has_instructions_for_it(
    known: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert choose_precision("auto", CPU) == expected


def test_an_older_torch_which_does_not_tell_what_a_cpu_has_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", CPU) == "fp32"


def test_latency_is_measured_in_fp32_on_a_cpu_whatever_it_trains_in() -> None:
    assert module.inference_precision("bf16", CPU) == "fp32"
    assert module.inference_precision("bf16", CUDA) == "bf16"


def test_a_step_in_fp16_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    assert module.trains_in_fp16(CPU)
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(torch.nn.ReLU, "forward", lambda self, x: x * torch.inf)  # as GPUs that overflow do
    assert not module.trains_in_fp16(CPU)


def test_the_gpu_that_was_asked_for_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    for device in CPU, torch.device("cuda:1"):
        module.wait_for(device)
    assert waited == [torch.device("cuda:1")]


def test_apples_gpus_have_networks_contiguous() -> None:
    assert module.memory_format(torch.device("mps")) == torch.contiguous_format
    assert module.memory_format(CPU) == module.memory_format(CUDA) == torch.channels_last


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


def test_generators_of_an_apple_gpu_start_from_the_seed_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: "before")
    monkeypatch.setattr(torch.mps, "set_rng_state", done.append)
    monkeypatch.setattr(torch.mps, "manual_seed", done.append)
    with pytest.raises(ValueError, match="ends it"), seeded(torch.device("mps"), 3):
        assert done == [3]
        raise ValueError("ends it")
    assert done == [3, "before"]
