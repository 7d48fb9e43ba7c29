"""The page of studies, served on this machine and updated while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from nas_budget.cli.serve.server import THIS_MACHINE, serve
from nas_budget.errors import NasBudgetError, UsageError
from nas_budget.records.paths import FINALISTS_TABLE, trials_table
from nas_budget.report.pages.study import page
from nas_budget.report.pages.templates import render
from nas_budget.report.tables.studies import read_studies

Answer = Callable[[str, list[tuple[str, str]]], Any]
DAY = 86_400


def watch(sources: Sequence[Path], port: int, browser: bool) -> None:
    """Serve the page of studies until Ctrl-C; it reloads when a table changes."""
    if missing := next((source for source in sources if not source.exists()), None):
        raise UsageError(f"{missing}: no such folder or table; give a run folder such as runs/quickstart")
    serve(LivePage(sources), "report", THIS_MACHINE[0], port, "/", browser)


class LivePage:
    """A WSGI application: the page of run folders or tables, its plotly.js, and a stamp that changes with the page."""

    def __init__(self, sources: Sequence[Path]) -> None:
        self.sources = sources
        tables = [*map(trials_table, sources)]
        self.files = [*tables, *(table.with_name(FINALISTS_TABLE) for table in tables)]
        self.made: tuple[str, str] | None = None
        self.lock = threading.Lock()

    def __call__(self, request: dict[str, Any], start_response: Answer) -> Iterable[bytes]:
        """Answer a request."""
        if request["PATH_INFO"] == "/":
            return _answer(start_response, "200 OK", "text/html", self.page())
        if request["PATH_INFO"] == "/stamp":
            return _answer(start_response, "200 OK", "text/plain", self.stamp())
        if request["PATH_INFO"] == "/plotly.js":
            return _answer(start_response, "200 OK", "text/javascript", get_plotlyjs(), f"max-age={DAY}")
        return _answer(start_response, "404 Not Found", "text/plain", "no such page")

    def stamp(self) -> str:
        """What changes when a table is written."""
        return " ".join(str(_changed(file)) for file in self.files)

    def page(self) -> str:
        """The page as the tables are now; where they cannot be read yet, one that says so and retries."""
        with self.lock:
            stamp = self.stamp()
            if self.made is None or self.made[0] != stamp:
                try:
                    html = page(read_studies(self.sources), live=stamp)
                except Exception as error:  # a table that is damaged may be readable later
                    drawing = f"the page could not be drawn ({type(error).__name__}: {error})"
                    html = render("waiting.html", problem=str(error) if isinstance(error, NasBudgetError) else drawing)
                self.made = stamp, html
            return self.made[1]


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _answer(start_response: Answer, status: str, kind: str, text: str, cache: str = "no-store") -> list[bytes]:
    body = text.encode()
    headers = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), "Cache-Control": cache}
    start_response(status, [*headers.items()])
    return [body]
