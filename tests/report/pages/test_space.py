"""The page of a space: its figures, its words, and in a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_budget.arch.budget import Budget
from nas_budget.errors import StorageError
from nas_budget.report.figures.cost_shares import shares_figure
from nas_budget.report.figures.space import (
    choice_groups,
    choices_figure,
    density_figure,
    mean_shares_figure,
    never,
    sizes_figure,
)
from nas_budget.report.pages.space import share_in_words, space_page, summary, write_space_page
from nas_budget.space import counting
from nas_budget.space import explore as module
from nas_budget.space.explore import Choice, Exploration, explore
from nas_budget.space.space import SearchSpace
from tests.report.browsing import (
    Open,
    fetches,
    goes_through_sections,
    lies_in_its_card,
    overlapping_ticks,
    scroll_through,
    words,
)
from tests.report.trials import EVIL, mixed, table_of

SPACE = SearchSpace(stages=(2, 3), blocks=(1, 2), kernels=(3,), pool=(2,), width=(4, 64), width_step=4)


@pytest.fixture(scope="module")
def found() -> Exploration:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "N_DRAWN", 1_000)
        return explore(SPACE, Budget(20_000, macs=4_000_000))


def test_the_headline_is_the_count_and_text_is_never_markup(found: Exploration) -> None:
    html = space_page(found, EVIL)
    assert EVIL not in html
    assert not fetches(html)
    seen = words(html)
    share = f"({share_in_words(found.share)})"
    assert f"{found.n_fitting:,} of {found.n_networks:,} networks fit {share} {found.n_near:,} of them" in seen
    for part in "20,000 parameters, 4,000,000 MACs", "Counted exactly", summary(found), found.hints[0]:
        assert part in seen
    assert re.match(r"With [23] stages, stage \d has \d+ % of the parameters and does \d+ % of", summary(found))


def test_what_is_not_exact_is_said_to_be_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "N_DRAWN", 500)
    monkeypatch.setattr(counting, "MOST_HALVES", 5)
    seen = words(space_page(explore(SPACE, Budget(200_000)), "mine"))
    assert "About" in seen
    assert "Too many to count exactly: certainly from" in seen


def test_values_that_never_fit_are_ranges(found: Exploration) -> None:
    (widths,) = (values for name, values in choice_groups(found.choices).items() if name == "stage 2 width")
    first = next(choice.value for choice in widths if not choice.fits)
    assert f"stage 2 width {first} to 64" in never(found.choices)
    assert all(choice.of_fitting == 0 for choice in found.choices if not choice.fits)
    out = {8, 12, 16, 40, 60, 64}
    widths = [Choice("channels", 1, width, 0.1, 0.1, width not in out) for width in range(8, 68, 4)]
    assert never(widths) == ["stage 1 width 8 to 16, 40, 60, 64"]


def test_costs_that_come_in_steps_leave_no_gaps(found: Exploration) -> None:
    steps = replace(found, costs=dict.fromkeys(found.costs, np.arange(100, 2_100, 100)))
    for bars in sizes_figure(steps).data:
        assert (bars.y > 0).all()
        assert sum(bars.y) == pytest.approx(1)


def test_one_network_alone_can_be_drawn() -> None:
    one = SearchSpace(stages=(2, 2), blocks=(1, 1), kernels=(3,), pool=(2,), shortcut_kernel=(3,), width=(8, 8))
    assert "1 of 1 networks fit (100.0 %)" in words(space_page(explore(one, Budget(20_000)), "mine"))


def test_shares_of_parts_fill_each_bar(found: Exploration) -> None:
    figure = mean_shares_figure(found)
    assert np.allclose(np.sum([bar.x for bar in figure.data], axis=0), 1)
    assert [bar.name for bar in figure.data] == ["stem", "stage 1", "stage 2", "stage 3", "head"]
    assert len({bar.marker.color for bar in figure.data}) == 5


def test_parts_have_the_colours_that_they_have_on_the_page_of_a_study(found: Exploration, tmp_path: Path) -> None:
    figure = mean_shares_figure(found)
    colours = {trace.name: trace.marker.color for trace in figure.data}
    trials = table_of(tmp_path, mixed()).head(1)
    of_study = shares_figure(trials, np.ones((1, len(colours)), int), "parameters")
    assert {trace.name: trace.marker.color for trace in of_study.data} == colours
    assert len({*colours.values()}) == len(colours) == 5


def test_the_density_counts_every_network_drawn(found: Exploration) -> None:
    figure = density_figure(found)
    assert np.nansum(figure.data[0].z) == 1_000
    assert len(figure.layout.shapes) == 2  # a line for each limit


def test_the_bars_of_a_choice_add_up_to_the_networks_that_have_it(found: Exploration) -> None:
    deep = float((found.rows["channels"][:, 2] > 0).mean())
    totals = [sum(bars.y) for bars in choices_figure(found).data if bars.name == "what fits"]
    for name, total in zip(choice_groups(found.choices), totals, strict=True):
        assert total == pytest.approx(deep if name.startswith("stage 3") else 1), name


@pytest.mark.parametrize(("share", "said"), [(0.239, "23.9 %"), (0.002, "1 in 500"), (0.0, "0.0 %"), (1.0, "100.0 %")])
def test_small_shares_are_said_as_one_in_so_many(share: float, said: str) -> None:
    assert share_in_words(share) == said


def test_a_folder_that_cannot_be_written(found: Exploration, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        write_space_page(found, tmp_path / "file" / "page.html", "mine")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(open_page: Open, found: Exploration, tmp_path: Path, width: int) -> None:
    write_space_page(found, tmp_path / "space.html", "mine")
    window = open_page((tmp_path / "space.html").as_uri(), width=width, ready=".figure .main-svg")
    scroll_through(window)
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    for name in "cost-shares", "density", "sizes", "choices":
        assert lies_in_its_card(window, name)
    titles = goes_through_sections(window)
    assert titles == ["Summary", *window.locator("section h2").all_text_contents()]
    assert overlapping_ticks(window) == []
