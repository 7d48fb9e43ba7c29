"""Figures as image files, for papers and READMEs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go

from nas_budget.errors import NasBudgetError, StorageError, UsageError

KINDS = (".svg", ".png", ".pdf", ".jpg", ".webp")
WIDTH, PIXELS_PER_POINT = 900, 2


def write_image(figures: Mapping[str, go.Figure], name: str, path: Path) -> None:
    """Write one of the figures as an image on white. The ending of the path chooses the format.

    Needs the extra `images` and an installed Chrome or Chromium, which draws it.

    Args:
        figures: By name.
        name: Which of them; of several that begin with it, such as "curves", the first.
        path: Of the image.

    Raises:
        UsageError: There is no such figure, or the ending is of no known format.
        NasBudgetError: Kaleido or a browser is not installed.
        StorageError: The file cannot be written.
    """
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"--image {path}: unknown image format; end it in {', '.join(KINDS)}")
    known = name if name in figures else next((one for one in figures if one.startswith(f"{name}-")), None)
    if known is None:
        raise UsageError(f"--figure {name}: no such figure; there are {', '.join(figures)}")
    figure = go.Figure(figures[known]).update_layout(paper_bgcolor="white", plot_bgcolor="white")
    figure.data = [trace for trace in figure.data if trace.visible != "legendonly"]
    try:
        figure.write_image(path, width=WIDTH, scale=PIXELS_PER_POINT)
    except (ImportError, RuntimeError) as error:
        raise NasBudgetError(_needed(str(error))) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None


def _needed(problem: str) -> str:
    if "Kaleido package" in problem:
        return "images need kaleido: pip install 'nas-budget[images]'"
    if "Chrome" in problem:
        return "images are drawn by a browser: install Chrome or Chromium, or run plotly_get_chrome"
    first = next((line for line in problem.splitlines() if line.strip()), "no reason given")
    return f"the image could not be drawn ({first})"
