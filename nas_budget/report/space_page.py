"""One self-contained page that shows how much of a space fits a budget, and where the parameters go."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined

from nas_budget.arch.explore import Exploration
from nas_budget.errors import TableError
from nas_budget.files import write_whole
from nas_budget.report.page import PLOTLY_CONFIG
from nas_budget.report.space_figures import choices_figure, density_figure, never, parts_figure, sizes_figure


def write_space_page(found: Exploration, path: Path, title: str) -> None:
    """Write the page of an exploration to `path`, all of it or nothing.

    Raises:
        TableError: The file cannot be written.
    """
    try:
        write_whole(path, space_page(found, title))
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error.strerror or error})") from None


def space_page(found: Exploration, title: str) -> str:
    """The page of an exploration as HTML; the title is escaped."""
    template = files("nas_budget.report").joinpath("space.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count="{:,.0f}".format, share=share_in_words)
    style = files("nas_budget.report").joinpath("page.html").read_text(encoding="utf-8")
    figures = {"parts": parts_figure, "density": density_figure, "sizes": sizes_figure, "choices": choices_figure}
    html = {name: _html(draw(found), name, first=name == "parts") for name, draw in figures.items()}
    return environment.from_string(template).render(
        title=title, found=found, never=never(found.choices), summary=summary(found), figures=html,
        style=style[style.index("<style>") + len("<style>") : style.index("</style>")],
    )  # fmt: skip


def share_in_words(share: float) -> str:
    """A share such as "23.9 %", or "1 in 2,300" where it is small."""
    return f"{100 * share:.1f} %" if share >= 0.01 or not share else f"1 in {1 / share:,.0f}"


def summary(found: Exploration) -> str:
    """Where parameters and work go, in a sentence about the networks with the most common count of stages."""
    n_stages = np.count_nonzero(found.rows["channels"], axis=1)
    n = int(np.bincount(n_stages).argmax())
    params, macs = (found.part_shares(name)[n_stages == n].mean(axis=0) for name in ("params", "macs"))
    stage = int(params[1 : n + 1].argmax()) + 1
    busiest = int(macs[1 : n + 1].argmax()) + 1
    where = f"With {n} stages, stage {stage}" if len(np.unique(n_stages)) > 1 else f"Stage {stage}"
    first = f"{where} has {params[stage]:.0%} of the parameters and does {macs[stage]:.0%} of the multiply-adds"
    second = f"; stage {busiest} does {macs[busiest]:.0%} of them with {params[busiest]:.0%} of the parameters"
    return f"{first}{'' if busiest == stage else second}.".replace("%", " %")


def _html(figure: go.Figure, name: str, first: bool) -> str:
    height = f"{figure.layout.height}px"
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=first, div_id=name, config=PLOTLY_CONFIG | {"displayModeBar": False},
        default_height=height,
    )  # fmt: skip
    return html
