"""Networks, search results and reports as HTML, for Jupyter, Colab and Kaggle notebooks.

`import nas_budget` in a notebook registers these views with IPython, by the names of the types. So nothing below has to
know about them. Where IPython starts later, `%load_ext nas_budget.report.notebook` does the same.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from nas_budget.arch.cost import PartCost, cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.formatting import percent, percent_with_interval, seconds_in_words, width_in_words
from nas_budget.records.trials import TrialRecord, proposed_of

UNIT, HEIGHT, BAR = 110, 44, 120
"""Pixels of the widest part, the largest map and the longest bar."""
LEFT, RIGHT = "text-align: left", "text-align: right"
FRONT_COLUMNS = ("trial", "accuracy", "parameters", "MACs", "channels", "blocks")
MOST_ROWS = 12


def load_ipython_extension(shell: Any) -> None:
    """Register the views with an IPython shell; `shell` is its `InteractiveShell`, or None for no shell."""
    if shell is not None:
        html = shell.display_formatter.formatters["text/html"]
        html.for_type_by_name("nas_budget.arch.spec", "ResNetSpec", spec_html)
        html.for_type_by_name("nas_budget.search.api", "SearchResult", result_html)


def page_html(page: str | Path, height: int = 800) -> str:
    """A report, such as `runs/quickstart/report.html`, in a frame of `height` pixels: `IPython.display.HTML` shows it.

    The whole page is in it, as a notebook cannot read files of the machine that it runs on.
    """
    content = escape(Path(page).read_text(encoding="utf-8"))
    return f'<div><iframe srcdoc="{content}" style="width: 100%; height: {height}px; border: 0"></iframe></div>'


def spec_html(spec: ResNetSpec) -> str:
    """A network as a table: each part to scale, as wide as its channels and as high as its maps, with its costs.

    Examples:
        >>> spec_html(ResNetSpec((32, 64, 96, 128, 185)))[:52]
        '<div><b>4,907,445 parameters, 226,502,006 MACs</b> ·'
    """
    used = cost(spec)
    widest = max(part.out_shape[0] for part in used.parts)
    largest = max(part.out_shape[1] for part in used.parts)
    rows = "".join(
        _part_row(part, part.out_shape[0] / widest, part.out_shape[1] / largest, used.params, used.macs)
        for part in used.parts
    )
    heads = "".join(f'<th style="{LEFT}">{words}</th>' for words in ("", "to scale", "maps", "parameters", "MACs"))
    return (
        f"<div><b>{used.params:,} parameters, {used.macs:,} MACs</b> · {escape(str(spec))}"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _part_row(part: PartCost, width: float, height: float, params: int, macs: int) -> str:
    channels, rows, columns = part.out_shape
    size = f"width: {max(4, UNIT * width):.0f}px; height: {max(3, HEIGHT * height):.0f}px"
    return (
        f'<tr><th style="{LEFT}">{part.name}</th>'
        f'<td style="{LEFT}"><div style="{size}; background: #2563eb; border-radius: 2px"></div></td>'
        f'<td style="{LEFT}">{channels} × {rows}×{columns}</td>'
        f"{_bar(part.params, params, '#93c5fd')}{_bar(part.macs, macs, '#5eead4')}</tr>"
    )


def _bar(value: int, total: int, colour: str) -> str:
    """A cell with a number, its share, and a bar as long as the share."""
    bar = f'<div style="width: {max(1, BAR * value / total):.0f}px; height: 4px; background: {colour}"></div>'
    return f'<td style="{LEFT}">{value:,} · {value / total:.1%}{bar}</td>'


def result_html(found: Any) -> str:
    """A `SearchResult`: name, accuracy, margins, the best network, and the Pareto front as a table.

    Every text of the study is escaped.
    """
    n = len(proposed_of(found.trials))
    wider = f", {len(found.trials) - n} of them again, wider" if len(found.trials) > n else ""
    spent = f"{n} trial{'' if n == 1 else 's'}{wider}, {seconds_in_words(found.ledger.spent)} of training"
    title = f"<div><b>{escape(found.settings.name)}</b> · {spent}</div>"
    spec = found.best_spec
    if found.best is None or spec is None:
        return f"{title}<div>No trial has been trained to the end yet.</div>"
    margins = "; ".join(
        f"{margin.number(margin.margin)} of {margin.number(margin.limit)} {margin.words} to spare"
        for margin in found.settings.budget.check(spec).margins
    )
    accuracy = f"<h3>{_accuracy(found)} on validation images</h3>"
    return f"{title}{accuracy}<div>{margins}</div>{spec_html(spec)}{_front(found.pareto_front)}"


def _accuracy(found: Any) -> str:
    trained = f" of its proxy at {width_in_words(found.best.proxy)}" if found.best.proxy < 1 else ""
    images = found.best.validation_images
    if not found.finalists:
        return f"{percent_with_interval(found.best.accuracy, images)} (95 %){trained}"
    first = found.finalists[0]
    deviation = "" if first.deviation is None else f", deviation of seeds {percent(first.deviation, images)}"
    return f"{percent_with_interval(first.mean, images)} (95 %){trained}, mean of {first.n_runs} runs{deviation},"


def _front(front: tuple[TrialRecord, ...]) -> str:
    heads = "".join(f'<th style="{RIGHT if i < 4 else LEFT}">{name}</th>' for i, name in enumerate(FRONT_COLUMNS))
    largest = sorted(front, key=lambda row: -row.params)[:MOST_ROWS]
    title = "Pareto front" if len(largest) == len(front) else f"Pareto front, the {MOST_ROWS} largest of {len(front)}"
    if front and front[0].proxy < 1:
        title += f", accuracies of proxies at {width_in_words(front[0].proxy)}"
    rows = "".join(map(_trial_row, largest))
    return f"<h4>{title}</h4><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _trial_row(trial: TrialRecord) -> str:
    numbers = (
        str(trial.number),
        percent(trial.accuracy or 0.0, trial.validation_images),
        f"{trial.params:,}",
        f"{trial.macs:,}",
    )
    right = "".join(f'<td style="{RIGHT}">{cell}</td>' for cell in numbers)
    left = "".join(f'<td style="{LEFT}">{escape(text)}</td>' for text in (trial.channels, trial.blocks))
    return f"<tr>{right}{left}</tr>"
