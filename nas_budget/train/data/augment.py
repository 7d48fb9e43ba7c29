"""Augmentation of whole batches where the images lie: crop, flip, cutout, CutMix and TrivialAugment.

Images are uint8 (n, size, size, channels). A generator is on their device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from nas_budget.train.data.split import SplitImages, normalized
from nas_budget.train.data.trivial_augment import trivial_augment
from nas_budget.train.optim.recipe import Recipe

FLIP_SEED = 7_919


class Augmentation:
    """Makes batches of the training images, augmented as a recipe says.

    Order, crops, flips and all other random numbers follow from seed and epoch, so that a training can resume at any
    epoch.

    Examples:
        >>> from nas_budget.train.data.split import split_images
        >>> from nas_budget.train.data.synthetic import synthetic
        >>> images = split_images(synthetic(60), torch.device("cpu"), 40, 20)
        >>> augmentation = Augmentation(images, Recipe(cutmix=0.5), seed=0)
        >>> inputs, targets = augmentation.batch(augmentation.begin(epoch=1)[:8])
        >>> inputs.shape, targets.shape
        (torch.Size([8, 3, 32, 32]), torch.Size([8, 10]))
    """

    def __init__(self, images: SplitImages, recipe: Recipe, seed: int) -> None:
        self.images, self.recipe, self.seed = images, recipe, seed
        self.generator = torch.Generator(images.mean.device)
        self.mirrored: Tensor | None = None

    def begin(self, epoch: int) -> Tensor:
        """Begin an epoch; the order in which it goes through the images, int64 (n,)."""
        n, device = len(self.images.train), self.images.mean.device
        if self.recipe.flip != "none":
            # "alternate" draws the same half in every epoch and inverts it in odd ones: an image is never seen twice
            # in a row from the same side (Jordan 2024, arXiv:2404.00498).
            same = self.recipe.flip == "alternate"
            self.generator.manual_seed(seed_of(self.seed, 0 if same else epoch) + FLIP_SEED)
            mirrored = (torch.rand(n, device=device, generator=self.generator) < 0.5) ^ (same and epoch % 2 == 1)
            # In place: a recorded step reads it where it was when it was recorded.
            self.mirrored = mirrored if self.mirrored is None else self.mirrored.copy_(mirrored)
        # Seeded anew, so that the order is the same whether or not the flips were drawn before it.
        self.generator.manual_seed(seed_of(self.seed, epoch))
        return torch.randperm(n, device=device, generator=self.generator)

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The images of indices, augmented and normalized, float32 (n, C, H, W), and their targets.

        Targets are labels, int64 (n,), or, with CutMix, shares of the classes, (n, classes).
        """
        recipe, generator = self.recipe, self.generator
        mirrored = None if self.mirrored is None else self.mirrored[chosen]
        batch = crop_and_flip(self.images.train.images, chosen, recipe.crop_pad, mirrored, generator)
        targets = self.images.train.labels[chosen]
        if recipe.trivial_augment:
            batch = trivial_augment(batch, generator)
        if recipe.cutout:
            batch = cutout(batch, recipe.cutout, self.images.mean, generator)
        if recipe.cutmix:
            batch, targets = cutmix(batch, targets, self.images.n_classes, recipe.cutmix, generator)
        return normalized(batch, self.images), targets


def seed_of(seed: int, epoch: int) -> int:
    """A seed of its own for each epoch of each training."""
    return (seed * 1_000_003 + epoch) % 2**63


def crop_and_flip(
    images: Tensor, chosen: Tensor, pad: int, mirrored: Tensor | None, generator: torch.Generator
) -> Tensor:
    """The chosen images, by index, each shifted at random by at most `pad` pixels, and mirrored if it is so marked.

    Equal to padding by `pad` pixels of reflection and cropping back to size, but one gather does it all.
    """
    n, size, device = len(chosen), images.shape[1], images.device
    # Every image needs shifts of its own; indices of rows and columns let one gather crop, reflect and mirror them all.
    place = torch.arange(size, device=device)
    shifts = torch.randint(-pad, pad + 1, (2, n, 1), device=device, generator=generator)
    rows = _reflect(place + shifts[0], size)
    columns = _reflect(place + shifts[1], size)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def _reflect(place: Tensor, size: int) -> Tensor:
    """Indices outside 0..size-1 folded back at the border, which is not repeated; as `F.pad` with mode "reflect"."""
    last = size - 1
    # The inner absolute value folds at 0, the outer one at the last index.
    return last - (last - place.abs()).abs()


def cutout(batch: Tensor, side: int, mean: Tensor, generator: torch.Generator) -> Tensor:
    """Images with a square of `side` pixels around a random one blanked to the mean of each channel.

    After DeVries and Taylor 2017 (arXiv:1708.04552).
    """
    n, size = batch.shape[:2]
    # Any pixel can be the centre, so a square at the border loses the part of it that lies outside, as in the paper.
    centre = torch.randint(0, size, (2, n), device=batch.device, generator=generator)
    low = centre - side // 2
    inside = _box(low, low + side, size)
    return torch.where(inside[..., None], mean.round().to(torch.uint8), batch)


def cutmix(
    batch: Tensor, labels: Tensor, n_classes: int, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images of which a share have a rectangle of the next one, and targets mixed alike (arXiv:1905.04899).

    The kept share of an image is uniform in 0 to 1 but for what the border cuts off, as in the paper. The batch must be
    in random order. Targets are (n, n_classes) and sum to 1.
    """
    n, size = batch.shape[:2]
    drawn = torch.rand(4, n, device=batch.device, generator=generator)
    # The other image gets the area of a square of side sqrt(1 - kept); kept is uniform, as in the paper.
    half = torch.where(drawn[0] < share, (1 - drawn[1]).sqrt(), 0.0) * size / 2
    centre = drawn[2:] * size
    inside = _box((centre - half).round().long(), (centre + half).round().long(), size)
    mixed = torch.where(inside[..., None], batch.roll(1, 0), batch)
    # The share is counted in pixels: the border may have cut the rectangle off.
    other = inside.float().mean((1, 2))[:, None]
    targets = F.one_hot(labels, n_classes).float()
    return mixed, torch.lerp(targets, targets.roll(1, 0), other)


def _box(low: Tensor, high: Tensor, size: int) -> Tensor:
    """Which pixels lie in rectangles of rows and columns `low` up to, but not, `high`, (2, n); bool (n, size, size)."""
    place = torch.arange(size, device=low.device)
    rows, columns = ((place >= a[:, None]) & (place < b[:, None]) for a, b in zip(low, high, strict=True))
    inside: Tensor = rows[:, :, None] & columns[:, None, :]
    return inside
