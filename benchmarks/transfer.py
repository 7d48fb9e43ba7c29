"""Does a small copy of a network tell how good the network is? `transfer.csv`: the same shapes at several sizes.

    python benchmarks/transfer.py [workers]     trains what the table lacks, then prints the comparison
    python benchmarks/transfer.py 0             prints it from the table that there is
    python benchmarks/transfer.py 0 page.html   and draws it

Each shape is the largest of its kind under 1,250,000 parameters. It is trained on CIFAR-10 at that size, and by every
reduction: fewer channels, fewer pixels, other images and epochs. Rows are appended as they come. The same command
resumes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from harness import print_table
from plotly.subplots import make_subplots
from scipy.stats import spearmanr
from torch.nn.functional import avg_pool2d
from training_table import curve, fill, rows_of

from nas_budget import Budget, ResNetSpec, build, cost
from nas_budget.arch.fit import fit
from nas_budget.arch.scale import scale_widths
from nas_budget.report.figures.style import ACCENT, lay_out
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import LabelledImages, SplitImages, channel_statistics, split_images
from nas_budget.train.engine.device import describe_device
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import RECIPES, Recipe

TABLE = Path(__file__).with_name("transfer.csv")
BUDGET = Budget(params=1_250_000)
N_VALIDATION = 5_000
RECIPE = replace(RECIPES["fast"], learning_rate=0.05, batch_size=128, epochs=8)
COLUMNS = (
    "reduction", "shape", "seed", "spec", "params", "macs", "images", "epochs", "accuracy", "validation_loss",
    "train_loss", "seconds", "device", "versions",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Proportions of widths, and what else makes a network."""

    widths: tuple[float, ...]
    blocks: int | tuple[int, ...]
    strides: tuple[int, ...]
    kernels: int | tuple[int, ...] = 3
    pool: int | str = "global"
    shortcut_kernel: int = 1

    def within(self, budget: Budget) -> ResNetSpec:
        """The largest network of the shape that keeps the budget."""
        options: dict[str, Any] = {**vars(self)}
        return fit(options.pop("widths"), budget, **options).spec


SHAPES = {
    "paper": Shape((32, 64, 96, 128, 185), 4, (1, 2, 2, 2, 2), pool=2, shortcut_kernel=3),
    "usual": Shape((1, 2, 4), 2, (2, 2, 2)),
    "speed run": Shape((1, 2.7, 4), 1, (2, 2, 2)),
    "even": Shape((1, 1, 1), 3, (2, 2, 2)),
    "four stages": Shape((1, 2, 4, 8), 1, (1, 2, 2, 2)),
    "four deep stages": Shape((1, 2, 4, 8), 3, (1, 2, 2, 2)),
    "full resolution": Shape((1, 2, 4), (4, 4, 3), (1, 2, 2)),
    "deep": Shape((1, 2, 4), 5, (2, 2, 2)),
    "steep": Shape((1, 4, 8), 2, (1, 2, 2)),
    "hump": Shape((1, 2, 2, 1), 2, (2, 2, 2, 2)),
    "kernel 5": Shape((1, 2, 4), 1, (2, 2, 2), kernels=5),
    "kernels 7 to 3": Shape((1, 2, 4, 8), 1, (1, 2, 2, 2), kernels=(7, 5, 3, 3)),
    "two stages": Shape((1, 2), 3, (2, 2)),
    "five stages": Shape((1, 2, 4, 8, 8), 1, (1, 2, 2, 2, 2)),
    "five even stages": Shape((1, 1, 1, 1, 1), 2, (2, 2, 2, 2, 1)),
    "deep end": Shape((1, 2, 4), (1, 1, 6), (2, 2, 2)),
    "deep begin": Shape((1, 2, 4), (6, 1, 1), (2, 2, 2)),
    "few pixels": Shape((1, 2, 4), 2, (4, 2, 2)),
}


@dataclass(frozen=True)
class Reduction:
    """How a network is made cheaper to train.

    Attributes:
        width: What its widths are multiplied by.
        images: Images that train.
        epochs: Passes over them.
        pixels: Height and width of the images.
        macs: The shape is fitted to this number of MACs instead.
        recipe: Everything else.
    """

    width: float = 1.0
    images: int = 10_000
    epochs: int = 8
    pixels: int = 32
    macs: int = 0
    recipe: Recipe = RECIPE

    def applied_to(self, shape: Shape) -> ResNetSpec:
        """The network that is trained for a shape."""
        if self.macs:
            return shape.within(Budget(params=None, macs=self.macs))
        return replace_size(scale_widths(shape.within(BUDGET), self.width, least=1), self.pixels)


