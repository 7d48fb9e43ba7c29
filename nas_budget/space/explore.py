"""`explore`: how much of a space fits a budget, where its parameters go, and which values never fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.budget import LIMITS, Budget
from nas_budget.arch.cost_table import COLUMNS, LATENCY, Counts, columns_of, cost_table, fits_table, parts_table
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space.counting import count_fitting, count_networks
from nas_budget.space.layout_graph import (
    HEADS,
    KINDS,
    STEMS,
    VARIANTS,
    LayeredGraph,
    build_graph,
    costs_to_go,
    head_choices,
    layouts,
)
from nas_budget.space.sampling import Rows, draw_fitting, estimate_fitting
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.spec_factory import choices_of, width_grid

N_DRAWN = 10_000
N_TRIED = 1_000
ENOUGH = 0.1
"""Share of a space that fits below which narrower ranges are named."""
DONE = {"drawn": 0.05, "counted": 0.85, "compared": 0.9}
"""Share of the time after each part, as measured on a large space with two limits."""

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """One value of one choice.

    Attributes:
        name: What is chosen, such as "blocks" or "pool".
        stage: Of which stage, from 1; 0 for the whole network.
        value: The value.
        of_space: Share of the networks of the space that have it (drawn).
        of_fitting: Share of those that fit (drawn).
        fits: Whether any network with it fits.
    """

    name: str
    stage: int
    value: Any
    of_space: float
    of_fitting: float
    fits: bool


@dataclass(frozen=True)
class Exploration:
    """A space against a budget.

    Attributes:
        space: The space.
        budget: The limits.
        n_networks: Different networks in the space, exactly.
        n_fitting: How many keep every limit; exact unless `bounds` says otherwise.
        bounds: Where an exact count would take too long: certainly no fewer and no more fit; else None.
        n_near: Of those that fit, how many use 90 % or more of a limit; None where that is not known.
        rows: Networks drawn evenly from those that fit, as arguments of `cost_table`.
        costs: What each of them costs: "params", "macs", "buffers", "activation_bytes" and, by the model of latencies
            that the budget has, "latency_ns"; shape (N,).
        parts: "params" and "macs" of the stem, each stage and the head of each, shape (N, stages + 2).
        choices: Every value of every choice there is.
        hints: Ranges that would fit better, in words; none where enough fits.

    Examples:
        >>> space = SearchSpace(stages=(2, 2), blocks=(1, 2), width=(8, 32), width_step=8)
        >>> found = explore(space, Budget(params=15_000))
        >>> found.n_networks, found.n_fitting, found.bounds is None  # counted exactly
        (1440, 175, True)
        >>> [(choice.name, choice.stage, choice.value) for choice in found.choices if not choice.fits]
        [('channels', 1, 32)]
    """

    space: SearchSpace
    budget: Budget
    n_networks: int
    n_fitting: int
    bounds: tuple[float, float] | None
    n_near: int | None
    rows: Rows
    costs: dict[str, Counts]
    parts: dict[str, Counts]
    choices: tuple[Choice, ...]
    hints: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the space that fits."""
        return self.n_fitting / self.n_networks

    def part_shares(self, column: str) -> Shares:
        """Share of the whole that each part of each network drawn has, shape (N, stages + 2)."""
        parts = self.parts[column]
        shares: Shares = parts / parts.sum(axis=1, keepdims=True)
        return shares


def explore(
    space: SearchSpace, budget: Budget, seed: int = 0, on_progress: Callable[[float], None] = lambda _: None
) -> Exploration:
    """What of a space fits a budget.

    The counts and `fits` of the choices are exact. The shares are those of 10,000 networks drawn.

    Args:
        space: Networks there are.
        budget: Limits on them.
        seed: Fixes which networks are drawn.
        on_progress: Called with the share of the work that is done, from 0 to 1.

    Raises:
        NothingFitsError: Nothing does.
        SpaceTooLargeError: Too many widths to hold their pairs.

    Examples:
        >>> from nas_budget import Budget, SearchSpace
        >>> space = SearchSpace(stages=(3, 4), blocks=(1, 2), width=(8, 64), width_step=8)
        >>> found = explore(space, Budget(params=150_000))
        >>> found.n_networks, found.n_fitting, round(found.share, 3)
        (2429184, 407271, 0.168)
    """
    rows = draw_fitting(space, N_DRAWN, budget, seed)
    on_progress(DONE["drawn"])
    n_fitting, bounds, n_near = _count(space, budget, seed, on_progress)
    n_networks = count_networks(space)
    on_progress(DONE["counted"])
    choices = tuple(_choices(space, budget, rows, draw_fitting(space, N_DRAWN, None, seed)))
    on_progress(DONE["compared"])
    limited = (LATENCY,) if budget.latency_model else ()
    costs = cost_table(**rows, columns=(*COLUMNS, *limited), latency=budget.latency_model)
    return Exploration(
        space, budget, n_networks, n_fitting, bounds, n_near, rows, costs, parts_table(**rows), choices,
        tuple(_hints(space, budget)) if n_fitting < ENOUGH * n_networks else (),
    )  # fmt: skip


