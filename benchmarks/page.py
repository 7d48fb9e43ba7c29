"""How long the page of a study takes to make, to open and to sort, beside a page of plotly.js and nothing else.

    python benchmarks/page.py [rounds]

The trials are real networks with made-up curves. Opening ends when the trials are drawn. Needs Chromium.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from nas_budget.records.trials import write_table
from nas_budget.report.pages.study import write_page
from nas_budget.report.pages.templates import plotly_script
from nas_budget.report.tables.studies import read_studies
from tests.report.browsing import CHROMIUM, FLAGS
from tests.report.trials import many

SIZES = (100, 1_000, 10_000)
EMPTY = f"""<!doctype html><div id="tradeoff"></div>{plotly_script()}
<script>Plotly.newPlot("tradeoff", [{{x: [1], y: [1], mode: "markers"}}], {{}})</script>"""
SORT = """(() => {
    const began = performance.now();
    document.querySelector("#table th[data-name=params] button").click();
    return performance.now() - began;
})()"""
AXIS = """(() => {
    const began = performance.now(), select = document.getElementById("axis");
    select.value = select.value === "params" ? "macs" : "params";
    select.dispatchEvent(new Event("change"));
    return performance.now() - began;
})()"""


PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def seconds_of(run: Callable[[], Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def opened(browser: Any, path: Path) -> tuple[Any, float]:
    """The page in a new window, and seconds until its points are there."""
    window = browser.new_page(viewport={"width": 1280, "height": 900})

    def open_it() -> None:
        window.goto(path.as_uri(), timeout=120_000)
        window.wait_for_selector("#tradeoff .point", timeout=120_000)

    return window, seconds_of(open_it)


def measure(browser: Any, folder: Path, n: int, n_rounds: int) -> list[str]:
    """A row of the table."""
    write_table(folder / "trials.csv", many(n))
    path = folder / "report.html"
    made, painting, opening, sorting, axis = [], [], [], [], []
    for _ in range(n_rounds):
        made.append(seconds_of(lambda: write_page(read_studies([folder]), path)))
        window, took = opened(browser, path)
        painting.append(window.evaluate(PAINTED) / 1e3)
        opening.append(took)
        sorting.append(window.evaluate(SORT) / 1e3)
        axis.append(window.evaluate(AXIS) / 1e3)
        window.close()
    size = path.stat().st_size / 1e6
    return [
        f"{n:,}",
        f"{size:.1f} MB",
        *(f"{median(values):.2f} s" for values in (made, painting, opening, sorting, axis)),
    ]


def main() -> None:
    """Print a row for each number of trials."""
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        print(f"Chromium {browser.version} without a GPU, plotly {version('plotly')}; medians of {n_rounds} rounds")
        (folder / "empty.html").write_text(EMPTY)
        floor = median(opened(browser, folder / "empty.html")[1] for _ in range(n_rounds))
        print(f"plotly.js with one point: {floor:.2f} s to open")
        print("trials, page, made, text to be read, figure drawn, sorted, other axis; drawn against plotly.js alone")
        for n in SIZES:
            row = measure(browser, folder, n, n_rounds)
            print("  ".join(row), f"  {float(row[4].split()[0]) / floor:.2f} times")
        browser.close()


if __name__ == "__main__":
    main()
