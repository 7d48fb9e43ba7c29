"""`Trainer`: a network with its optimizers and augmentation, trained one batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from nas_budget.train.data.augment import Augmentation
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.device import (
    PRECISIONS,
    CastTogether,
    autocast,
    free_memory,
    is_out_of_memory,
    memory_format,
    wait_for,
)
from nas_budget.train.engine.step_graph import StepGraph, distance, rewinder
from nas_budget.train.optim.ema import WeightEMA
from nas_budget.train.optim.lr_schedule import lr_schedule
from nas_budget.train.optim.optimizers import make_optimizers, set_schedule
from nas_budget.train.optim.recipe import Recipe

Graph: TypeAlias = bool | Literal["auto"]
"""Whether steps are replayed from a CUDA graph; "auto": on a CUDA device, where that is faster."""
N_WARM_UP = 3
"""Steps before one is recorded: libraries choose algorithms and optimizers make their state in them."""


class Trainer:
    """Trains a network in place, one step at a time; `train` runs it for all epochs of a recipe.

    Where memory does not suffice for a batch, the batch is split into micro-batches whose gradients are added, and
    so are all batches after it. The loss stays the mean over the batch, but batch norm sees one micro-batch at a time.

    Args:
        network: The network; it is moved to the device of the images, channels last but on Apple's GPUs.
        images: Images to train on and to validate on.
        recipe: Optimizer, schedule, augmentation and batch size.
        seed: Fixes the order of the images and their augmentation.
        precision: Number format of the forward pass: "fp32", "bf16" or "fp16".

    Attributes:
        n_steps: Steps of an epoch; `done` counts those taken in all.
        micro_batches: In how many parts a batch is computed; more than 1 where memory did not suffice.
        learning_rate: Of the last step.
        ema: The EMA weights; None where the recipe has none.
        is_recorded: Whether steps are replayed from a CUDA graph, or will be.
        not_recorded: Why they are not although that was asked for; empty else.

    Examples:
        >>> from nas_budget import ResNetSpec, build
        >>> from nas_budget.train.data.split import split_images
        >>> from nas_budget.train.data.synthetic import synthetic
        >>> images = split_images(synthetic(n_train=84), torch.device("cpu"), n_train=64, n_validation=20)
        >>> trainer = Trainer(build(ResNetSpec((4, 8), blocks=1)), images, Recipe(batch_size=32, epochs=1))
        >>> losses = [trainer.step(indices).item() for indices in trainer.begin(epoch=1)]
        >>> trainer.n_steps, trainer.done, len(losses)
        (2, 2, 2)
    """

    def __init__(
        self, network: nn.Module, images: SplitImages, recipe: Recipe, seed: int = 0, precision: str = "fp32"
    ) -> None:
        self.device = images.mean.device
        network.to(self.device, memory_format=memory_format(self.device))  # type: ignore[call-overload]
        self.network, self.images, self.recipe, self.seed, self.precision = network, images, recipe, seed, precision
        self.compute: Any = network
        self.convolutions = _convolutions(network) if precision != "fp32" else {}
        self.batch_size = min(recipe.batch_size, len(images.train))
        self.n_steps = len(images.train) // self.batch_size
        self.augmentation = Augmentation(images, recipe, seed)
        self.optimizers = make_optimizers(network, recipe)
        self.scaler = self._new_scaler()
        total_steps = self.n_steps * recipe.epochs
        self.ema = WeightEMA(network, recipe.ema * total_steps) if recipe.ema else None
        self.done, self.micro_batches, self.learning_rate = 0, 1, 0.0
        self.is_recorded, self.not_recorded = False, ""
        self.only_if_faster, self.eager_s = False, inf
        self.graph: StepGraph | None = None
        self.recorded_gradients: list[Tensor | None] = []
        self.n_warm = 0

    def compile(self) -> None:
        """Compile the network at its first step; what torch cannot compile whole is an error there."""
        self.compute = torch.compile(self.network, fullgraph=True)

    def record(self, graphed: Graph = True) -> None:
        """Have the whole step recorded as a CUDA graph after a few steps, and replayed from then on.

        The first replay is compared with a step that is not recorded; if the numbers differ nothing is replayed. With
        "auto" both are timed as well, and the faster one stays; on other devices than CUDA's nothing is recorded then.
        A graph pays where the GPU waits for the host: small networks, small batches. A fused kernel cannot take
        momentum from the device, so where the schedule changes it the optimizer's own few launches follow the graph.
        """
        self.only_if_faster = graphed == "auto"
        self.is_recorded = self.device.type == "cuda" if self.only_if_faster else bool(graphed)
        if not self.is_recorded:
            return
        if self.updates_in_graph:
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = torch.tensor(group["lr"], device=self.device)

    @property
    def updates_in_graph(self) -> bool:
        """Whether the weights are updated in the recorded part of a step."""
        return self.recipe.schedule != "onecycle"

    def begin(self, epoch: int) -> Iterator[Tensor]:
        """The whole batches of an epoch in its random order, as indices of images, int64 (batch_size,)."""
        order = self.augmentation.begin(epoch)
        yield from order[: self.n_steps * self.batch_size].split(self.batch_size)

    def step(self, indices: Tensor) -> Tensor:
        """Take one optimizer step on the images of these indices; their mean loss, a scalar on the device."""
        now = lr_schedule(self.recipe, self.done, self.n_steps * self.recipe.epochs)
        set_schedule(self.optimizers, now)
        if self.graph:
            loss = self._replay(indices)
        else:
            replayed = self._record(indices) if self.is_recorded and self.n_warm >= N_WARM_UP else None
            loss, seconds = self._timed(self._eager, indices)
            self.eager_s = min(seconds, self.eager_s) if self.n_warm else inf  # the first one chooses algorithms
            self.n_warm += 1
            if replayed:
                self._compare(*replayed, loss)
        self.done += 1
        self.learning_rate = self.recipe.learning_rate * now.lr_factor
        if self.ema:
            self.ema.update(self.done - 1)
        return loss

    def _eager(self, indices: Tensor) -> Tensor:
        """Take a step kernel by kernel; its mean loss."""
        loss = self._gradients(*self.augmentation.batch(indices))
        self._update()
        return loss

    def _timed(self, step: Callable[[Tensor], Tensor], indices: Tensor) -> tuple[Tensor, float]:
        """The loss of a step, and its seconds; infinite where they do not matter, as to time it is to wait for it."""
        if not (self.is_recorded and self.only_if_faster):
            return step(indices), inf
        wait_for(self.device)
        start = time.perf_counter()
        loss = step(indices)
        wait_for(self.device)
        return loss, time.perf_counter() - start

    def _record(self, indices: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, float] | None:
        """Record the step, and try it: weights before and after it, its loss, its seconds.

        All is then as it was before. None where a step cannot be recorded, or not in so few micro-batches.
        """
        generators = [torch.default_generator, self.augmentation.generator]
        if self.device.type == "cuda":
            generators.append(torch.cuda.default_generators[self.device.index or 0])
        rewind = rewinder(self.network, self.optimizers, self.scaler, generators)
        before = [parameter.detach().clone() for parameter in self.network.parameters()]
        try:
            self.graph = StepGraph(self._whole, indices, [self.augmentation.generator])
            self.recorded_gradients = [parameter.grad for parameter in self.network.parameters()]
            rewind()  # what the host drew
            loss = self._replay(indices)
            after = [parameter.detach().clone() for parameter in self.network.parameters()]
            # The first replay has loaded the graph.
            seconds = self._timed(self._replay, indices)[1] if self.only_if_faster else inf
        except (RuntimeError, MemoryError) as error:
            self.graph = None
            lacks_memory = any(is_out_of_memory(each) for each in (error, error.__context__) if each)
            if lacks_memory and self._can_split() and not self.only_if_faster:
                self._split()
            else:
                self._do_not_record((str(error).splitlines() or [type(error).__name__])[0])
            rewind()
            state, self.scaler = self.scaler.state_dict(), self._new_scaler()  # the other is in the middle of a step
            self.scaler.load_state_dict(state)
            return None
        rewind()
        return before, after, loss, seconds

    def _compare(
        self, before: list[Tensor], replayed: list[Tensor], replayed_loss: Tensor, replayed_s: float, loss: Tensor
    ) -> None:
        """Keep the recorded step only if it did what the step that was not recorded has done since, and as fast."""
        now = [parameter.detach() for parameter in self.network.parameters()]
        off, way = distance(now, replayed).item(), distance(now, before).item()
        # Kernels that add in any order make small differences, which Muon enlarges.
        if abs(replayed_loss.item() - loss.item()) > 0.01 * abs(loss.item()) or off > 0.5 * way:
            self.graph = None
            self._do_not_record("a recorded step gave other numbers")
        elif self.only_if_faster and replayed_s >= self.eager_s:
            self.graph = None
            self._do_not_record("")  # nobody has asked for it, so there is nothing to say

    def _do_not_record(self, why: str) -> None:
        self.is_recorded, self.not_recorded = False, why

    def _replay(self, indices: Tensor) -> Tensor:
        """Take a step by the graph; its mean loss."""
        assert self.graph  # noqa: S101 - it was recorded
        loss = self.graph(indices)
        if not self.updates_in_graph:
            for parameter, gradient in zip(self.network.parameters(), self.recorded_gradients, strict=True):
                parameter.grad = gradient
            self._update()
        return loss

    def _whole(self, indices: Tensor) -> Tensor:
        """What is recorded of a step; its mean loss."""
        loss = self._passes(*self.augmentation.batch(indices))
        if self.updates_in_graph:
            self._update()
        return loss

    def _gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, whose gradients are computed in twice as many micro-batches whenever memory lacks."""
        while True:
            try:
                return self._passes(inputs, targets)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._can_split():
                    raise
            self._split()

    def _can_split(self) -> bool:
        return self.micro_batches < self.batch_size // 2

    def _split(self) -> None:
        """Compute batches in twice as many parts from now on."""
        self.micro_batches *= 2
        self.n_warm = 0
        self.network.zero_grad()
        free_memory(self.device)

    def _passes(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Forward and backward pass of all micro-batches; the mean loss."""
        pairs = zip(inputs.chunk(self.micro_batches), targets.chunk(self.micro_batches), strict=True)
        return torch.stack([self._micro_batch(*pair, len(inputs)) for pair in pairs]).sum()

    def _micro_batch(self, inputs: Tensor, targets: Tensor, n: int) -> Tensor:
        """Add a micro-batch's gradients to those that are there; its share of the mean loss of `n` images."""
        with autocast(self.device, self.precision):
            logits = self._logits(inputs)
            loss = F.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)
        share = loss * (len(inputs) / n)
        self.scaler.scale(share).backward()
        return share.detach()

    def _logits(self, inputs: Tensor) -> Any:
        """What the network makes of images."""
        if self.compute is not self.network or not self.convolutions:
            return self.compute(inputs)  # a compiled network casts within its kernels
        cast = CastTogether.apply(PRECISIONS[self.precision], *self.convolutions.values())
        weights = dict(zip(self.convolutions, cast, strict=True))
        return functional_call(self.network, weights, (inputs,), tie_weights=False)

    def _update(self) -> None:
        if self.recipe.clip_value:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_value_(self.network.parameters(), self.recipe.clip_value, foreach=True)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.network.zero_grad()

    def _new_scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def _convolutions(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolutions, by name, which `autocast` would cast one by one."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    names = [f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    return {name: parameters[name] for name in names if name in parameters}
