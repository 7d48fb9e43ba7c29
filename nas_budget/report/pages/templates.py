"""From a template of `report/assets` and figures to one self-contained page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from nas_budget.errors import TableError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.formatting import duration
from nas_budget.report.assets import asset

PLOTLY_CONFIG = {"displaylogo": False, "responsive": True, "displayModeBar": False}


def render(template: str, filters: dict[str, Any] | None = None, **values: Any) -> str:
    """A template filled in as HTML, with the pages' common style; every text is escaped.

    Args:
        template: Its file's name.
        filters: More filters than `count`, `percent` and `duration`.
        values: What it names.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count="{:,.0f}".format, percent=percent, duration=duration, **(filters or {}))
    return environment.from_string(asset(template)).render(style=asset("style.css"), **values)


def json_in_html(values: Any) -> str:
    """Values and figures as JSON that is safe inside a script element."""
    text = json.dumps(values, cls=PlotlyJSONEncoder, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def write_page(path: Path, html: str) -> None:
    """Write a page, all of it or nothing.

    Raises:
        TableError: It cannot be written.
    """
    try:
        write_whole(path, html)
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error.strerror or error})") from None


def plotly_script() -> str:
    """The plotly.js that draws figures on a page, whole, so that it opens without a network."""
    return f"<script>{get_plotlyjs()}</script>"


def figure_html(figure: go.Figure, name: str) -> str:
    """A figure as an element of a page that holds `plotly_script` before it."""
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config=PLOTLY_CONFIG,
        default_height=f"{figure.layout.height}px",
    )  # fmt: skip
    return html


def percent(share: float) -> str:
    """A share such as "49.95 %"."""
    return f"{share:.2%}"
