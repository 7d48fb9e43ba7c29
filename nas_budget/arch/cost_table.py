"""What millions of networks cost, as arrays: the same counts as `cost`, to the parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, isqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_budget.arch import closed_form
from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES, MAX_EXPANSION
from nas_budget.arch.budget import LIMITS, Budget
from nas_budget.arch.cost import BYTES_PER_NUMBER
from nas_budget.arch.latency import LatencyModel
from nas_budget.arch.spec import MAX_BLOCKS, MAX_CHANNELS, MAX_IMAGE_SIZE, MAX_KERNEL, MAX_STRIDE, ResNetSpec
from nas_budget.errors import SpecError

COLUMNS = ("params", "macs", "buffers", "activation_bytes")
LATENCY = "latency_ns"
ROWS_AT_ONCE = 16_384
"""Rows of a piece: its arrays stay in a core's cache."""
MOST = 2**62
COUNTED_AS = {"activation_bytes": "live_elements"}
PER_STAGE = {
    "channels": (0, MAX_CHANNELS),
    "blocks": (1, MAX_BLOCKS),
    "kernels": (1, MAX_KERNEL),
    "strides": (1, MAX_STRIDE),
    "expansions": (0, MAX_EXPANSION),
}
PER_NETWORK = {
    "pool": (0, MAX_IMAGE_SIZE), "stem_kernel": (1, MAX_KERNEL), "shortcut_kernel": (1, MAX_KERNEL),
    "se_reduction": (0, MAX_CHANNELS), "stem_width": (0, MAX_CHANNELS), "groups": (1, MAX_CHANNELS),
    "stem_stride": (1, MAX_STRIDE), "head_width": (0, MAX_CHANNELS),
}  # fmt: skip
WORDS = {"block": FAMILIES, "activation": ACTIVATIONS}
"""What is no number: a word for all, or N of them."""

IMAGE = ("image_size", "in_channels", "classes")
DEFAULTS = {
    "blocks": 4, "kernels": 3, "pool": 2, "stem_kernel": 3, "shortcut_kernel": 3, "strides": None, "block": "basic",
    "se_reduction": 0, "stem_width": 0, "image_size": 32, "in_channels": 3, "classes": 10, "activation": "relu",
    "groups": 1, "expansions": 0, "stem_stride": 1, "head_width": 0,
}  # fmt: skip

NOT_WHOLE = ("expansions",)
"""Arguments that may be any number."""

Counts = NDArray[np.int64]


