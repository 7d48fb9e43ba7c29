"""One self-contained page that shows how much of a space fits a budget, and where the parameters go."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_budget.report.figures.space import choices_figure, density_figure, mean_shares_figure, never, sizes_figure
from nas_budget.report.pages.templates import json_in_html, plotly_script, render, write_page
from nas_budget.space.explore import Exploration


def write_space_page(found: Exploration, path: Path, title: str) -> None:
    """Write the page of an exploration to `path`, all of it or nothing.

    Raises:
        StorageError: The file cannot be written.
    """
    write_page(path, space_page(found, title))


def space_page(found: Exploration, title: str) -> str:
    """The page of an exploration as HTML; the title is escaped."""
    figures = {
        "cost-shares": mean_shares_figure(found), "density": density_figure(found), "sizes": sizes_figure(found),
        "choices": choices_figure(found),
    }  # fmt: skip
    return render(
        "space.html", {"share": share_in_words}, ["common.js", "figures.js"], title=title, found=found,
        never=never(found.choices), summary=summary(found), figures=figures,
        data=json_in_html({"name": title, "figures": figures}), plotly=plotly_script(),
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
