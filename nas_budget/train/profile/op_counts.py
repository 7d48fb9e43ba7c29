"""Multiply-accumulates of torch operations: rules beside those of torch's `FlopCounterMode`, and what has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

PRODUCT_AND_SUM = "product and sum"
"""The name of a dot product that is written as an element-wise product and a sum."""
WITHOUT_RULE = frozenset({
    # Fourier transforms and distances: how many multiply-accumulates they take depends on the algorithm
    "_fft_c2c", "_fft_c2r", "_fft_r2c", "_cdist_forward", "_euclidean_dist", "_pdist_forward",
    # decompositions, inverses and what is solved
    "_cholesky_solve_helper", "_linalg_det", "_linalg_eigh", "_linalg_eigvals", "_linalg_slogdet", "_linalg_solve_ex",
    "_linalg_svd", "_lu_with_info", "_spsolve", "cholesky_inverse", "cholesky_solve", "geqrf",
    "linalg_cholesky_ex", "linalg_eig", "linalg_eigvals", "linalg_householder_product", "linalg_inv_ex",
    "linalg_ldl_factor_ex", "linalg_ldl_solve", "linalg_lstsq", "linalg_lu", "linalg_lu_factor_ex", "linalg_lu_solve",
    "linalg_matrix_exp", "linalg_matrix_sqrth", "linalg_pinv", "linalg_polar", "linalg_qr", "linalg_solve_triangular",
    "matrix_exp", "ormqr", "triangular_solve",
    # sparse matrices: the number of their elements is not in their shape
    "_cslt_sparse_mm", "_sparse_addmm", "_sparse_mm", "_sparse_mm_reduce_impl", "_sparse_semi_structured_addmm",
    "_sparse_semi_structured_linear", "_sparse_semi_structured_mm", "_sparse_sparse_matmul", "hspmm", "smm",
    "sparse_sampled_addmm", "sspaddmm",
    # kernels of one device that hide several products
    "_cudnn_attention_forward", "_cudnn_rnn", "_dyn_quant_matmul_4bit", "_flash_attention_forward_no_dropout_inplace",
    "_foreach_mm", "_lstm_mps", "_native_multi_head_attention",
    "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell", "_transformer_encoder_layer_fwd", "_triton_multi_head_attention",
    "_triton_scaled_dot_attention", "miopen_rnn", "mkldnn_rnn_layer",
})  # fmt: skip
"""Operations of torch that multiply and accumulate, and whose count the shapes alone do not say."""
FREE_NAMESPACES = frozenset({"aten", "prim", "prims", "profiler", "torchvision"})
"""Whose operations multiply and accumulate only where a name above or a rule says so."""

Shape = Sequence[int]


def rules() -> dict[Any, Callable[..., int]]:
    """Rules for torch operations that `FlopCounterMode` counts as 0, as its `custom_mapping`: from shapes to FLOPs.

    One multiply-accumulate is two FLOPs, as there.
    """
    by_name: dict[str, Callable[..., int]] = {
        "mv": _matrix, "addmv": _added(_matrix), "addmv_": _added(_matrix), "dot": _matrix, "vdot": _matrix,
        "addbmm": _added(_product), "addbmm_": _added(_product), "addmm_": _added(_product),
        "baddbmm_": _added(_product), "_addmm_activation": _added(_product), "_int_mm": _product,
        "_scaled_mm_v2": _product, "_grouped_mm": _grouped, "_scaled_grouped_mm": _grouped,
        "_scaled_grouped_mm_v2": _grouped, "_weight_int8pack_mm": _packed,
        "_weight_int4pack_mm": _packed, "mkldnn_linear": _packed, "_trilinear": _bilinear, "conv_tbc": _conv_tbc,
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_fused_attention_overrideable": _attention,
        "_scaled_dot_product_attention_math_for_mps": _attention,
        "_embedding_bag": _embedding_bag, "_embedding_bag_forward_only": _embedding_bag,
    }  # fmt: skip
    found = {getattr(torch.ops.aten, name, None): rule for name, rule in by_name.items()}
    found[getattr(torch.ops.torchvision, "deform_conv2d", None)] = _deform_conv
    found.pop(None, None)  # not every version has them all, and torchvision's is there once that is imported
    return found


class UncountedOps(TorchDispatchMode):
    """Notes the calls of operations that multiply and accumulate without a rule.

    Enter it before the `FlopCounterMode`, which then hands it every operation in the form that it counts. Operations of
    other libraries than torch and torchvision are noted wherever they have no rule: what they do is not known.

    Attributes:
        part: In which part of the module calls happen from now on; whoever runs it sets this.
        calls: Calls so far, by name of the operation and part.

    Examples:
        >>> with UncountedOps() as uncounted:
        ...     uncounted.part = "mixer"
        ...     spectrum = torch.fft.fft(torch.zeros(8))
        >>> uncounted.calls
        Counter({('fft_r2c', 'mixer'): 1})
    """

    def __init__(self) -> None:
        super().__init__()
        self.part = ""
        self.calls: Counter[tuple[str, str]] = Counter()
        self._rules = {*flop_registry, *rules()}
        self._products: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation's own result."""
        result = func(*args, **(kwargs or {}))
        operation = func._overloadpacket
        namespace, _, name = operation._qualified_op_name.partition("::")
        if name in ("mul", "mul_"):
            self._note_product(result, *args[:2])
        elif name in ("sum", "mean") and args and self._is_dot_product(*args[:2]):
            self.calls[PRODUCT_AND_SUM, self.part] += 1
        elif operation not in self._rules and (name in WITHOUT_RULE or namespace not in FREE_NAMESPACES):
            shown = name.strip("_") if namespace == "aten" else f"{namespace}::{name}"
            self.calls[shown, self.part] += 1
        return result

    def _note_product(self, result: Tensor, a: Any, b: Any) -> None:
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a is not b:  # a square is part of a norm
            self._products[result] = _varying(a, result.ndim), _varying(b, result.ndim)

    def _is_dot_product(self, summed: Tensor, dims: Any = None) -> bool:
        """Whether both factors of a product vary along a dimension that is summed: gates and masks of pixels do not."""
        a, b = self._products.get(summed, ((), ()))
        dims = range(len(a)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
        return any(a[dim] and b[dim] for dim in dims) if a else False


def _varying(factor: Tensor, ndim: int) -> list[bool]:
    """By dimension of a product, whether a factor has more than one value along it."""
    own = [size > 1 and stride != 0 for size, stride in zip(factor.shape, factor.stride(), strict=True)]
    return [False] * (ndim - factor.ndim) + own


def _matrix(a: Shape, *_: Any, **__: Any) -> int:
    """Matrix times vector, or vector times vector: each element of the first is used once."""
    return 2 * prod(a)


def _product(a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    """Matrices, or batches of them."""
    return 2 * prod(a) * b[-1]


def _added(rule: Callable[..., int]) -> Callable[..., int]:
    """The rule behind a first argument that is only added."""
    return lambda _added_to, *factors, **named: rule(*factors, **named)


def _grouped(a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    """A product for each group; where a side has no dimension of groups, its rows or columns are divided among them."""
    groups = a[0] if len(a) == len(b) == 3 else 1
    return 2 * groups * a[-2] * a[-1] * b[-1]


def _packed(a: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """Matrix times a matrix of weights whose own shape is packed."""
    return 2 * prod(a) * out_shape[-1]


def _bilinear(first: Shape, _weights: Shape, second: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """The weights times the second input, then a dot product of each row with the first."""
    return 2 * prod(out_shape) * first[-1] * (second[-1] + 1)


def _conv_tbc(_x: Shape, weights: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """Convolution over time: kernel and input channels for each element of the output."""
    return 2 * prod(out_shape) * weights[0] * weights[1]


def _deform_conv(_x: Shape, weights: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """As a convolution; reading pixels between the grid is interpolation, which is not counted."""
    return 2 * prod(out_shape) * prod(weights[1:])


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Scores, then sums of values: all of them, also where a mask leaves some out."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _embedding_bag(
    weight: Shape, indices: Shape, _offsets: Shape, _scale: bool = False, _mode: int = 0, _sparse: bool = False,
    per_sample_weights: Shape | None = None, *_: Any, **__: Any,
) -> int:  # fmt: skip
    """A weighted sum of rows; without weights only a sum."""
    return 0 if per_sample_weights is None else 2 * prod(indices) * weight[1]
