"""Notebooks show networks and search results as drawings, with the figures that they cost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given

from nas_budget import Budget, ResNetSpec, cost
from nas_budget.records.finalists import FinalistSummary
from nas_budget.records.time_ledger import TimeLedger
from nas_budget.records.trials import best_of, pareto_front_of, write_table
from nas_budget.report.notebook import HEIGHT, UNIT, page_html, result_html, spec_html
from nas_budget.report.pages.study import write_page
from nas_budget.report.tables.studies import read_studies
from nas_budget.search.api import SearchResult
from tests.report.browsing import words
from tests.report.trials import EVIL, by_proxies, many, mixed, record
from tests.strategies import specs

STAND_IN = """
import sys
from types import ModuleType, SimpleNamespace

known = {}
html = SimpleNamespace(for_type_by_name=lambda module, name, draw: known.update({(module, name): draw}))
sys.modules["IPython"] = ModuleType("IPython")
shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": html}))
"""


@given(specs())
def test_every_part_is_a_row_with_what_it_costs(spec: ResNetSpec) -> None:
    html = spec_html(spec)
    used = cost(spec)
    rows = re.findall(r"<tr><th[^>]*>([^<]+)</th>.*?</tr>", html)
    assert rows == [part.name for part in used.parts]
    assert f"<b>{used.params:,} parameters, {used.macs:,} MACs</b>" in html
    for part in used.parts:
        assert f">{part.params:,} · " in html
        assert f">{part.macs:,} · " in html


def test_boxes_are_to_scale() -> None:
    html = spec_html(ResNetSpec((10, 20, 40), pool="global"))
    sizes = re.findall(r"width: (\d+)px; height: (\d+)px; background: #2563eb", html)
    widths, heights = zip(*((int(w), int(h)) for w, h in sizes), strict=True)
    assert widths == (28, 28, 55, UNIT, 28)
    assert heights == (HEIGHT, HEIGHT, 22, 11, 3)


def found(records: list[Any], **changes: Any) -> SimpleNamespace:
    """What a view reads of the result of a search."""
    best = best_of(records)
    fields = {
        "trials": records, "pareto_front": pareto_front_of(records), "best": best, "finalists": (),
        "best_spec": ResNetSpec((8, 16), pool="global") if best else None, "ledger": TimeLedger(complete=60.0),
        "settings": SimpleNamespace(name=f"mine {EVIL}", budget=Budget(params=500_000)),
    }  # fmt: skip
    return SimpleNamespace(**fields | changes)


def test_a_search_shows_its_best_network_and_its_pareto_front() -> None:
    html = result_html(found(mixed(channels=EVIL)))
    assert EVIL not in html
    seen = words(html)
    assert "8 trials, 60 s of training" in seen
    assert "75.3% ± 2.7% (95 %) on validation images" in seen
    assert " of 500,000 parameters to spare" in seen
    assert "Pareto front trial accuracy" in seen
    assert "the 12 largest of 15" in result_html(found([record(i, params=i + 1, accuracy=i / 20) for i in range(15)]))
    best = FinalistSummary(5, 43_210, 3, 0.7, 0.01, 0.02, 0.0, True, "")
    assert "70.0% ± 2.8% (95 %), mean of 3 runs, deviation of seeds 1.0%," in result_html(
        found(many(30), finalists=(best,))
    )
    assert "No trial has been trained to the end yet." in result_html(found([record(state="pruned")]))
    html = result_html(found(by_proxies()))
    assert "66.0% ± 2.9% (95 %) of its proxy at 1/2 of the width on validation images" in html
    assert "Pareto front, accuracies of proxies at 1/8 of the width" in html


@pytest.mark.parametrize("begins", ["get_ipython = lambda: shell", "get_ipython = lambda: None"])
def test_an_import_registers_the_views_where_a_shell_runs(begins: str) -> None:
    code = f"""{STAND_IN}
sys.modules["IPython"].{begins}
from nas_budget import ResNetSpec, SearchSpace
for (module, name), draw in known.items():
    print(module, name, draw.__name__)
assert not {{"torch", "pandas", "optuna"}} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    classes = {ResNetSpec: "spec_html", SearchResult: "result_html"}
    expected = [f"{of.__module__} {of.__name__} {draw}" for of, draw in classes.items()]
    assert ran.stdout.splitlines() == (expected if "shell" in begins else [])


@pytest.mark.browser
def test_a_report_works_in_the_frame_of_a_cell(browser: Any, tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", mixed(channels=EVIL))
    write_page(read_studies([tmp_path]), tmp_path / "report.html")
    window, trouble = browser.new_page(), []
    window.on("pageerror", lambda error: trouble.append(str(error)))
    window.set_content(page_html(tmp_path / "report.html", height=700))
    assert window.locator("iframe").bounding_box()["height"] == 700
    page = window.frame_locator("iframe")
    page.locator("#tradeoff .scatterlayer .point").first.wait_for(timeout=120_000)
    page.locator("#table tr[data-id='3']").click()
    page.locator("#table tr.pinned[data-id='3']").wait_for()
    assert page.locator("body").evaluate("() => location.hash") == "#trial=3"
    assert EVIL in page.locator("#trial-body").inner_text()
    assert trouble == []
