"""TrivialAugment: each image is changed in one random way, by a random strength.

The ways and their strengths are the wide ones of Müller and Hutter 2021 (arXiv:2103.10158), table 7.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import radians

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

MOST_SHEAR, MOST_SHIFT, MOST_TURN, MOST_FACTOR = 0.99, 1.0, radians(135), 0.99
LEAST_BITS = 2
GREY = (0.299, 0.587, 0.114)


def trivial_augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """A batch in which each image has been changed in one way of its own.

    The ways are dealt out in equal shares to stretches of the batch, which must be in random order: each way
    then runs once, on its stretch alone, and nothing waits for the device.

    Args:
        pictures: uint8 (n, size, size, channels).
        generator: Source of chance, on the device of the images.

    Returns:
        The same shape and type.
    """
    n = len(pictures)
    images = pictures.permute(0, 3, 1, 2).float()
    strength = 2 * torch.rand(n, device=pictures.device, generator=generator) - 1
    start = torch.randint(len(WAYS), ()).item()  # on the CPU: of short batches, too, each way gets its share
    edges = [round(i * n / len(WAYS)) for i in range(len(WAYS) + 1)]
    changed = [
        WAYS[(int(start) + i) % len(WAYS)](images[low:high], strength[low:high])
        for i, (low, high) in enumerate(pairwise(edges))
        if low < high
    ]
    return torch.cat(changed).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _same(images: Tensor, _strength: Tensor) -> Tensor:
    return images


def _moved(images: Tensor, rows: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]) -> Tensor:
    """Images seen through an affine map of their places, (n, 2, 3), black outside."""
    theta = torch.stack([torch.stack(row, -1) for row in rows], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)


def _shear_x(images: Tensor, strength: Tensor) -> Tensor:
    one, none = torch.ones_like(strength), torch.zeros_like(strength)
    return _moved(images, ((one, MOST_SHEAR * strength, none), (none, one, none)))


def _shear_y(images: Tensor, strength: Tensor) -> Tensor:
    one, none = torch.ones_like(strength), torch.zeros_like(strength)
    return _moved(images, ((one, none, none), (MOST_SHEAR * strength, one, none)))


def _shift_x(images: Tensor, strength: Tensor) -> Tensor:
    one, none = torch.ones_like(strength), torch.zeros_like(strength)
    return _moved(images, ((one, none, 2 * MOST_SHIFT * strength), (none, one, none)))


def _shift_y(images: Tensor, strength: Tensor) -> Tensor:
    one, none = torch.ones_like(strength), torch.zeros_like(strength)
    return _moved(images, ((one, none, none), (none, one, 2 * MOST_SHIFT * strength)))


def _turn(images: Tensor, strength: Tensor) -> Tensor:
    angle = MOST_TURN * strength
    none = torch.zeros_like(strength)
    return _moved(images, ((angle.cos(), -angle.sin(), none), (angle.sin(), angle.cos(), none)))


def _blend(images: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    """From `other` (strength -1) over the images themselves (0) to beyond them (1)."""
    factor = (1 + MOST_FACTOR * strength)[:, None, None, None]
    return other + factor * (images - other)


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), strength)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != len(GREY):
        return images.mean(1, keepdim=True)
    red, green, blue = images.split(1, 1)  # weights of their own on a GPU would have to be waited for
    grey: Tensor = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    return grey


def _colour(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(images, _grey(images), strength)


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(images, _grey(images).mean((2, 3), keepdim=True), strength)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5
    channels = images.shape[1]
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(padded, (kernel / 13).expand(channels, 1, 3, 3), groups=channels)
    return _blend(images, smooth, strength)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    bits = 8 - (strength.abs() * (8 - LEAST_BITS)).round()
    step = (2 ** (8 - bits))[:, None, None, None]
    return (images / step).floor() * step


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    limit = 255 * (1 - strength.abs())[:, None, None, None]
    return torch.where(images >= limit, 255 - images, images)


def _autocontrast(images: Tensor, _strength: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - low) * 255 / (high - low).clamp(min=1)
    return torch.where(high > low, stretched, images)


def _equalize(images: Tensor, _strength: Tensor) -> Tensor:
    """Each channel with its values spread so that all are about equally frequent."""
    n, channels, height, width = images.shape
    flat = images.flatten(2).round().long()
    counts = torch.zeros(n, channels, 256, device=images.device).scatter_add_(
        2, flat, torch.ones_like(flat, dtype=torch.float)
    )
    places = torch.arange(256, device=images.device)
    last = torch.where(counts > 0, places, -1).amax(2, keepdim=True)
    step = ((height * width - counts.gather(2, last)) / 255).floor()
    before = counts.cumsum(2) - counts
    spread = ((before + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(0, 255)
    table = torch.where(step > 0, spread, places.float())
    return table.gather(2, flat).view(n, channels, height, width)


WAYS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _same, _shear_x, _shear_y, _shift_x, _shift_y, _turn, _brightness, _colour, _contrast, _sharpness, _posterize,
    _solarize, _autocontrast, _equalize,
)  # fmt: skip
