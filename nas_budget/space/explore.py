"""A space against a budget, before anything is trained: how much fits, where its parameters go, what never fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.arch.budget import LIMITS, Budget
from nas_budget.arch.cost_table import Counts, columns_of, cost_table, fits_table, parts_table
from nas_budget.errors import SpaceTooLargeError
from nas_budget.space.counting import count_fitting, count_networks
from nas_budget.space.layout_graph import Chain, ends, layouts, make_chain, pools_of
from nas_budget.space.sampling import Rows, draw_fitting, estimate_fitting
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.width_grid import width_grid

N_DRAWN = 10_000
N_TRIED = 1_000
ENOUGH = 0.1
"""Share of a space that fits below which narrower ranges are named."""
DONE = {"drawn": 0.18, "fitting counted": 0.42, "counted": 0.75, "compared": 0.88}
"""Share of the time after each part, as measured on a space of the default size."""

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
        costs: What each of them costs: "params", "macs", "buffers" and "activation_bytes", shape (N,).
        parts: "params" and "macs" of the stem, each stage and the head of each, shape (N, stages + 2).
        choices: Every value of every choice there is.
        hints: Ranges that would fit better, in words; none where enough fits.
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
    space: SearchSpace, budget: Budget, seed: int = 0, tell: Callable[[float], None] = lambda _: None
) -> Exploration:
    """What of a space fits a budget.

    Args:
        space: Networks there are.
        budget: Limits on them.
        seed: Of what is drawn.
        tell: Is told about which share of the work is done, 0 to 1.

    Raises:
        NothingFitsError: Nothing does.
        SpaceTooLargeError: Too many widths to hold their pairs.
    """
    rows = draw_fitting(space, N_DRAWN, budget, seed)
    tell(DONE["drawn"])
    n_fitting, bounds, n_near = _count(space, budget, seed, tell)
    n_networks = count_networks(space)
    tell(DONE["counted"])
    choices = tuple(_choices(space, budget, rows, draw_fitting(space, N_DRAWN, None, seed)))
    tell(DONE["compared"])
    return Exploration(
        space, budget, n_networks, n_fitting, bounds, n_near, rows, cost_table(**rows), parts_table(**rows), choices,
        tuple(_hints(space, budget)) if n_fitting < ENOUGH * n_networks else (),
    )  # fmt: skip


def _count(
    space: SearchSpace, budget: Budget, seed: int, tell: Callable[[float], None]
) -> tuple[int, tuple[float, float] | None, int | None]:
    try:
        fitting = count_fitting(space, budget)
    except SpaceTooLargeError:
        least, likely, most = estimate_fitting(space, budget, seed)
        return round(likely), (least, most), None
    tell(DONE["fitting counted"])
    below: dict[str, Any] = {
        name: max(1, limit - limit // 10 - 1) for name in LIMITS if (limit := getattr(budget, name))
    }
    if not below:
        return fitting, None, None
    return fitting, None, fitting - count_fitting(space, replace(budget, **below))


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
    pools = sorted({pool for layout in layouts(space) for pool in pools_of(space, layout)})
    found = [("stages", 0, [*range(space.stages[0], space.stages[1] + 1)]), ("pool", 0, pools)]
    found += [(name, 0, sorted(set(getattr(space, name)))) for name in OPTIONS if name != "pool"]
    for stage in range(1, space.stages[1] + 1):
        strides = space.first_stride if stage == 1 else space.strides
        found += [("channels", stage, grid), ("blocks", stage, blocks), ("kernels", stage, sorted(set(space.kernels)))]
        found.append(("strides", stage, sorted(set(strides))))
    return ((name, stage, values) for name, stage, values in found if len(values) > 1)


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
        chain = make_chain(space, layout, budget)
        links = _passable(chain)
        if not links[0].any():
            continue
        yield "stages", 0, len(layout["strides"])
        yield from ((name, 0, layout[name]) for name in ("block", "se_reduction", "shortcut_kernel"))
        for node in np.flatnonzero(links[0].any(axis=(1, 2))):
            yield from zip(("stem_kernel", "stem_width"), (0, 0), chain.stems[node], strict=True)
        for stage, (link, stride) in enumerate(zip(links, layout["strides"], strict=False), start=1):
            yield "strides", stage, stride
            yield from (("channels", stage, int(width)) for width in chain.widths[link.any(axis=(0, 2))])
            for way in np.flatnonzero(link.any(axis=(0, 1))):
                yield from zip(("blocks", "kernels"), (stage, stage), chain.ways[way], strict=True)
        yield from (("pool", 0, chain.pools[node]) for node in np.flatnonzero(links[-1].any(axis=(0, 2))))


def _passable(chain: Chain) -> list[NDArray[np.bool_]]:
    """Which ways of each link are on a path that is within each limit by itself."""
    after = ends(chain.links)
    before = ends([link.reversed() for link in reversed(chain.links)])[::-1]
    limits = chain.limits[:, None, None, None]
    return [
        link.open & (link.costs + begin.least[:, :, None, None] + end.least[:, None, :, None] <= limits).all(axis=0)
        for link, begin, end in zip(chain.links, before, after[1:], strict=False)
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
    counted = cost_table(**draw_fitting(space, N_TRIED, None, 0), columns=columns_of(budget))
    return float(fits_table(counted, budget).mean())