def cost_table(
    channels: ArrayLike,
    blocks: ArrayLike = 4,
    kernels: ArrayLike = 3,
    pool: ArrayLike | Literal["global"] = 2,
    stem_kernel: ArrayLike = 3,
    shortcut_kernel: ArrayLike = 3,
    strides: ArrayLike | None = None,
    block: str | Sequence[str] = "basic",
    se_reduction: ArrayLike = 0,
    stem_width: ArrayLike = 0,
    image_size: int = 32,
    in_channels: int = 3,
    classes: int = 10,
    activation: str | Sequence[str] = "relu",
    groups: ArrayLike = 1,
    expansions: ArrayLike = 0,
    stem_stride: ArrayLike = 1,
    head_width: ArrayLike = 0,
    *,
    columns: Sequence[str] = COLUMNS,
    latency: LatencyModel | None = None,
) -> dict[str, Counts]:
    """Params, MACs, buffers and activation bytes of many networks, each column equal to what `cost` counts one by one.

    The arguments are those of `ResNetSpec`, for N networks of S stages. Memory beside the arguments and the
    result is bounded: the rows are counted piece by piece.

    Args:
        channels: Widths, shape (N, S); a row may end in zeros where it has fewer stages.
        blocks: One number, S of them, or shape (N, S).
        kernels: Likewise.
        pool: One for all or shape (N,); 0 or "global" is the whole last map.
        stem_kernel: One for all or shape (N,).
        shortcut_kernel: Likewise.
        strides: As `blocks`; None for 1, 2, 2, ...
        block: One for all or N of them.
        se_reduction: One for all or shape (N,).
        stem_width: Likewise.
        image_size: The same for all.
        in_channels: The same for all.
        classes: The same for all.
        activation: One for all or N of them; it costs nothing.
        groups: One for all or shape (N,); of kinds of block without convolutions in groups it says nothing.
        expansions: As `blocks`, whole or not, 0 for what is usual; likewise.
        stem_stride: One for all or shape (N,).
        head_width: Likewise.
        columns: Which to count, of "params", "macs", "buffers", "activation_bytes" and, with a model of latencies,
            "latency_ns"; fewer are faster.
        latency: The model.

    Returns:
        An int64 array of shape (N,) by column. Bytes of weights are 4, 2 or 1 times params + buffers.

    Raises:
        SpecError: Shapes that do not go together, numbers out of range, or counts beyond 2^62.

    Examples:
        >>> cost_table([[32, 64, 96, 128, 185], [64, 128, 256, 0, 0]], columns=["params"])["params"].tolist()
        [4907445, 6243914]
    """
    arguments = {
        "channels": channels, "blocks": blocks, "kernels": kernels, "pool": pool, "stem_kernel": stem_kernel,
        "shortcut_kernel": shortcut_kernel, "strides": strides, "block": block, "se_reduction": se_reduction,
        "stem_width": stem_width, "image_size": image_size, "in_channels": in_channels, "classes": classes,
        "activation": activation, "groups": groups, "expansions": expansions, "stem_stride": stem_stride,
        "head_width": head_width,
    }  # fmt: skip
    rows, kinds, image = _read(arguments, columns, latency)
    counted = {name: np.empty(len(rows["channels"]), np.int64) for name in columns}
    for kind, piece, where in _pieces(kinds, rows):
        whole: Mapping[str, Any] = {}
        for part in _parts(kind, piece, image, [COUNTED_AS.get(name, name) for name in columns], latency):
            whole = together(whole, part) if whole else part
        for name in columns:
            counted[name][where] = 4 * whole["live_elements"] if name == "activation_bytes" else whole[name]
    return counted


def parts_table(**arguments: Any) -> dict[str, Counts]:
    """Params and MACs of the stem, each stage and the head of many networks, each an array of shape (N, S + 2).

    Args:
        arguments: As `cost_table` takes them; stages there are not cost 0.

    Raises:
        SpecError: As `cost_table`.
    """
    columns = ("params", "macs")
    rows, kinds, image = _read({**DEFAULTS, **arguments}, columns)
    n, most = rows["channels"].shape
    counted = {name: np.zeros((n, most + 2), np.int64) for name in columns}
    for kind, piece, where in _pieces(kinds, rows):
        *parts, head = _parts(kind, piece, image, columns)
        for name, table in counted.items():
            for place, part in [*enumerate(parts), (most + 1, head)]:
                table[where, place] = part[name]
    return counted


def _read(
    arguments: dict[str, Any], columns: Sequence[str], latency: LatencyModel | None = None
) -> tuple[dict[str, NDArray[Any]], NDArray[Any], dict[str, int]]:
    """Checked arguments: numbers by stage or network, kinds of block, and what all images have in common."""
    arguments["channels"] = np.atleast_2d(np.asarray(arguments["channels"]))
    if arguments["strides"] is None:
        arguments["strides"] = (1,) + (2,) * (arguments["channels"].shape[-1] - 1)
    if isinstance(arguments["pool"], str) and arguments["pool"] == "global":
        arguments["pool"] = 0
    rows = {name: np.asarray(arguments[name]) for name in (*PER_STAGE, *PER_NETWORK)}
    words, image = {name: np.asarray(arguments[name]) for name in WORDS}, {name: arguments[name] for name in IMAGE}
    known = (*COLUMNS, LATENCY) if latency else COLUMNS
    problems = [*_problems(rows, words)]
    if unknown := set(columns) - {*known}:
        problems.append(f"columns: {', '.join(sorted(unknown))} unknown; known are {', '.join(known)}")
    if not problems and _bound(rows, words["block"], image) >= MOST:
        problems = ["channels: counts beyond 2^62 do not fit a table; count networks this large one by one, with cost"]
    if problems:
        raise SpecError(problems)
    return rows, words["block"], image


