"""From a template of `report/assets` and figures to one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from nas_budget.errors import TableError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.formatting import duration, percent, percent_with_interval
from nas_budget.report.assets import asset


def render(template: str, filters: dict[str, Any] | None = None, scripts: Sequence[str] = (), **values: Any) -> str:
    """A template filled in as HTML, with the pages' common style; every text is escaped.

    Args:
        template: Its file's name.
        filters: More filters than `count`, `tenth`, `duration`, `percent` and `with_interval`.
        scripts: Names of the scripts that work on the page's `data` with its `plotly`; none for a page without figures.
        values: What it names.
    """
    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = {"count": "{:,.0f}", "tenth": "{:.1%}"}
    accuracies = {"percent": percent, "with_interval": percent_with_interval}
    environment.filters.update({name: form.format for name, form in shown.items()}, duration=duration)
    environment.filters.update(accuracies, **filters or {})
    texts = [asset(name) for name in scripts]
    return environment.get_template(template).render(style=asset("style.css"), scripts=texts, **values)


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
