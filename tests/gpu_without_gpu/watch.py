"""`Watch`: the operators that code runs on a fake GPU, and what in them waits, copies between devices or is refused."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import nas_budget

PACKAGE = Path(nas_budget.__file__).parent
WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal", "is_nonzero",
    "repeat_interleave",
}  # fmt: skip
"""Operators whose result, or its size, the host has to know."""
INDEXED = {"index", "index_put", "index_put_", "_unsafe_index"}
COPIES = {"_to_copy", "copy_", "_copy_from"}
NO_KERNEL = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "alias", "set_", "resize_",
    "_reshape_alias", "_unsafe_view", "lift_fresh", "is_same_size", "prim::device", "_has_compatible_shallow_copy_type",
}  # fmt: skip
REFUSED = {
    "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "max_unpool2d",
    "upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_linear1d_backward",
    "reflection_pad2d_backward", "grid_sampler_2d_backward", "nll_loss2d_forward", "histc", "put_", "median",
    "kthvalue", "_ctc_loss_backward", "fractional_max_pool2d_backward",
}  # fmt: skip
"""What `torch.use_deterministic_algorithms` names as refused on a GPU; those that depend on arguments are in code."""


class Watch(TorchDispatchMode):
    """Notes every operator while it is entered, inside a `FakeTensorMode`.

    Attributes:
        operators: Those that start a kernel, in order: name, shapes and types of tensors, and the numbers given.
        faults: Waits, transfers, operands on two devices, refused operators, float64 and random numbers of the host,
            each with the function of ours.
        devices: Where results lay.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[str, str, tuple[Any, ...]]] = []
        self.patched = patch.object(torch.cuda, "synchronize", lambda *_: self.fault("waits for synchronize"))
        self.faults: list[str] = []
        self.devices: set[str] = set()

    def __enter__(self) -> Watch:
        self.patched.start()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self.patched.stop()
        super().__exit__(*error)

    def counts(self, start: int = 0) -> Counter[str]:
        """How often each operator ran, from the one of this number on."""
        return Counter(name for name, _, _ in self.operators[start:])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        leaves = tree_leaves((args, kwargs))
        given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        places = {tensor.device.type for tensor in given}
        if name == "_local_scalar_dense":
            if "cuda" in places:
                self.fault(f"waits for {name}")
            return 0.0  # a fake has no value
        out = self.called(func, name, args, kwargs)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        places |= {tensor.device.type for tensor in made}
        if torch.Tag.nondeterministic_seeded in func.tags and "cuda" not in places:
            self.fault(f"draws on the host by {name}")
        if "cuda" not in places:
            return out
        if any(t.dtype == torch.float64 and t.device.type == "cuda" for t in made):
            self.fault(f"makes float64 by {name}")  # which Apple's GPUs do not have
        self.devices |= {str(tensor.device) for tensor in made if tensor.device.type == "cuda"}
        for fault in self.faults_of(name, args, given, places):
            self.fault(fault)
        if not func.is_view and name not in NO_KERNEL:
            shapes = " ".join(f"{str(t.dtype)[6:]}{[*t.shape]}" for t in (*given, *made))
            self.operators.append((name, shapes, tuple(leaf for leaf in leaves if isinstance(leaf, int | float))))
        return out

    def called(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """The operator's result; some of those on lists have no shapes of their own in torch."""
        try:
            return func(*args, **kwargs)
        except (AssertionError, NotImplementedError, RuntimeError):
            if not name.startswith(("_foreach_", "_fused_", "_amp_")):
                raise
            return None if name.endswith("_") else [torch.empty_like(tensor) for tensor in args[0]]

    def faults_of(self, name: str, args: Any, given: list[Tensor], places: set[str]) -> Iterator[str]:
        """What is wrong with an operator, in words."""
        if name in WAITS:
            yield f"waits for {name}"
        if name in INDEXED and any(t.dtype in (torch.bool, torch.uint8) for t in given[1:]):
            yield f"waits for {name} by a mask"
        if len(places) > 1:
            yield f"{'copies' if name in COPIES else 'mixes'} between {' and '.join(sorted(places))} in {name}"
        floating = bool(given) and given[0].is_floating_point()
        if name in REFUSED or (name == "cumsum" and floating) or (name == "bincount" and len(given) > 1):
            yield f"refused when deterministic: {name}"

    def fault(self, what: str) -> None:
        """Note a fault, with the innermost function of the package."""
        for frame in reversed(traceback.extract_stack()):
            if Path(frame.filename).is_relative_to(PACKAGE):
                place = Path(frame.filename).relative_to(PACKAGE).with_suffix("").as_posix()
                self.faults.append(f"{what}, {place}:{frame.name}")
                return
        self.faults.append(what)
