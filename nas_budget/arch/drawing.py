"""A network as HTML, for notebooks: its stages to scale, and where parameters and MACs go."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from nas_budget.arch.cost import PartCost, cost

if TYPE_CHECKING:
    from nas_budget.arch.spec import ResNetSpec

UNIT, HEIGHT, BAR = 110, 44, 120
"""Pixels of the widest part, the largest map and the longest bar."""
LEFT, RIGHT = "text-align: left", "text-align: right"


def spec_html(spec: ResNetSpec) -> str:
    """A table with a row for each part: a box as wide as it has channels and as high as its maps, and bars."""
    used = cost(spec)
    widest = max(part.out_shape[0] for part in used.parts)
    largest = max(part.out_shape[1] for part in used.parts)
    rows = "".join(
        _row(part, part.out_shape[0] / widest, part.out_shape[1] / largest, used.params, used.macs)
        for part in used.parts
    )
    heads = "".join(f'<th style="{LEFT}">{words}</th>' for words in ("", "to scale", "maps", "parameters", "MACs"))
    return (
        f"<div><b>{used.params:,} parameters, {used.macs:,} MACs</b> · {escape(str(spec))}"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(part: PartCost, width: float, height: float, params: int, macs: int) -> str:
    channels, rows, columns = part.out_shape
    size = f"width: {max(4, UNIT * width):.0f}px; height: {max(3, HEIGHT * height):.0f}px"
    return (
        f'<tr><th style="{LEFT}">{part.name}</th>'
        f'<td style="{LEFT}"><div style="{size}; background: #2563eb; border-radius: 2px"></div></td>'
        f'<td style="{LEFT}">{channels} × {rows}×{columns}</td>'
        f"{_bar(part.params, params, '#93c5fd')}{_bar(part.macs, macs, '#5eead4')}</tr>"
    )


def _bar(value: int, total: int, colour: str) -> str:
    """A cell with a number, its share, and a bar below as long as the share."""
    bar = f'<div style="width: {max(1, BAR * value / total):.0f}px; height: 4px; background: {colour}"></div>'
    return f'<td style="{LEFT}">{value:,} · {value / total:.1%}{bar}</td>'