def _pieces(kinds: NDArray[Any], rows: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Kind of block, the arguments of some rows that share it and their count of stages, and which rows these are."""
    for kind, n_stages, where in _places(kinds, rows["channels"]):
        yield kind, {name: _piece(name, values, where, n_stages) for name, values in rows.items()}, where


def _places(kinds: NDArray[Any], widths: NDArray[Any]) -> Iterator[tuple[str, int, Any]]:
    """Kind of block, count of stages, and which rows: at most `ROWS_AT_ONCE` that have these in common."""
    n, most = widths.shape
    if kinds.ndim == 0 and widths.min() > 0:
        yield from ((str(kinds), most, slice(start, start + ROWS_AT_ONCE)) for start in range(0, n, ROWS_AT_ONCE))
        return
    n_stages = np.count_nonzero(widths, axis=1)
    for kind in np.unique(kinds):
        for count in np.unique(n_stages):
            rows = np.flatnonzero((kinds == kind) & (n_stages == count))
            yield from (
                (str(kind), int(count), part) for part in np.split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE))
            )


def _piece(name: str, values: NDArray[Any], where: Any, n_stages: int) -> Any:
    """Some rows of an argument: for each stage, or for the network, a whole number or an array of them."""
    if name not in PER_STAGE:
        return int(values) if values.ndim == 0 else values[where].astype(np.int64)
    if values.ndim == 0:
        return [values.item()] * n_stages
    if values.ndim == 1:
        return values[:n_stages].tolist()
    kind = np.float64 if name in NOT_WHOLE else np.int64
    return list(np.ascontiguousarray(values[where, :n_stages].T, dtype=kind))


def _parts(
    block: str,
    piece: Mapping[str, Any],
    image: Mapping[str, int],
    columns: Sequence[str],
    latency: LatencyModel | None = None,
) -> Iterator[closed_form.Counted]:
    """The columns of a piece: of the stem, each stage, the head."""
    width, seen = np.where(piece["stem_width"], piece["stem_width"], piece["channels"][0]), image["image_size"]
    size = -(-seen // piece["stem_stride"])
    yield closed_form.stem(block, image["in_channels"], width, piece["stem_kernel"], seen, size, columns, latency)
    for i, channels in enumerate(piece["channels"]):
        after = -(-size // piece["strides"][i])
        yield closed_form.stage(
            block, width, channels, piece["blocks"][i], piece["kernels"][i], piece["expansions"][i], piece["groups"],
            size, after, piece["shortcut_kernel"], piece["se_reduction"], columns, latency,
        )  # fmt: skip
        width, size = channels, after
    if np.any(piece["pool"] > np.asarray(size)):
        raise SpecError(
            ["pool: larger than the last stage's map in a row; allowed is 1 up to the map, or 0 for global"]
        )
    yield closed_form.head(block, width, size, piece["head_width"], piece["pool"], image["classes"], columns, latency)


def together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of two parts of a network: the larger of "live_elements", the sum of the others."""
    return {n: np.maximum(one[n], other[n]) if n == "live_elements" else one[n] + other[n] for n in one}


def _problems(rows: Mapping[str, NDArray[Any]], words: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    shape = rows["channels"].shape
    if len(shape) != 2 or 0 in shape:
        yield f"channels: shape {shape} is not allowed; give a row of widths for each network, shape (N, S)"
        return
    least, most = ({name: extreme(values) for name, values in rows.items()} for extreme in (np.min, np.max))
    for name, values in rows.items():
        allowed = ((), shape[1:], shape) if name in PER_STAGE else ((), shape[:1])
        low, high = {**PER_STAGE, **PER_NETWORK}[name]
        whole = name not in NOT_WHOLE
        if values.shape not in allowed:
            yield f"{name}: shape {values.shape} not allowed; give one number or {' or '.join(map(str, allowed[1:]))}"
        elif not np.issubdtype(values.dtype, np.integer if whole else np.number) or not (
            low <= least[name] <= most[name] <= high
        ):
            yield f"{name}: allowed are {'whole ' if whole else ''}numbers from {low} to {high:,}"
        elif "kernel" in name and np.any(values % 2 == 0):
            yield f"{name}: an even number is not allowed; give odd ones"
    widths = rows["channels"]
    if least["channels"] == 0 and (np.any(widths[:, 0] == 0) or np.any((widths[:, 1:] > 0) & (widths[:, :-1] == 0))):
        yield "channels: a 0 is not allowed before a width; only a row's end may hold zeros"
    for name, known in WORDS.items():
        if words[name].shape not in ((), shape[:1]) or not set(np.unique(words[name])) <= set(known):
            yield f"{name}: {words[name]} is not allowed; known are {', '.join(known)}"


def _bound(rows: Mapping[str, NDArray[Any]], kinds: NDArray[Any], image: Mapping[str, int]) -> int:
    """More than any count of the table."""
    most = {name: values.max().item() for name, values in rows.items()}
    expansion = max(most["expansions"], *(FAMILIES[kind].expansion for kind in np.unique(kinds)))
    width = max(most["channels"], most["stem_width"], most["head_width"], image["in_channels"], image["classes"])
    width = max(width, ceil(width * expansion), most["groups"])
    kernel = max(most["kernels"], most["stem_kernel"], most["shortcut_kernel"])
    bound: int = _bound_factor(rows["channels"].shape[1], most["blocks"]) * (kernel * width * image["image_size"]) ** 2
    return bound


def _bound_factor(n_stages: int, blocks: int) -> int:
    return 6 * (n_stages + 2) * blocks


def countable_width(spec: ResNetSpec) -> int:
    """The widest stages, at most, of a network like this that a table can count."""
    kernel = max(*spec.kernels, spec.stem_kernel, spec.shortcut_kernel)
    factor = _bound_factor(len(spec.channels), max(spec.blocks))
    return isqrt((MOST - 1) // factor) // (kernel * spec.image_size * max(1, ceil(max(spec.expansions))))


def fits_table(counted: dict[str, Counts], budget: Budget) -> NDArray[np.bool_]:
    """Whether each row of a table with the columns `columns_of(budget)` keeps every limit."""
    fits = np.ones(len(next(iter(counted.values()))), bool) if counted else np.array(True)
    for used, limit in limited_counts(counted, budget):
        fits &= used <= limit
    return fits


def limited_counts(counted: Mapping[str, Counts], budget: Budget) -> Iterator[tuple[Counts, int]]:
    """What each row uses of each limit that is set, and the limit."""
    for name in LIMITS:
        if limit := getattr(budget, name):
            if name == "weight_bytes":
                yield (counted["params"] + counted["buffers"]) * BYTES_PER_NUMBER[budget.weight_format], limit
            elif name == "activation_bytes":
                size = BYTES_PER_NUMBER[budget.activation_format]
                yield counted[name] // BYTES_PER_NUMBER["fp32"] * size, limit
            else:
                yield counted[name], limit


def columns_of(budget: Budget) -> tuple[str, ...]:
    """The columns that say whether a network fits the budget; "params" always."""
    needed = {
        "macs": budget.macs,
        "buffers": budget.weight_bytes,
        "activation_bytes": budget.activation_bytes,
        LATENCY: budget.latency_ns,
    }
    return ("params", *(name for name, limit in needed.items() if limit))
