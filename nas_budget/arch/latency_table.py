"""Tables of timed layers: `read_latency_table`, and `fit_latency`, which makes a `LatencyModel` of one."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from io import StringIO
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.latency import KINDS, LatencyModel, LayerShape, milliseconds
from nas_budget.errors import TableError
from nas_budget.untrusted import printable, read_text

COLUMNS = (*(field.name for field in fields(LayerShape)), "milliseconds")
MOST_ROWS = 100_000
LARGEST = 10**7
MOST_MS = 10**6
N_TERMS = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TimedLayer:
    """A layer, and how long it takes on a device.

    Attributes:
        shape: The layer.
        milliseconds: Of one image.

    Examples:
        >>> timed = TimedLayer(LayerShape("linear", 64, 10), milliseconds=0.004)
        >>> str(timed.shape), timed.milliseconds
        ('linear 64 to 10 features', 0.004)
    """

    shape: LayerShape
    milliseconds: float


@dataclass(frozen=True)
class LatencyTable:
    """Layers that were timed on one device.

    Attributes:
        source: The device, or the name of a file.
        layers: Of each kind and kernel size that networks are to have, some from small to large.

    Examples:
        >>> table = LatencyTable("my chip", (TimedLayer(LayerShape("linear", 64, 10), 0.004),))
        >>> print(table.to_csv(), end="")
        # my chip
        kind,in_channels,out_channels,kernel,stride,size,groups,milliseconds
        linear,64,10,1,1,1,1,0.004
    """

    source: str
    layers: tuple[TimedLayer, ...]

    def to_csv(self) -> str:
        """The table as the text of a file that `read_latency_table` takes; its first line names the source."""
        rows = [(*astuple(layer.shape), f"{layer.milliseconds:.6g}") for layer in self.layers]
        return f"# {printable(self.source)}\n" + _csv(rows)


def layers_csv(layers: Iterable[LayerShape]) -> str:
    """A table of layers that are to be timed: its column of milliseconds is empty."""
    return _csv((*astuple(layer), "") for layer in layers)


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    return text.getvalue()


def read_latency_table(path: Path) -> LatencyTable:
    """The table of a CSV file. Lines that begin with # are comments; the first of them names the device.

    Raises:
        TableError: It cannot be read, or holds something else; the message names the line and what belongs there.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"{path}: cannot be read as a table of latencies ({reason})") from None
    source = next((line[1:].strip() for line in lines[:1] if line.startswith("#")), "") or path.name
    numbered = [(i, line) for i, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    rows = [
        (i, [cell.strip() for cell in cells])
        for (i, _), cells in zip(numbered, csv.reader(x for _, x in numbered), strict=False)
    ]
    if not rows or rows[0][1] != [*COLUMNS]:
        found = ",".join(rows[0][1])[:80] if rows else ""
        raise TableError(f"{path}: begins with {found!r}; the first line of a table is {','.join(COLUMNS)}")
    if not 1 < len(rows) <= MOST_ROWS:
        raise TableError(f"{path}: has {len(rows) - 1:,} layers; give 1 to {MOST_ROWS:,}")
    return LatencyTable(printable(source)[:200], tuple(_timed(path, i, cells) for i, cells in rows[1:]))


def _timed(path: Path, line: int, cells: Sequence[str]) -> TimedLayer:
    """The layer of a row."""
    if problem := next(_problems(cells), ""):
        raise TableError(f"{path}: line {line}: {problem}")
    kind, *numbers, ms = cells
    return TimedLayer(LayerShape(kind, *map(int, numbers)), float(ms))


def _problems(cells: Sequence[str]) -> Iterator[str]:
    if len(cells) != len(COLUMNS):
        yield f"{len(cells)} cells where {len(COLUMNS)} belong"
        return
    if cells[0] not in KINDS:
        yield f"kind {cells[0]!r} is unknown; known are {', '.join(KINDS)}"
    for name, cell in zip(COLUMNS[1:-1], cells[1:-1], strict=True):
        if not (cell.isascii() and cell.isdigit() and 1 <= int(cell[:9]) <= LARGEST):
            yield f"{name} is {cell!r}; a whole number of 1 or more belongs there"
            return
    n_in, n_out, groups = int(cells[1]), int(cells[2]), int(cells[6])
    if n_in % groups or n_out % groups:
        yield f"{groups} groups do not divide {n_in} and {n_out} channels"
    if not cells[-1]:
        yield "milliseconds are missing; time this layer, or leave its line out"
        return
    try:
        ms = float(cells[-1])
    except ValueError:
        ms = 0.0
    if not (isfinite(ms) and 0 < ms <= MOST_MS):
        yield f"milliseconds are {cells[-1]!r}; a number above 0 belongs there"


def fit_latency(table: LatencyTable) -> LatencyModel:
    """The model whose relative errors on the layers of a table have the least squares.

    Examples:
        >>> sizes = ((8, 16), (16, 32), (32, 8), (64, 4))
        >>> shapes = [LayerShape("conv", n, n, kernel=3, size=size) for n, size in sizes]
        >>> timed = tuple(TimedLayer(shape, 0.01 + 1e-6 * shape.macs) for shape in shapes)
        >>> model = fit_latency(LatencyTable("a board", timed))
        >>> model.layer_ns(LayerShape("conv", 24, 48, kernel=3, size=16)), 10**4 + 24 * 48 * 9 * 16 * 16
        (2664208, 2664208)
    """
    terms = []
    for kind in KINDS:
        layers = [layer for layer in table.layers if layer.shape.kind == kind]
        kernels = sorted({layer.shape.kernel for layer in layers})
        if layers:
            fitted = _fit_kind(layers, kernels)
            terms += [(kind, kernel, _numbers(row)) for kernel, row in zip(kernels, fitted, strict=True)]
    return LatencyModel(table.source, tuple(terms))


def _numbers(row: Floats) -> tuple[float, float, float, float]:
    """To six digits, so that every machine makes the same model of a table."""
    constant, of_pixel, of_element, of_pair = (float(f"{number:.6g}") for number in row)
    return constant, of_pixel, of_element, of_pair


def _fit_kind(layers: Sequence[TimedLayer], kernels: Sequence[int]) -> Floats:
    """The four numbers of each kernel size, shape (kernels, 4)."""
    # Each size has its numbers as those of the next smaller one and something more. With nothing negative a larger
    # kernel never takes less: what a space may leave out as too slow follows from its smallest kernels.
    sizes = np.array([layer.shape.kernel for layer in layers])
    shapes = [layer.shape for layer in layers]
    used = np.array(
        [(1, s.pairs * s.areas[1], s.in_channels * s.areas[0] + s.out_channels * s.areas[1], s.pairs) for s in shapes],
        float,
    )
    columns = np.hstack([used * (sizes >= kernel)[:, None] for kernel in kernels])
    ns = np.array([layer.milliseconds for layer in layers]) * 1e6
    more = nonnegative_least_squares(columns / ns[:, None], np.ones(len(ns)))
    fitted: Floats = np.cumsum(more.reshape(len(kernels), N_TERMS), axis=0)
    return fitted


def nonnegative_least_squares(columns: Floats, target: Floats) -> Floats:
    """The factors of 0 or more that bring the sum of the columns closest to the target.

    Lawson and Hanson 1974, "Solving least squares problems", chapter 23.
    """
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0] = 1
    scaled = columns / scale
    n = scaled.shape[1]
    found, passive = np.zeros(n), np.zeros(n, bool)
    for _ in range(10 * n):
        gain = scaled.T @ (target - scaled @ found)
        gain[passive] = -np.inf
        if passive.all() or gain.max() <= 1e-10:
            break
        passive[gain.argmax()] = True
        trial = _least_squares(scaled, target, passive)
        while (trial[passive] <= 0).any():
            # Go as far towards the unbounded solution as nothing turns negative, and fix what has become 0.
            falling = passive & (trial <= 0)
            step = (found[falling] / (found[falling] - trial[falling])).min()
            found = found + step * (trial - found)
            passive &= found > 1e-12
            found[~passive] = 0
            if not passive.any():
                break
            trial = _least_squares(scaled, target, passive)
        found = np.where(passive, trial, 0.0)
    solution: Floats = found / scale
    return solution


def _least_squares(columns: Floats, target: Floats, which: NDArray[np.bool_]) -> Floats:
    solved = np.zeros(columns.shape[1])
    solved[which] = np.linalg.lstsq(columns[:, which], target, rcond=None)[0]
    return solved


@dataclass(frozen=True)
class FitErrors:
    """How far a model is from the layers of its table.

    Attributes:
        median: Median of the relative deviations.
        worst: The largest of them.
        layer: The layer that has it.
        n: How many layers there are.
    """

    median: float
    worst: float
    layer: TimedLayer
    n: int

    def __str__(self) -> str:
        """Both in words."""
        return (
            f"{self.n} timed layers, the model off by {self.median:.0%} in the median and {self.worst:.0%} at most "
            f"({self.layer.shape}: {milliseconds(round(self.layer.milliseconds * 1e6))} ms)"
        )


def fit_errors(table: LatencyTable, model: LatencyModel) -> FitErrors:
    """How far a model is from the layers of a table."""
    errors = [abs(model.layer_ns(one.shape) / (one.milliseconds * 1e6) - 1) for one in table.layers]
    worst = int(np.argmax(errors))
    return FitErrors(float(np.median(errors)), errors[worst], table.layers[worst], len(errors))
