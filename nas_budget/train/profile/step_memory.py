"""How much memory a training step takes, counted before anything is computed; how much there is for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import AnySpec
from nas_budget.memory import free_bytes
from nas_budget.train.engine.device import autocast
from nas_budget.train.engine.model import build
from nas_budget.train.optim.recipe import Recipe
from nas_budget.train.profile.time_model import elements_of

N_IMAGES = 4
"""Images of the step that is counted; each takes the same in a batch of any size."""
N_STATES = {"adam": 2}
"""Numbers that an optimizer keeps for a parameter, where it is not one."""
GPU_CONTEXT = 700 * 1024**2
"""Bytes that a process takes of a GPU before its first tensor: CUDA's context and the workspace of its libraries."""
PROCESS = 600 * 1024**2
"""Bytes that a worker takes of a CPU's memory beside its steps."""


def step_bytes(spec: AnySpec, recipe: Recipe, precision: str = "fp32") -> int:
    """Bytes of the tensors of a training step of the recipe's batch, at their peak, 15 % too many to 5 % too few.

    They are weights, gradients, what optimizer and EMA keep, what the backward pass needs of the forward pass, and the
    gradient under way. The scratch that a library takes for a convolution is not among them.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> small, large = (step_bytes(ResNetSpec((8, 16)), Recipe(batch_size=n)) for n in (32, 64))
        >>> 1.9 < large / small < 2
        True
    """
    return _bytes(spec, recipe, _bytes_of_image(spec, precision))


def step_bytes_of_each(specs: Sequence[AnySpec], recipe: Recipe, precision: str = "fp32") -> list[int]:
    """The same of many networks: counted of that whose layers write most, and of the others in proportion."""
    largest = max(specs, key=elements_of)
    per_element = _bytes_of_image(largest, precision) / max(1, elements_of(largest))
    return [_bytes(spec, recipe, per_element * elements_of(spec)) for spec in specs]


def room_for_steps(device: torch.device, n_workers: int) -> int:
    """Bytes that the tensors of each of so many workers may take on this device.

    Of a GPU that is its whole memory: what other programs hold there is not asked, as asking would hold some as well.
    """
    if device.type == "cuda":
        n_sharing = -(-n_workers // max(1, torch.cuda.device_count()))
        return torch.cuda.get_device_properties(device).total_memory // n_sharing - GPU_CONTEXT
    return max(0, free_bytes() // n_workers - (PROCESS if n_workers > 1 else 0))


def _bytes(spec: AnySpec, recipe: Recipe, per_image: float) -> int:
    copies = 2 + N_STATES.get(recipe.optimizer, 1) + bool(recipe.ema)
    return 4 * cost(spec).params * copies + round(recipe.batch_size * per_image)


@lru_cache(maxsize=4_096)
def _bytes_of_image(spec: AnySpec, precision: str) -> int:
    """What an image takes in a step: counted on tensors that have shapes and no numbers."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dim() and len(tensor) == N_IMAGES:  # else it is of the weights
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # or another storage would have its address
        return tensor

    alive: list[Tensor] = []
    with FakeTensorMode():
        network = build(spec).train()
        weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
        images = torch.zeros(N_IMAGES, spec.in_channels, spec.image_size, spec.image_size)
        with saved_tensors_hooks(keep, lambda tensor: tensor), autocast(images.device, precision):
            F.cross_entropy(network(images), torch.zeros(N_IMAGES, dtype=torch.int64))
    sizes = [n_bytes for address, n_bytes in kept.items() if address not in weights]
    return (sum(sizes) + max(sizes)) // N_IMAGES