def _count(
    space: SearchSpace, budget: Budget, seed: int, on_progress: Callable[[float], None]
) -> tuple[int, tuple[float, float] | None, int | None]:
    """How many fit, bounds where that is an estimate, and how many of them use 90 % or more of a limit."""
    limits = {name: limit for name in LIMITS if (limit := getattr(budget, name))}
    below: dict[str, Any] = {name: max(1, limit - limit // 10 - 1) for name, limit in limits.items()}
    first, last = DONE["drawn"], DONE["counted"]
    with ThreadPoolExecutor(1) as pool:  # NumPy works outside the interpreter's lock: two cores share the two counts
        n_below = pool.submit(count_fitting, space, replace(budget, **below)) if limits else None
        try:
            fitting = count_fitting(space, budget, lambda share: on_progress(first + share * (last - first)))
        except SpaceTooLargeError:
            least, likely, most = estimate_fitting(space, budget, seed)
            return round(likely), (least, most), None
        return fitting, None, fitting - n_below.result() if n_below else None


def _choices(space: SearchSpace, budget: Budget, fitting: Rows, drawn: Rows) -> Iterator[Choice]:
    """Every value of every choice: how often networks have it, and whether any that fits can."""
    possible = set(_possible(space, budget))
    for name, stage, values in _values(space):
        before, after = _chosen(drawn, name, stage), _chosen(fitting, name, stage)
        for value in values:
            of_space, of_fitting = (float((chosen == value).sum() / N_DRAWN) for chosen in (before, after))
            yield Choice(name, stage, value, of_space, of_fitting, (name, stage, value) in possible)


def _values(space: SearchSpace) -> Iterator[tuple[str, int, list[Any]]]:
    """Name, stage (0: the network) and values of each choice that has more than one."""
    grid = [*width_grid(space)]
    blocks = [*range(space.blocks[0], space.blocks[1] + 1)]
    pools = sorted({pool for layout in layouts(space) for pool, *_ in head_choices(space, layout)})
    found = [("stages", 0, [*range(space.stages[0], space.stages[1] + 1)]), ("pool", 0, pools)]
    found += [(name, 0, _of_any_block(space, name)) for name in OPTIONS if name != "pool"]
    for stage in range(1, space.stages[1] + 1):
        strides = space.first_stride if stage == 1 else space.strides
        found += [("channels", stage, grid), ("blocks", stage, blocks), ("kernels", stage, sorted(set(space.kernels)))]
        found.append(("expansions", stage, _of_any_block(space, "expansions")))
        found.append(("strides", stage, sorted(set(strides))))
    return ((name, stage, values) for name, stage, values in found if len(values) > 1)


def _of_any_block(space: SearchSpace, name: str) -> list[Any]:
    """The values of a field where a kind of block has a choice between several; none where no kind has."""
    of_each = [choices_of(space, block, name) for block in space.block]
    if all(len(values) == 1 for values in of_each):
        return []
    return sorted({value for values in of_each for value in values if name != "expansions" or value})


def _chosen(rows: Rows, name: str, stage: int) -> NDArray[Any]:
    """What each network drawn has of a choice; only those that have the stage."""
    if name == "stages":
        n_stages: NDArray[Any] = np.count_nonzero(rows["channels"], axis=1)
        return n_stages
    values: NDArray[Any] = rows[name]
    return values[rows["channels"][:, stage - 1] > 0, stage - 1] if stage else values


def _possible(space: SearchSpace, budget: Budget) -> Iterator[tuple[str, int, Any]]:
    """Name, stage and value of what some network has that keeps every limit, each limit by itself."""
    for layout in layouts(space):
        graph = build_graph(space, layout, budget)
        layers = _passable(graph)
        if not layers[0].any():
            continue
        yield "stages", 0, len(layout["strides"])
        yield from ((name, 0, layout[name]) for name in KINDS)
        for node in np.flatnonzero(layers[0].any(axis=(1, 2))):
            yield from ((name, 0, value) for name, value in zip(STEMS, graph.stems[node], strict=True))
        for stage, (edges, stride) in enumerate(zip(layers, layout["strides"], strict=False), start=1):
            yield "strides", stage, stride
            yield from (("channels", stage, int(width)) for width in graph.widths[edges.any(axis=(0, 2))])
            for variant in np.flatnonzero(edges.any(axis=(0, 1))):
                yield from ((name, stage, v) for name, v in zip(VARIANTS, graph.variants[variant], strict=True))
        for node in np.flatnonzero(layers[-1].any(axis=(0, 2))):
            yield from ((name, 0, value) for name, value in zip(HEADS, graph.heads[node], strict=True))


def _passable(graph: LayeredGraph) -> list[NDArray[np.bool_]]:
    """Which edges of each layer are on a path that is within each limit by itself."""
    after = costs_to_go(graph.edges)
    before = costs_to_go([edges.reversed() for edges in reversed(graph.edges)])[::-1]
    limits = graph.limits[:, None, None, None]
    return [
        edges.open & (edges.costs + begin.least[:, :, None, None] + end.least[:, None, :, None] <= limits).all(axis=0)
        for edges, begin, end in zip(graph.edges, before, after[1:], strict=False)
    ]


def _hints(space: SearchSpace, budget: Budget) -> Iterator[str]:
    """The widest range of widths of which a tenth fits, and the most blocks; each by itself."""
    grid = width_grid(space)
    widths = [replace(space, width=(grid[0], width)) for width in grid]
    depths = [replace(space, blocks=(space.blocks[0], most)) for most in range(space.blocks[0], space.blocks[1] + 1)]
    for key, spaces in ("width", widths), ("blocks", depths):
        low, high, share = 0, len(spaces) - 1, 0.0  # the first of them fits best
        while low < high:
            middle = (low + high + 1) // 2
            if (found := _share_drawn(spaces[middle], budget)) >= ENOUGH:
                low, share = middle, found
            else:
                high = middle - 1
        if share:
            yield f"{key} = {list(getattr(spaces[low], key))}: about {share:.0%} would fit"


def _share_drawn(space: SearchSpace, budget: Budget) -> float:
    """Share of networks drawn from a space that fits."""
    counted = cost_table(
        **draw_fitting(space, N_TRIED, None, 0), columns=columns_of(budget), latency=budget.latency_model
    )
    return float(fits_table(counted, budget).mean())
