"""Rules of operations, and the names of those that have none, against matrix products and against torch's own list."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from torchvision import ops

from nas_budget.train.profile.op_counts import WITHOUT_RULE, UncountedOps, rules

INT64 = torch.int64


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def counted(call: Callable[[], object]) -> tuple[int, dict[str, int]]:
    """MACs of a call, and what was not counted."""
    watcher, counter = UncountedOps(), FlopCounterMode(display=False, custom_mapping=rules())
    with torch.no_grad(), watcher, counter:
        call()
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2, {name: calls for (name, _), calls in watcher.calls.items()}


COUNTED: dict[str, tuple[Callable[[], object], int]] = {
    "matrix times vector": (lambda: meta(3, 4) @ meta(4), 3 * 4),
    "batch of matrices times vector": (lambda: meta(2, 3, 4) @ meta(4), 2 * 3 * 4),
    "added matrix times vector": (lambda: torch.addmv(meta(3), meta(3, 4), meta(4)), 3 * 4),
    "the same in place": (lambda: meta(3).addmv_(meta(3, 4), meta(4)), 3 * 4),
    "dot": (lambda: meta(4) @ meta(4), 4),
    "vdot": (lambda: torch.vdot(meta(4), meta(4)), 4),
    "inner": (lambda: torch.inner(meta(2, 4), meta(3, 4)), 2 * 3 * 4),
    "addmm in place": (lambda: meta(3, 5).addmm_(meta(3, 4), meta(4, 5)), 3 * 4 * 5),
    "addbmm": (lambda: torch.addbmm(meta(3, 5), meta(2, 3, 4), meta(2, 4, 5)), 2 * 3 * 4 * 5),
    "baddbmm": (lambda: torch.baddbmm(meta(2, 3, 5), meta(2, 3, 4), meta(2, 4, 5)), 2 * 3 * 4 * 5),
    "baddbmm in place": (lambda: meta(2, 3, 5).baddbmm_(meta(2, 3, 4), meta(2, 4, 5)), 2 * 3 * 4 * 5),
    "int8": (lambda: torch._int_mm(*[meta(32, 32, dtype=torch.int8)] * 2), 32**3),
    "einsum of rows": (lambda: torch.einsum("bi,bi->b", meta(2, 3), meta(2, 3)), 2 * 3),
    "einsum of three": (
        lambda: torch.einsum("bi,oij,bj->bo", meta(2, 3), meta(5, 3, 4), meta(2, 4)),
        2 * 5 * 4 * 3 + 2 * 5 * 4,  # from left to right
    ),
    "tensordot": (lambda: torch.tensordot(meta(2, 3, 4), meta(3, 4, 5), 2), 2 * 3 * 4 * 5),
    "bilinear": (lambda: F.bilinear(meta(2, 3), meta(2, 4), meta(5, 3, 4)), 2 * 5 * (3 * 4 + 3)),
    "attention": (lambda: F.scaled_dot_product_attention(*[meta(1, 2, 3, 4)] * 3), 2 * (3 * 3 * 4 + 3 * 3 * 4)),
    "causal attention": (
        lambda: F.scaled_dot_product_attention(*[meta(1, 2, 3, 4)] * 3, is_causal=True),
        2 * (3 * 3 * 4 + 3 * 3 * 4),  # masked products are counted
    ),
    "grouped-query attention": (
        lambda: F.scaled_dot_product_attention(
            meta(1, 4, 3, 8), meta(1, 2, 5, 8), meta(1, 2, 5, 6), enable_gqa=True
        ),
        4 * 3 * 5 * (8 + 6),
    ),
    "attention of a kernel for CPUs": (
        lambda: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            meta(1, 2, 3, 8), meta(1, 2, 5, 8), meta(1, 2, 5, 8)
        ),
        2 * 3 * 5 * (8 + 8),
    ),
    "LSTM": (lambda: nn.LSTM(4, 5, 2, bidirectional=True, device="meta")(meta(7, 1, 4)), 7 * 2 * 20 * (4 + 5 + 10 + 5)),
    "GRU": (lambda: nn.GRU(4, 5, device="meta")(meta(7, 1, 4)), 7 * 15 * (4 + 5)),
    "RNN": (lambda: nn.RNN(4, 5, device="meta")(meta(7, 1, 4)), 7 * 5 * (4 + 5)),
    "LSTM cell": (lambda: nn.LSTMCell(4, 5, device="meta")(meta(1, 4)), 20 * (4 + 5)),
    "GRU cell": (lambda: nn.GRUCell(4, 5, device="meta")(meta(1, 4)), 15 * (4 + 5)),
    "transposed convolution": (lambda: F.conv_transpose2d(meta(1, 3, 8, 8), meta(3, 4, 2, 2)), 8 * 8 * 3 * 4 * 2 * 2),
    "convolution over time": (lambda: torch.conv_tbc(meta(7, 1, 4), meta(3, 4, 5), meta(5)), 5 * 5 * 3 * 4),
    "deformable convolution": (
        lambda: ops.deform_conv2d(meta(1, 4, 8, 8), meta(1, 18, 8, 8), meta(6, 2, 3, 3), padding=1),
        6 * 8 * 8 * 2 * 3 * 3,
    ),
    "sum of embeddings": (lambda: F.embedding_bag(meta(1, 3, dtype=INT64), meta(10, 4)), 0),
    "weighted sum of embeddings": (
        lambda: F.embedding_bag(meta(1, 3, dtype=INT64), meta(10, 4), mode="sum", per_sample_weights=meta(1, 3)),
        3 * 4,
    ),
    "weights of 8 bits": (
        lambda: torch.ops.aten._weight_int8pack_mm(
            meta(2, 32, dtype=torch.bfloat16), meta(16, 32, dtype=torch.int8), meta(16, dtype=torch.bfloat16)
        ),
        2 * 16 * 32,
    ),
    "a product for each group": (
        lambda: torch.ops.aten._grouped_mm(*[meta(2, 16, 16, dtype=torch.bfloat16)] * 2),
        2 * 16**3,
    ),
    "rows divided among groups": (
        lambda: torch.ops.aten._grouped_mm(
            meta(24, 16, dtype=torch.bfloat16), meta(2, 16, 32, dtype=torch.bfloat16), meta(2, dtype=torch.int32)
        ),
        24 * 16 * 32,
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", [*COUNTED])
def test_what_has_a_rule(call: str) -> None:
    run, macs = COUNTED[call]
    assert counted(run) == (macs, {})


UNCOUNTED: dict[str, tuple[Callable[[], object], str]] = {
    "Fourier transform": (lambda: torch.fft.fft2(meta(2, 8, 8)), "fft_c2c"),
    "spectrogram": (lambda: torch.stft(meta(1, 400), 64, return_complex=True, window=meta(64)), "fft_r2c"),
    "distances": (lambda: torch.cdist(meta(1, 3, 4), meta(1, 5, 4)), "cdist_forward"),
    "solve": (lambda: torch.linalg.solve(meta(3, 3), meta(3, 1)), "linalg_solve_ex"),
    "pseudoinverse": (lambda: torch.linalg.pinv(meta(3, 3)), "linalg_pinv"),
    "product and sum": (lambda: (meta(2, 3) * meta(2, 3)).sum(-1), "product and sum"),
    "product and mean": (lambda: (meta(2, 3) * meta(2, 3)).mean(), "product and sum"),
    "product in place": (lambda: meta(2, 3).mul_(meta(2, 3)).sum((0, 1)), "product and sum"),
    "product with a shorter one": (lambda: (meta(2, 3) * meta(3)).sum(1, keepdim=True), "product and sum"),
    "vecdot": (lambda: torch.linalg.vecdot(meta(2, 3), meta(2, 3)), "product and sum"),
    "cosine similarity": (lambda: F.cosine_similarity(meta(2, 3), meta(2, 3)), "product and sum"),
}


@pytest.mark.parametrize("call", [*UNCOUNTED])
def test_what_has_none_is_named(call: str) -> None:
    run, name = UNCOUNTED[call]
    assert counted(run) == (0, {name: 1})


FREE: dict[str, Callable[[], object]] = {
    "a gate of channels before a pool": lambda: (meta(2, 3, 8, 8) * meta(2, 3, 1, 1)).mean((2, 3)),
    "the same, expanded": lambda: (meta(2, 3, 8, 8) * meta(2, 3, 1, 1).expand(2, 3, 8, 8)).sum((2, 3)),
    "a scale before a pool": lambda: (meta(2, 9, 3) * meta(3)).sum(1),
    "a square": lambda: (square := meta(2, 3), (square * square).sum(-1)),
    "a number": lambda: (meta(2, 3) * 2.0).sum(),
    "a norm": lambda: F.normalize(meta(2, 3)),
    "a product alone": lambda: meta(2, 3) * meta(2, 3),
    "a sum alone": lambda: meta(2, 3).sum(),
    "an outer product": lambda: torch.outer(meta(3), meta(4)),
    "interpolation": lambda: F.interpolate(meta(1, 2, 4, 4), scale_factor=2, mode="bilinear"),
    "a sampled grid": lambda: F.grid_sample(meta(1, 2, 4, 4), meta(1, 3, 3, 2), align_corners=False),
    "pooled regions": lambda: ops.roi_align(meta(1, 4, 8, 8), meta(2, 5), (2, 2)),
    "norm, activation, pool": lambda: F.avg_pool2d(F.gelu(F.group_norm(meta(1, 4, 8, 8), 2)), 2),
    "an embedding": lambda: F.embedding(meta(1, 3, dtype=INT64), meta(10, 4)),
}


@pytest.mark.parametrize("call", [*FREE])
def test_what_is_no_multiply_accumulate_by_definition_is_not_named(call: str) -> None:
    assert counted(FREE[call]) == (0, {})


def test_an_operation_of_another_library_is_named() -> None:
    with torch.library._scoped_library("nas_budget_test", "FRAGMENT") as library:
        library.define("blur(Tensor x) -> Tensor")
        library.impl("blur", torch.empty_like, "Meta")
        assert counted(lambda: torch.ops.nas_budget_test.blur(meta(3))) == (0, {"nas_budget_test::blur": 1})


@pytest.mark.skipif(torch.__version__ < "2.14", reason="an older version does not have them all")
def test_every_name_without_a_rule_is_one_of_torch() -> None:
    assert [name for name in sorted(WITHOUT_RULE) if not hasattr(torch.ops.aten, name)] == []
    assert not {operation.__name__ for operation in {*flop_registry, *rules()}} & WITHOUT_RULE
