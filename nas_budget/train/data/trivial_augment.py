"""TrivialAugment: each image is changed by one random operation of random strength.

The operations and their ranges are the wide ones of Müller and Hutter 2021 (arXiv:2103.10158), table 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import radians

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

MAX_SHEAR, MAX_TRANSLATION, MAX_ROTATION, MAX_FACTOR = 0.99, 1.0, radians(135), 0.99
MIN_BITS = 2
GRAY = (0.299, 0.587, 0.114)

Operation = Callable[[Tensor, Tensor], Tensor]
"""From images, float32 (n, channels, size, size) in 0..255, and strengths, (n,) from -1 to 1, to changed images."""


def trivial_augment(batch: Tensor, generator: torch.Generator) -> Tensor:
    """A batch, uint8 (n, size, size, channels), in which each image has been changed by one operation.

    Each operation gets an equal, contiguous share of the batch, which must be in random order: it then runs once, on
    its share alone, and nothing waits for the device.
    """
    n = len(batch)
    images = batch.permute(0, 3, 1, 2).float()
    strength = 2 * torch.rand(n, device=batch.device, generator=generator) - 1
    start = torch.randint(len(OPERATIONS), ()).item()  # on the CPU; in short batches, too, every operation may come up
    edges = [round(i * n / len(OPERATIONS)) for i in range(len(OPERATIONS) + 1)]
    changed = [
        OPERATIONS[(int(start) + i) % len(OPERATIONS)](images[low:high], strength[low:high])
        for i, (low, high) in enumerate(pairwise(edges))
        if low < high
    ]
    return torch.cat(changed).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _same(images: Tensor, _strength: Tensor) -> Tensor:
    return images


def _warp(entries: Callable[[Tensor], Mapping[tuple[int, int], Tensor]]) -> Operation:
    """An affine map of coordinates, by the entries of its 2 x 3 matrix that are not the identity's; black outside."""

    def operation(images: Tensor, strength: Tensor) -> Tensor:
        theta = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
        for (row, column), values in entries(strength).items():
            theta[:, row, column] = values
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="nearest", align_corners=False)

    return operation


def _blend(other: Callable[[Tensor], Tensor]) -> Operation:
    """`other` images at strength -1, the images themselves at 0, extrapolated beyond them at 1."""

    def operation(images: Tensor, strength: Tensor) -> Tensor:
        factor = (1 + MAX_FACTOR * strength)[:, None, None, None]
        base = other(images)
        return base + factor * (images - base)

    return operation


def _rotation(strength: Tensor) -> dict[tuple[int, int], Tensor]:
    cos, sin = (MAX_ROTATION * strength).cos(), (MAX_ROTATION * strength).sin()
    return {(0, 0): cos, (0, 1): -sin, (1, 0): sin, (1, 1): cos}


def _gray(images: Tensor) -> Tensor:
    if images.shape[1] != len(GRAY):
        return images.mean(1, keepdim=True)
    red, green, blue = images.split(1, 1)  # weights of their own on a GPU would have to be waited for
    gray: Tensor = GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue
    return gray


def _smooth(images: Tensor) -> Tensor:
    # Pillow's SMOOTH filter: the center weighs 5 of 13. It is computed, as an assigned 5 would be waited for on a GPU.
    kernel = 1 + 4 * (torch.arange(9, device=images.device) == 4)
    channels = images.shape[1]
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, (kernel / 13).view(3, 3).expand(channels, 1, 3, 3), groups=channels)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    bits = 8 - (strength.abs() * (8 - MIN_BITS)).round()
    # Pillow clears the low bits; floating-point floor does the same for a number of bits per image.
    step = (2 ** (8 - bits))[:, None, None, None]
    return (images / step).floor() * step


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    limit = 255 * (1 - strength.abs())[:, None, None, None]
    return torch.where(images >= limit, 255 - images, images)


def _autocontrast(images: Tensor, _strength: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    # A channel of one value stays, as in Pillow; the clamp only avoids a division by 0.
    stretched = (images - low) * 255 / (high - low).clamp(min=1)
    return torch.where(high > low, stretched, images)


def _equalize(images: Tensor, _strength: Tensor) -> Tensor:
    """Each channel with its values spread so that all are about equally frequent."""
    n, channels, height, width = images.shape
    flat = images.flatten(2).round().long()
    # Whole numbers: torch refuses cumulative sums of others on a GPU where the algorithms are to be deterministic.
    counts = torch.zeros(n, channels, 256, dtype=torch.int32, device=images.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat, dtype=torch.int32))
    # Pillow's formula: a step is the mean count of a level without those of the brightest one.
    places = torch.arange(256, device=images.device)
    last = torch.where(counts > 0, places, -1).amax(2, keepdim=True)
    step = ((height * width - counts.gather(2, last)) / 255).floor()
    before = counts.cumsum(2) - counts
    spread = ((before + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(0, 255)
    table = torch.where(step > 0, spread, places.float())
    return table.gather(2, flat).view(n, channels, height, width)


_shear_x = _warp(lambda strength: {(0, 1): MAX_SHEAR * strength})
_shear_y = _warp(lambda strength: {(1, 0): MAX_SHEAR * strength})
_translate_x = _warp(lambda strength: {(0, 2): 2 * MAX_TRANSLATION * strength})
_translate_y = _warp(lambda strength: {(1, 2): 2 * MAX_TRANSLATION * strength})
_rotate = _warp(_rotation)
_brightness = _blend(torch.zeros_like)
_color = _blend(_gray)
_contrast = _blend(lambda images: _gray(images).mean((2, 3), keepdim=True))
_sharpness = _blend(_smooth)

OPERATIONS: tuple[Operation, ...] = (
    _same, _shear_x, _shear_y, _translate_x, _translate_y, _rotate, _brightness, _color, _contrast, _sharpness,
    _posterize, _solarize, _autocontrast, _equalize,
)  # fmt: skip
