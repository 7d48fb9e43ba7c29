"""`ReplayedOnCpu`: a stand-in for `StepGraph` that records operators on a CPU, as a CUDA graph records kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Recorder(TorchDispatchMode):
    """Notes each operator with the very tensors it read and wrote, and what those from outside held."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.keep((args, kwargs))
        made = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, made))
        self.known |= {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)}
        return made

    def keep(self, value: Any) -> None:
        """Keep what tensors hold that are seen for the first time; those made within are known."""
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor) and (place := leaf.untyped_storage().data_ptr()) not in self.known:
                self.known.add(place)
                whole = torch.empty(0, dtype=leaf.dtype).set_(leaf.untyped_storage())
                self.before.append((whole, whole.clone()))


class ReplayedOnCpu:
    """As `StepGraph`: recording leaves everything as it was, and a replay reads and writes the tensors of then."""

    def __init__(self, step: Callable[[Tensor], Tensor], example: Tensor, generators: Any = ()) -> None:
        self.given = example.clone()
        drawn_from = [torch.default_generator, *generators]
        states = [generator.get_state() for generator in drawn_from]
        with Recorder() as recorder:
            self.made = step(self.given)
        self.calls = recorder.calls
        with torch.no_grad():
            for tensor, value in recorder.before:
                tensor.copy_(value)
        for generator, state in zip(drawn_from, states, strict=True):
            generator.set_state(state)

    @torch.no_grad()
    def __call__(self, given: Tensor) -> Tensor:
        self.given.copy_(given)
        for func, args, kwargs, made in self.calls:
            again = func(*args, **kwargs)
            if not func.is_view:
                for ours, theirs in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    if isinstance(ours, Tensor) and ours.data_ptr() != theirs.data_ptr():
                        ours.copy_(theirs)
        return self.made.clone()
