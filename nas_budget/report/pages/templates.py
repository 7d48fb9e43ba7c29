"""From a template of `report/assets` and figures to one self-contained page."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from nas_budget.errors import StorageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.formatting import duration, percent, percent_with_interval
from nas_budget.report.assets import asset
from nas_budget.report.figures.style import COLOURS, DARK, colours_as_css


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
    texts = [asset(f"scripts/{name}") for name in scripts]
    return environment.get_template(template).render(
        style=colours_as_css() + asset("style.css"), scripts=texts, dark=json.dumps(DARK),
        colours=json.dumps({name: light for name, (light, _) in COLOURS.items()}), **values,
    )  # fmt: skip


def json_in_html(values: Any) -> str:
    """Values and figures as JSON that is safe inside a script element."""
    text = json.dumps(values, cls=PlotlyJSONEncoder, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def write_page(path: Path, html: str) -> None:
    """Write a page, all of it or nothing.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        write_whole(path, html)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None


@cache
def plotly_script() -> str:
    """The plotly.js that draws figures on a page, without a network: compressed, and unpacked by the page."""
    packed = b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    return f'<script type="application/gzip" id="plotly">{packed}</script>'
