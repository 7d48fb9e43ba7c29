"""A network with all that trains it, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.train.data.augment import Augmentation
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.device import autocast, is_out_of_memory, seeded
from nas_budget.train.optim.ema import WeightEMA
from nas_budget.train.optim.lr_schedule import pace
from nas_budget.train.optim.optimizers import make_optimizers, set_pace
from nas_budget.train.optim.recipe import Recipe


class Trainer:
    """A network under training.

    Args:
        network: What to train, in place; it is moved to the device of the images.
        images: Images to learn from and to measure on.
        recipe: How.
        seed: Of all chance.
        precision: "fp32", "bf16" or "fp16".

    Attributes:
        n_steps: Steps of an epoch.
        done: Steps taken in all.
        micro_batches: In how many parts a batch is computed; more than 1 where memory did not suffice.
        learning_rate: Of the last step.
        is_recorded: Whether passes are replayed from a CUDA graph, which has one size of batch.
        ema: The EMA weights; None where the recipe has none.
    """

    def __init__(
        self, network: nn.Module, images: SplitImages, recipe: Recipe, seed: int = 0, precision: str = "fp32"
    ) -> None:
        self.device = images.mean.device
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.images, self.recipe, self.seed, self.precision = network, images, recipe, seed, precision
        self.compute: Any = network
        self.batch_size = min(recipe.batch_size, len(images.train))
        self.n_steps = len(images.train) // self.batch_size
        self.augmentation = Augmentation(images, recipe, seed)
        self.optimizers = make_optimizers(network, recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        steps_in_all = self.n_steps * recipe.epochs
        self.ema = WeightEMA(network, recipe.ema * steps_in_all) if recipe.ema else None
        self.done, self.micro_batches, self.learning_rate, self.is_recorded = 0, 1, 0.0, False

    def compile(self) -> None:
        """Have the network compiled at its first step, and end with an error where torch would compute without."""
        self.compute = torch.compile(self.network, fullgraph=True)

    def record(self) -> None:
        """Have forward and backward pass of a whole batch recorded as a CUDA graph, which replays without launches.

        Worth it where the GPU waits for the host: small networks, small batches. It needs memory of its own.
        """
        _, size, _, channels = self.images.train.images.shape
        sample = torch.zeros(self.batch_size, channels, size, size, device=self.device)
        sample = sample.to(memory_format=torch.channels_last)
        self.is_recorded = True
        before = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.train()
        with seeded(self.device, self.seed), autocast(self.device, self.precision):
            self.compute = torch.cuda.make_graphed_callables(self.network, (sample,))
        self.network.load_state_dict(before)  # recording ran it on blank images, which batch norm has seen
        self._forget()

    def begin(self, epoch: int) -> Iterator[Tensor]:
        """The batches of an epoch, as indices of images; what is left over by whole batches is left out."""
        order = self.augmentation.begin(epoch)
        yield from order[: self.n_steps * self.batch_size].split(self.batch_size)

    def step(self, chosen: Tensor) -> Tensor:
        """Learn from the images of these indices; the loss on them, a scalar on the device.

        Where memory does not suffice the batch is computed in twice as many parts, whose gradients are added, from
        then on.
        """
        now = pace(self.recipe, self.done, self.n_steps * self.recipe.epochs)
        set_pace(self.optimizers, now)
        pictures, targets = self.augmentation.batch(chosen)
        loss = self._gradients(pictures, targets)
        self._update()
        self.done += 1
        self.learning_rate = self.recipe.learning_rate * now.rate
        if self.ema:
            self.ema.update(self.done - 1)
        return loss

    def _gradients(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """Gradients of the mean loss, in as many parts as needed."""
        while True:
            try:
                pairs = zip(pictures.chunk(self.micro_batches), targets.chunk(self.micro_batches), strict=True)
                return torch.stack([self._part(*pair, len(pictures)) for pair in pairs]).sum()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.micro_batches >= len(pictures) // 2 or self.is_recorded:
                    raise
            self.micro_batches *= 2
            self._forget()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _part(self, pictures: Tensor, targets: Tensor, n: int) -> Tensor:
        """Add a part's gradients to those that are there; its share of the mean loss of `n` images."""
        with autocast(self.device, self.precision):
            scores = self.compute(pictures)
            loss = F.cross_entropy(scores, targets, label_smoothing=self.recipe.label_smoothing)
        share = loss * (len(pictures) / n)
        self.scaler.scale(share).backward()
        return share.detach()

    def _update(self) -> None:
        if self.recipe.clip_value:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_value_(self.network.parameters(), self.recipe.clip_value)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self._forget()

    def _forget(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
