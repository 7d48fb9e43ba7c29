"""A network draws itself in a notebook: with the figures that it costs, to scale."""

from __future__ import annotations

import re

from hypothesis import given

from nas_budget import ResNetSpec, cost
from nas_budget.arch.drawing import HEIGHT, UNIT
from tests.strategies import specs


@given(specs())
def test_every_part_is_a_row_with_what_it_costs(spec: ResNetSpec) -> None:
    html = spec._repr_html_()
    used = cost(spec)
    rows = re.findall(r"<tr><th[^>]*>([^<]+)</th>.*?</tr>", html)
    assert rows == [part.name for part in used.parts]
    assert f"<b>{used.params:,} parameters, {used.macs:,} MACs</b>" in html
    for part in used.parts:
        assert f">{part.params:,} · " in html
        assert f">{part.macs:,} · " in html


def test_boxes_are_to_scale() -> None:
    html = ResNetSpec((10, 20, 40), pool="global")._repr_html_()
    sizes = re.findall(r"width: (\d+)px; height: (\d+)px; background: #2563eb", html)
    widths, heights = zip(*((int(w), int(h)) for w, h in sizes), strict=True)
    assert widths == (28, 28, 55, UNIT, 28)
    assert heights == (HEIGHT, HEIGHT, 22, 11, 3)
