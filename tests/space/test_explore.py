"""What is said of a space, against lists of its every network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.errors import NothingFitsError
from nas_budget.space import counting
from nas_budget.space import explore as module
from nas_budget.space.counting import count_fitting, count_networks
from nas_budget.space.explore import explore
from nas_budget.space.space import SearchSpace
from tests.space.spaces import SMALL, every, fitting

BUDGET = Budget(6_000)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "N_DRAWN", 2_000)


@pytest.mark.parametrize("name", SMALL)
def test_counts_and_choices_are_those_of_a_list(name: str) -> None:
    found, fits = explore(SMALL[name], BUDGET), fitting(name, BUDGET)
    assert (found.n_networks, found.n_fitting, found.bounds) == (len(every(name)), len(fits), None)
    assert found.n_near == sum(cost(spec).params >= 5_400 for spec in fits)
    two = Budget(9_000, macs=1_500_000)
    near = sum(used.params >= 8_100 or used.macs >= 1_350_000 for used in map(cost, fitting(name, two)))
    assert explore(SMALL[name], two).n_near == near
    for choice in found.choices:
        if choice.name in ("channels", "blocks", "kernels", "expansions", "strides"):
            having = [s for s in fits if len(s.channels) >= choice.stage]
            having = [s for s in having if getattr(s, choice.name)[choice.stage - 1] == choice.value]
        elif choice.name == "stages":
            having = [spec for spec in fits if len(spec.channels) == choice.value]
        elif choice.name in ("stem_width", "shortcut_kernel"):
            continue  # two values may stand for the same network
        else:
            having = [spec for spec in fits if getattr(spec, choice.name) == choice.value]
        assert choice.fits == bool(having), choice
        assert choice.of_fitting == pytest.approx(len(having) / len(fits), abs=0.06)


def test_parts_add_up_to_the_whole() -> None:
    found = explore(SMALL["options"], BUDGET)
    assert np.array_equal(found.parts["params"].sum(axis=1), found.costs["params"])
    assert np.array_equal(found.parts["macs"].sum(axis=1), found.costs["macs"])
    assert np.allclose(found.part_shares("params").sum(axis=1), 1)


def test_ranges_that_would_fit_are_named_and_do() -> None:
    space = SearchSpace(stages=(3, 3), blocks=(1, 2), kernels=(3,), pool=(2,), width=(8, 256), width_step=8)
    found = explore(space, Budget(300_000))
    assert found.share < 0.1
    assert found.hints[0].startswith("width = [8, ")
    most = int(found.hints[0].split(",")[1].split("]")[0])
    narrower = replace(space, width=(8, most))
    assert count_fitting(narrower, Budget(300_000)) / count_networks(narrower) == pytest.approx(0.1, abs=0.06)
    assert explore(space, Budget(50_000_000)).hints == ()


def test_what_is_too_large_to_count_is_enclosed(monkeypatch: pytest.MonkeyPatch) -> None:
    space, budget = SearchSpace(stages=(4, 4), width=(8, 64), width_step=8), Budget(300_000)
    exact = count_fitting(space, budget)
    monkeypatch.setattr(counting, "MOST_HALVES", 10)
    found = explore(space, budget)
    assert found.bounds
    assert found.bounds[0] <= exact <= found.bounds[1]
    assert found.n_fitting == pytest.approx(exact, rel=0.05)
    assert found.n_near is None


def test_the_share_done_rises_while_it_counts() -> None:
    reported: list[float] = []
    explore(SearchSpace(stages=(1, 3), blocks=(1, 1), kernels=(3,), width=(4, 7)), BUDGET, on_progress=reported.append)
    assert len(reported) > 6  # after each of the six layouts, and before and after them
    assert reported == sorted(reported)
    assert 0 < reported[0] < reported[-1] < 1


def test_nothing_fits() -> None:
    with pytest.raises(NothingFitsError, match="cheapest network"):
        explore(SMALL["plain"], Budget(10))