REDUCTIONS = {
    "none": Reduction(),
    "width 1/2": Reduction(1 / 2),
    "width 1/4": Reduction(1 / 4),
    "width 1/8": Reduction(1 / 8),
    "width 1/4, 40,000 images, 2 epochs": Reduction(1 / 4, 40_000, 2),
    "width 1/4, 2,500 images": Reduction(1 / 4, 2_500),
    "width 1/8, 2,500 images, 6 epochs, batch 64": Reduction(1 / 8, 2_500, 6, recipe=RECIPES["brief"]),
    "width 1/8, 7,500 images, 2 epochs, batch 64": Reduction(1 / 8, 7_500, 2, recipe=RECIPES["brief"]),
    "width 1/8, 15,000 images, 1 epoch, batch 64": Reduction(1 / 8, 15_000, 1, recipe=RECIPES["brief"]),
    "width 1/8, 40,000 images, 2 epochs, batch 64": Reduction(1 / 8, 40_000, 2, recipe=RECIPES["brief"]),
    "width 1/4, 10,000 images, 2 epochs, batch 64": Reduction(1 / 4, 10_000, 2, recipe=RECIPES["brief"]),
    "16 x 16 pixels": Reduction(pixels=16),
    "4 M MACs, 2,500 images, 6 epochs": Reduction(macs=4_000_000, images=2_500, epochs=6, recipe=RECIPES["brief"]),
}
MACS_POINTS = 3.0
"""What a doubling of the MACs at full size is worth beside a reduced accuracy: tried here, not used by a search."""
LEAST_SHAPES, N_RESAMPLES = 5, 2_000
"""Shapes without which nothing is compared, and resamples for an interval over shapes."""
LAST = ("16 x 16 pixels",)


@dataclass(frozen=True)
class Job:
    """One training."""

    reduction: str
    shape: str
    seed: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """Its cells in the columns that tell it from others."""
        return self.reduction, self.shape, str(self.seed)


