"""Built-in synthetic images: ten classes of shapes on cluttered, noisy backgrounds, drawn when needed.

The whole tool runs with them on any machine, without a download or a file. Position, size, rotation, stretch, colors,
clutter and noise vary, so that a larger network is more accurate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.train.data.dataset import Dataset, Images, Labels

SIZE = 32
COUNTS = {"train": 20_000, "test": 4_000}
SEEDS = {"train": 1, "test": 2}
CHUNK = 1_000
HUE_SHARE = 0.25
MAX_ROTATION = np.pi / 4

Grid = NDArray[np.floating[Any]]


def synthetic(n_train: int = COUNTS["train"], n_test: int = COUNTS["test"]) -> Dataset:
    """The built-in data set "shapes": color images of 32x32 pixels, always the same ones for the same counts.

    Examples:
        >>> dataset = synthetic(n_train=50)
        >>> images, labels = dataset.read("train")
        >>> images.shape, dataset.classes[labels[0]] in dataset.classes
        ((50, 32, 32, 3), True)
    """
    counts = {"train": n_train, "test": n_test}
    digest = "shapes 1" if counts == COUNTS else f"shapes 1, {n_train} and {n_test}"
    origin = "drawn by nas-budget (no download, no file)"
    return Dataset(
        "shapes", CLASSES, SIZE, 3, n_train, n_test, origin, digest, lambda part: draw(counts[part], SEEDS[part])
    )


def draw(n: int, seed: int) -> tuple[Images, Labels]:
    """`n` images, uint8 (n, 32, 32, 3), and their labels, int64 (n,): classes equally often, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n, dtype=np.int64) % len(CLASSES))
    chunks = [_draw(labels[start : start + CHUNK], rng) for start in range(0, n, CHUNK)]
    return np.concatenate(chunks), labels


def _draw(labels: Labels, rng: np.random.Generator) -> Images:
    n = len(labels)
    foreground, ground = _colors(labels, rng)
    canvas = _background(ground, rng)
    for _ in range(3):  # clutter: small pieces of any kind, in a color of their own
        kinds = rng.integers(0, len(CLASSES), n)
        color = rng.uniform(0, 1, (n, 1, 1, 3)).astype(np.float32)
        canvas = _paint(canvas, _masks(kinds, rng, size=(0.1, 0.2), reach=0.95), color)
    canvas = _paint(canvas, _masks(labels, rng, size=(0.3, 0.75), reach=0.4), foreground)
    noise = rng.normal(0, 1, canvas.shape).astype(np.float32)
    canvas += noise * rng.uniform(0.02, 0.12, (n, 1, 1, 1)).astype(np.float32)
    images: Images = (canvas.clip(0, 1) * 255).astype(np.uint8)
    return images


def _colors(labels: Labels, rng: np.random.Generator) -> tuple[Grid, Grid]:
    """A color for the shape, brighter and near its class's hue, and one for the ground; (n, 1, 1, 3) each."""
    n = len(labels)
    ground = rng.uniform(0.05, 0.55, (n, 1, 1, 3))
    hue = 2 * np.pi * (labels[:, None] / len(CLASSES) + np.arange(3) / 3)
    lean = 0.5 + 0.5 * np.cos(hue).reshape(n, 1, 1, 3)
    color = HUE_SHARE * lean + (1 - HUE_SHARE) * rng.uniform(0, 1, (n, 1, 1, 3))
    foreground = ground + (0.15 + 0.6 * color) * rng.uniform(0.25, 1.0, (n, 1, 1, 1))
    return foreground.astype(np.float32), ground.astype(np.float32)


def _background(ground: Grid, rng: np.random.Generator) -> Grid:
    """The ground color with soft blotches of 8 pixels and a brightness that falls off to one side."""
    n = len(ground)
    blotches = rng.normal(0, 0.08, (n, 4, 4, 3)).astype(np.float32).repeat(8, axis=1).repeat(8, axis=2)
    x, y = _axes()
    angle = rng.uniform(0, 2 * np.pi, (n, 1, 1)).astype(np.float32)
    slope = (np.cos(angle) * x + np.sin(angle) * y) * rng.uniform(0, 0.2, (n, 1, 1)).astype(np.float32)
    return ground + blotches + slope[..., None]


def _paint(canvas: Grid, mask: Grid, color: Grid) -> Grid:
    return canvas + mask[..., None] * (color - canvas)


def _masks(kinds: Labels, rng: np.random.Generator, size: tuple[float, float], reach: float) -> Grid:
    """How much of each pixel the shape covers, (n, 32, 32) from 0 to 1, at a random place, size and angle."""
    n = len(kinds)
    angle, radius, stretch, left, top = (
        rng.uniform(*bounds, (n, 1, 1)).astype(np.float32)
        for bounds in ((-MAX_ROTATION, MAX_ROTATION), size, (0.75, 1.0), (-reach, reach), (-reach, reach))
    )
    x, y = (axis - offset for axis, offset in zip(_axes(), (left, top), strict=True))
    u = (np.cos(angle) * x + np.sin(angle) * y) / radius
    v = (np.cos(angle) * y - np.sin(angle) * x) / (radius * stretch)
    distance = np.empty((n, SIZE, SIZE), np.float32)
    for kind, outline in enumerate(OUTLINES.values()):
        chosen = kinds == kind
        distance[chosen] = outline(u[chosen], v[chosen])
    edge = 2 / SIZE / radius  # one pixel, in units of the shape's radius
    covered: Grid = (0.5 - distance / edge).clip(0, 1)
    return covered


def _axes() -> tuple[Grid, Grid]:
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) * 2 / SIZE - 1
    return axis[None, None, :], axis[None, :, None]


def _polygon(u: Grid, v: Grid, sides: int) -> Grid:
    sector = 2 * np.pi / sides
    turned = np.mod(np.arctan2(v, u), sector) - sector / 2
    inside: Grid = np.hypot(u, v) * np.cos(turned) - np.cos(sector / 2)
    return inside


def _star(u: Grid, v: Grid) -> Grid:
    sector = 2 * np.pi / 5
    ray = np.abs(np.mod(np.arctan2(v, u), sector) - sector / 2) / (sector / 2)
    inside: Grid = np.hypot(u, v) - (0.42 + 0.58 * ray)
    return inside


# Signed distance (roughly) to the outline in units of the radius: below 0 is inside.
OUTLINES: dict[str, Callable[[Grid, Grid], Grid]] = {
    "disk": lambda u, v: np.hypot(u, v) - 1,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.75) - 0.25,
    "half": lambda u, v: np.maximum(np.hypot(u, v) - 1, v - 0.05),
    "crescent": lambda u, v: np.maximum(np.hypot(u, v) - 1, 0.85 - np.hypot(u - 0.45, v)),
    "triangle": partial(_polygon, sides=3),
    "square": partial(_polygon, sides=4),
    "pentagon": partial(_polygon, sides=5),
    "star": _star,
    "cross": lambda u, v: np.minimum(
        np.maximum(np.abs(u) - 1, np.abs(v) - 0.3), np.maximum(np.abs(v) - 1, np.abs(u) - 0.3)
    ),
    "bars": lambda u, v: np.maximum(np.abs(u) - 0.9, np.abs(np.abs(v) - 0.6) - 0.25),
}
CLASSES = tuple(OUTLINES)
