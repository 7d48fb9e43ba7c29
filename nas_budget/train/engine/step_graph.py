"""`StepGraph`: a training step recorded as a CUDA graph; what is needed to try one and go back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class StepGraph:
    """A function on a GPU recorded as a CUDA graph, which one launch replays with other values.

    Recording runs nothing on the device. What the function reads must stay where it is, what changes from call to call
    must come from its argument or from a generator, and nothing in it may wait for the device. Its kernels use the
    memory that they were recorded with. All graphs of a process and device share that memory, so a result is taken
    before another one is replayed.

    Args:
        step: From a tensor to a tensor.
        example: An argument of the shape and type that all have.
        generators: What the step draws from, beside torch's global generator of the device.
    """

    def __init__(
        self, step: Callable[[Tensor], Tensor], example: Tensor, generators: Iterable[torch.Generator] = ()
    ) -> None:
        self.given = example.clone()
        self.graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self.graph.register_generator_state(generator)
        with torch.cuda.device(example.device):  # torch records on the current device, whatever the tensors are on
            pool, stream = _shared(example.device)
            # Other threads, such as one that draws progress, may call CUDA meanwhile.
            with torch.cuda.graph(self.graph, pool, stream, "thread_local"):
                self.made = step(self.given)

    def __call__(self, given: Tensor) -> Tensor:
        """What the step makes of other values."""
        self.given.copy_(given)
        self.graph.replay()
        return self.made.clone()  # the next replay overwrites it


@cache
def _shared(device: torch.device) -> tuple[Any, Any]:
    """The memory and the stream of all graphs on a device."""
    return torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)


def rewinder(
    network: nn.Module, optimizers: Sequence[Optimizer], scaler: torch.amp.GradScaler,
    generators: Sequence[torch.Generator],
) -> Callable[[], None]:  # fmt: skip
    """What brings a training back to where it is now: weights, statistics, optimizers, loss scale and generators.

    Each tensor stays where it is, and gradients are gone.
    """
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    found = [*network.state_dict().values(), *(value for state in states for value in state.values())]
    # A recorded step reads the scaler's own tensors, so that they are set and not replaced.
    found += [getattr(scaler, name, None) for name in ("_scale", "_growth_tracker")]
    kept = [(value, value.clone()) for value in found if isinstance(value, Tensor)]
    drawn = [(generator, generator.get_state()) for generator in generators]

    @torch.no_grad()
    def rewind() -> None:
        network.zero_grad()
        for tensor, value in kept:
            tensor.copy_(value)
        for generator, state in drawn:
            generator.set_state(state)

    return rewind


def distance(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """The root of the summed squares of all differences, a scalar on the device."""
    found: Tensor = torch.stack(torch._foreach_norm(torch._foreach_sub(ours, theirs))).norm()
    return found