def replace_size(spec: ResNetSpec, pixels: int) -> ResNetSpec:
    """The network for images of another size, its pool no larger than the last map."""
    values = {**spec.to_dict(), "image_size": pixels}
    if spec.pool != "global":
        values["pool"] = min(spec.pool, -(-spec.maps[-1] * pixels // spec.image_size))
    return ResNetSpec(**values)


def jobs() -> Iterator[Job]:
    """Every training of the table, shape by shape, the dearest reductions last."""
    for shape in SHAPES:
        yield from (Job(reduction, shape) for reduction in REDUCTIONS if reduction not in LAST)
    yield from (Job(reduction, shape) for reduction in LAST for shape in SHAPES)


@cache
def images_of_process(n_train: int, pixels: int) -> SplitImages:
    """The images, opened once in each process, which then trains on one thread."""
    torch.set_num_threads(1)
    split = split_images(open_dataset("cifar10"), torch.device("cpu"), n_train, N_VALIDATION)
    if pixels == 32:
        return split
    train, validation = (
        LabelledImages(shrunk(part.images, 32 // pixels), part.labels) for part in (split.train, split.validation)
    )
    mean, std = channel_statistics(train.images)
    return SplitImages(train, validation, mean, std, split.n_classes)


def shrunk(images: torch.Tensor, times: int) -> torch.Tensor:
    """Images of fewer pixels, each the mean of a square."""
    means = avg_pool2d(images.permute(0, 3, 1, 2).float(), times)
    return means.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def trained(job: Job) -> dict[str, Any]:
    """The row of a training."""
    reduction = REDUCTIONS[job.reduction]
    spec = reduction.applied_to(SHAPES[job.shape])
    images, start = images_of_process(reduction.images, reduction.pixels), time.perf_counter()
    results = list(train(build(spec, job.seed), images, replace(reduction.recipe, epochs=reduction.epochs), job.seed))
    curves = {
        name: curve(getattr(result, name) for result in results)
        for name in ("accuracy", "validation_loss", "train_loss")
    }
    return curves | {
        "reduction": job.reduction, "shape": job.shape, "seed": job.seed, "spec": str(spec),
        "params": cost(spec).params, "macs": cost(spec).macs, "images": reduction.images, "epochs": reduction.epochs,
        "seconds": f"{time.perf_counter() - start:.1f}", "device": describe_device(images.mean.device),
        "versions": f"torch {torch.__version__}",
    }  # fmt: skip


def by_reduction(rows: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Accuracy in percent, by reduction and shape."""
    accuracy: dict[str, dict[str, float]] = {}
    for row in rows:
        accuracy.setdefault(row["reduction"], {})[row["shape"]] = 100 * float(row["accuracy"].split()[-1])
    return accuracy


def compare(rows: list[dict[str, str]]) -> None:
    """Print how well each reduction ranks the shapes, and what the shape it ranks first is worth at full size."""
    accuracy, work = by_reduction(rows), dict[str, dict[str, int]]()
    for row in rows:
        images_seen = int(row["images"]) * int(row["epochs"])
        work.setdefault(row["reduction"], {})[row["shape"]] = int(row["macs"]) * images_seen
    macs = {row["shape"]: int(row["macs"]) for row in rows if row["reduction"] == "none"}
    whole, lines = accuracy.pop("none", {}), []
    for reduction, found in accuracy.items():
        shapes = [shape for shape in whole if shape in found]
        if len(shapes) < LEAST_SHAPES:
            continue
        large, small = (np.array([values[shape] for shape in shapes]) for values in (whole, found))
        correlation = float(spearmanr(large, small).statistic)
        draws = np.random.default_rng(0).integers(len(shapes), size=(N_RESAMPLES, len(shapes)))
        drawn = [spearmanr(large[i], small[i]).statistic for i in draws if np.ptp(large[i]) and np.ptp(small[i])]
        low, high = np.percentile(drawn, (2.5, 97.5))
        regret = large.max() - large[small.argmax()]
        with_macs = small + MACS_POINTS * np.log2([macs[shape] for shape in shapes])
        corrected = f"{spearmanr(large, with_macs).statistic:.2f}, {large.max() - large[with_macs.argmax()]:.1f}"
        share = sum(work[reduction][s] for s in shapes) / sum(work["none"][s] for s in shapes)
        interval = f"{correlation:.2f} ({low:.2f}, {high:.2f})"
        pick = shapes[int(small.argmax())]
        lines.append((reduction, len(shapes), interval, f"{regret:.1f}", pick, corrected, f"{share:.1%}"))
    with_macs_words = f"both with {MACS_POINTS:g} points a doubling of MACs"
    titles = "reduction", "shapes", "rank correlation", "regret, points", "its pick", with_macs_words, "MACs"
    print_table(titles, lines)
    for shape, value in sorted(whole.items(), key=lambda pair: -pair[1]):
        print(f"{value:.2f} {shape}")


def drawn(rows: list[dict[str, str]]) -> go.Figure:
    """Accuracy at full size over accuracy of the reduced network, a panel for each reduction."""
    accuracy = by_reduction(rows)
    whole = accuracy.pop("none", {})
    shown = {name: found for name, found in accuracy.items() if len(found.keys() & whole.keys()) >= LEAST_SHAPES}
    n_columns = 4
    titles = [name.replace(", ", "<br>", 1) for name in shown]
    figure = make_subplots(-(-len(shown) // n_columns), n_columns, subplot_titles=titles, vertical_spacing=0.14)
    for place, found in enumerate(shown.values()):
        shapes = [shape for shape in whole if shape in found]
        points = go.Scatter(
            x=[found[s] for s in shapes], y=[whole[s] for s in shapes], text=shapes, mode="markers", showlegend=False,
            marker={"color": ACCENT, "size": 8}, hovertemplate="%{text}: %{x:.1f} %, %{y:.1f} %<extra></extra>",
        )  # fmt: skip
        figure.add_trace(points, place // n_columns + 1, place % n_columns + 1)
    lay_out(figure, height=560, width=1_100, margin={"l": 60, "r": 16, "t": 60, "b": 50}, font={"size": 11})
    figure.update_annotations(font_size=11)
    figure.update_yaxes(title_text="full size, %", col=1)
    figure.update_xaxes(title_text="reduced, %", row=-(-len(shown) // n_columns))
    return figure


def main() -> None:
    """Train what the table lacks, print what the reductions tell, and draw it where a page is given."""
    n_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    if n_workers:
        fill(TABLE, COLUMNS, ("reduction", "shape", "seed"), jobs(), trained, n_workers)
    compare(rows_of(TABLE))
    if len(sys.argv) > 2:
        drawn(rows_of(TABLE)).write_html(sys.argv[2])


if __name__ == "__main__":
    main()
