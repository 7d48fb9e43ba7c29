"""Colours: one table for figures, style sheets and the dark page."""

from __future__ import annotations

import re
from pathlib import Path

import nas_budget.report
from nas_budget.report.figures.style import COLOURS, DARK, STAGES, colours_as_css, colours_of_parts

REPORT = Path(nas_budget.report.__file__).parent
MIDDLE = ("#60a5fa", "#3b82f6")
"""Of scales; they are the same on light and on dark ground."""
HEX = re.compile(r"#[0-9a-f]{6}\b")


def test_a_colour_means_one_thing() -> None:
    assert len({light for light, _ in COLOURS.values()}) == len(COLOURS)


def test_every_colour_of_a_figure_or_a_page_is_of_the_table() -> None:
    for path in REPORT.rglob("*"):
        if path.suffix in {".py", ".js", ".css", ".html"} and path.name not in ("style.py", "notebook.py"):
            assert {*HEX.findall(path.read_text())} <= {*DARK, *MIDDLE}, path


def test_style_sheets_know_each_colour_by_its_meaning() -> None:
    css = colours_as_css()
    known = {name for name, _ in re.findall(r"--([a-z]+): (#[0-9a-f]{6});", css)}
    assert known == {*COLOURS}
    light, dark = COLOURS["accent"]
    assert css.count(f"--accent: {light};") == 2  # on screen and on paper
    assert css.count(f"--accent: {dark};") == 1
    used = "".join((REPORT / "assets" / name).read_text() for name in ("style.css", "run.html", "space.html"))
    own = {"blocks", "height", "unit", "width"}  # sizes
    assert {*re.findall(r"var\(--([a-z]+)\)", used)} <= known | own


def test_parts_of_a_network_have_a_colour_each_and_later_stages_are_stronger() -> None:
    for n_stages in range(1, len(STAGES) + 1):
        stem, *stages, head = colours_of_parts(n_stages)
        assert len({stem, *stages, head}) == n_stages + 2
        assert stages == sorted(stages, key=[light for light, _ in STAGES].index)
    assert len(colours_of_parts(12)) == 14
