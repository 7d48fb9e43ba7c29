"""Each operation of TrivialAugment against Pillow's own operation, or what defines it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from nas_budget.train.data import trivial_augment as trivial
from nas_budget.train.data.synthetic import draw
from nas_budget.train.data.trivial_augment import MAX_FACTOR, OPERATIONS, trivial_augment

IMAGES = torch.from_numpy(draw(12, 3)[0]).permute(0, 3, 1, 2).float()
STRENGTHS = torch.linspace(-1, 1, 12)


def by_pillow(operation: Callable[[Image.Image, float], Image.Image]) -> Tensor:
    made = [
        np.asarray(operation(Image.fromarray(image.permute(1, 2, 0).byte().numpy()), float(strength)))
        for image, strength in zip(IMAGES, STRENGTHS, strict=True)
    ]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    ("way", "operation", "most", "border"),  # within a border whose pixels Pillow leaves as they are
    [
        (trivial._brightness, lambda i, s: ImageEnhance.Brightness(i).enhance(1 + MAX_FACTOR * s), 1, 0),
        (trivial._color, lambda i, s: ImageEnhance.Color(i).enhance(1 + MAX_FACTOR * s), 2, 0),
        (trivial._contrast, lambda i, s: ImageEnhance.Contrast(i).enhance(1 + MAX_FACTOR * s), 2, 0),
        (trivial._sharpness, lambda i, s: ImageEnhance.Sharpness(i).enhance(1 + MAX_FACTOR * s), 2, 1),
        (trivial._posterize, lambda i, s: ImageOps.posterize(i, 8 - round(abs(s) * 6)), 0, 0),
        (trivial._solarize, lambda i, s: ImageOps.solarize(i, 255 * (1 - abs(s))), 0, 0),
        (trivial._autocontrast, lambda i, s: ImageOps.autocontrast(i), 1, 0),
        (trivial._equalize, lambda i, s: ImageOps.equalize(i), 1, 0),
    ],
)
def test_colors_change_as_pillow_changes_them(
    way: Callable[[Tensor, Tensor], Tensor],
    operation: Callable[[Image.Image, float], Image.Image],
    most: float,
    border: int,
) -> None:
    made = way(IMAGES, STRENGTHS).clamp(0, 255).round()
    inner = slice(border, 32 - border)
    assert float((made - by_pillow(operation))[:, :, inner, inner].abs().max()) <= most
    assert not torch.equal(made, IMAGES)


@pytest.mark.parametrize(("way", "dimension"), [(trivial._translate_x, 3), (trivial._translate_y, 2)])
def test_shifts_move_by_whole_images_at_most(way: Callable[[Tensor, Tensor], Tensor], dimension: int) -> None:
    made = way(IMAGES[:2], torch.tensor([0.25, 0.0]))  # a quarter of 32 pixels
    moved, kept = (part.narrow(dimension - 1, *where) for part, where in ((made[0], (0, 24)), (IMAGES[0], (8, 24))))
    assert torch.equal(moved, kept)
    assert float(made[0].narrow(dimension - 1, 24, 8).abs().max()) == 0
    assert torch.equal(made[1], IMAGES[1])
    assert float(way(IMAGES[:1], torch.ones(1)).abs().max()) == 0


def test_a_turn_by_ninety_degrees_is_exact() -> None:
    made = trivial._rotate(IMAGES[:2], torch.tensor([90 / 135, -90 / 135]))
    ways = [[torch.equal(made[i], torch.rot90(IMAGES[i], k, (1, 2))) for k in (1, 3)] for i in (0, 1)]
    assert sorted(ways) == [[False, True], [True, False]]


def test_shears_leave_the_middle_and_move_the_edges() -> None:
    for way, across in (trivial._shear_x, 1), (trivial._shear_y, 0):
        made = way(IMAGES[:1], torch.tensor([0.3]))[0]
        same = (made == IMAGES[0]).all(0).float().mean(across)
        assert float(same[14:18].mean()) > float(same[:4].mean())


@pytest.mark.parametrize(("n", "channels"), [(1, 3), (5, 3), (14, 3), (28, 1), (100, 3)])
def test_a_batch_keeps_shape_and_type_and_mostly_changes(n: int, channels: int) -> None:
    batch = torch.from_numpy(draw(n, 4)[0])[..., :channels]
    torch.manual_seed(0)
    made = trivial_augment(batch, torch.Generator().manual_seed(0))
    assert (made.shape, made.dtype) == (batch.shape, torch.uint8)
    if n == 100:
        changed = (made != batch).flatten(1).any(1)
        assert 0.75 < float(changed.float().mean()) < 1  # one way in fourteen leaves an image as it is


def test_every_way_is_dealt_an_equal_share(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def spy(number: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda images, strength: (seen.append((number, len(images))), images)[1]

    monkeypatch.setattr(trivial, "OPERATIONS", tuple(map(spy, range(len(OPERATIONS)))))
    trivial_augment(torch.zeros((140, 4, 4, 1), dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert sorted(seen) == [(number, 10) for number in range(14)]
