"""How many pairs of two lists of costs keep every limit together, without comparing each with each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas_budget.space.layout_graph import Counts

FEW_PAIRS = 20_000
"""Pairs that are compared directly."""
Count = Callable[[Counts, Counts], int]


def within(costs: Counts, most: Counts) -> NDArray[np.bool_]:
    """Which columns of `costs`, shape (limits, n), are at most `most`, shape (limits,), in every row."""
    kept: NDArray[np.bool_] = costs[0] <= most[0]
    for row, limit in zip(costs[1:], most[1:], strict=True):
        kept &= row <= limit
    return kept


def pairs_within(room: Counts, costs: Counts) -> int:
    """How many pairs of a column of `room` and one of `costs` there are in which every cost is at most the room.

    Args:
        room: What each first half leaves of each limit, shape (limits, n).
        costs: What each second half costs, shape (limits, m).
    """
    if not room.size or not costs.size:
        return 0
    if room.shape[1] * costs.shape[1] <= FEW_PAIRS:
        return int((costs[:, None, :] <= room[:, :, None]).all(axis=0).sum())
    # Most first halves leave so much of all limits but one that only this one can be passed. Which limits matter is
    # asked of each of them; a number holds the answer, one bit a limit.
    matters = np.zeros(room.shape[1], np.int8)
    for bit, (left, cost) in enumerate(zip(room, costs, strict=True)):
        matters |= (left < cost.max()).astype(np.int8) << bit
    alive = within(costs.min(axis=1)[:, None] - room, np.zeros(len(room), room.dtype))
    total: int = int(np.count_nonzero(alive & (matters == 0))) * costs.shape[1]
    for bits in range(1, 2 ** len(room)):
        which = np.flatnonzero(alive & (matters == bits))
        rows = [row for row in range(len(room)) if bits >> row & 1]
        if which.size:
            count: Count = (_count_lower, _count_lower_in_both, _count_lower_in_all)[min(len(rows), 3) - 1]
            total += int(count(np.stack([room[row].take(which) for row in rows]), costs[rows]))
    return total


def _count_lower(room: Counts, costs: Counts) -> int:
    """How many pairs there are in which the cost is at most the room, with one limit."""
    # Up to a low number a histogram answers by its running sums, in linear time; beyond it two sorted lists do.
    highest = int(room.max())
    if highest > 8 * (room.size + costs.size):
        found = np.searchsorted(np.sort(costs[0]), np.sort(room[0]), side="right")
    else:
        found = np.cumsum(np.bincount(costs[costs <= highest], minlength=highest + 1))[room[0]]
    return int(found.sum())


def _count_lower_in_both(room: Counts, costs: Counts) -> int:
    """The same for two limits, by a wavelet matrix (Claude, Navarro and Ordonez 2015) of ranks, bit by bit.

    The costs are sorted by the first limit, so that those within the first room are a range of the list, from its
    beginning. Of how many the rank by the second limit is low enough is read off level by level: the list is split by
    one bit of the ranks, and each range goes on as a range of one of the parts.
    """
    first, second = costs[:, np.argsort(costs[0])]
    end = np.searchsorted(first, room[0], side="right").astype(np.int32)
    # Costs of one kind come with costs of the other: often all that keep the first limit keep the second too.
    undecided = np.maximum.accumulate(second)[end - 1] > room[1]
    total = int(end.sum(where=~undecided))
    end, room = end[undecided], room[:, undecided]
    first, second = first[: end.max(initial=0)], second[: end.max(initial=0)]
    order = np.argsort(second)
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    begin = np.zeros_like(end)
    below = np.searchsorted(second[order], room[1], side="right")  # a rank below this keeps the second limit
    zeros = np.zeros(len(order) + 1, np.int32)
    for bit in reversed(range(len(order).bit_length())):
        zero = ranks & (1 << bit) == 0
        np.cumsum(zero, out=zeros[1:])
        up, low_begin, low_end = below & (1 << bit) != 0, zeros[begin], zeros[end]
        # Where the bit of `below` is 1, every rank of the range with a 0 there is below it.
        total += int((low_end - low_begin).sum(where=up))
        begin = np.where(up, zeros[-1] + begin - low_begin, low_begin)
        end = np.where(up, zeros[-1] + end - low_end, low_end)
        ranks = np.concatenate([ranks[zero], ranks[~zero]])
    return total


def _count_lower_in_all(room: Counts, costs: Counts) -> int:
    """The same for three or more limits: the longer list is halved until few limits matter or few pairs are left."""
    costs = costs[:, within(costs, room.max(axis=1))]
    if room.shape[1] < costs.shape[1]:
        room, costs = _swapped(room, costs)
    spread = (room.max(axis=1) - room.min(axis=1)) / (abs(room).max(axis=1) + 1)
    order = np.argsort(room[spread.argmax()])
    half = len(order) // 2
    return sum(pairs_within(room[:, part], costs) for part in (order[:half], order[half:]))


def _swapped(room: Counts, costs: Counts) -> tuple[Counts, Counts]:
    """The same pairs from the other side: a cost is at most the room where the room's lack is at most the cost's."""
    top = np.maximum(room.max(axis=1), costs.max(axis=1))[:, None]
    return top - costs, top - room
