"""The page of studies, served on this machine and updated while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from nas_budget.cli.serve.server import THIS_MACHINE, serve
from nas_budget.errors import NasBudgetError, NoTrialsError, UsageError
from nas_budget.records.paths import FINALISTS_TABLE, trials_table
from nas_budget.report.pages.study import page
from nas_budget.report.pages.templates import render
from nas_budget.report.pages.workers import workers_table
from nas_budget.report.tables.studies import read_known_workers, read_studies

Answer = Callable[[str, list[tuple[str, str]]], Any]
DAY = 86_400


def watch(sources: Sequence[Path], port: int, browser: bool, looks: Sequence[Callable[[], None]] = ()) -> None:
    """Serve the page of studies until Ctrl-C; it reloads when a table changes.

    Args:
        sources: Run folders or tables.
        port: Of this machine.
        browser: Whether to open one.
        looks: Called before the tables are looked at; each writes what is new of a study that lies elsewhere.
    """
    if missing := next((source for source in sources if not source.exists()), None):
        raise UsageError(f"{missing}: no such folder or table; give a run folder such as runs/quickstart")
    serve(LivePage(sources, looks), "report", THIS_MACHINE[0], port, "/", browser)


class LivePage:
    """A WSGI application: the page of run folders or tables, its plotly.js, and what changes while it is open.

    That is a stamp, which changes with the page, and the table of workers.

    Args:
        sources: Run folders or tables.
        looks: As `watch` has them.
    """

    def __init__(self, sources: Sequence[Path], looks: Sequence[Callable[[], None]] = ()) -> None:
        self.sources, self.looks = sources, looks
        tables = [*map(trials_table, sources)]
        self.files = [*tables, *(table.with_name(FINALISTS_TABLE) for table in tables)]
        self.made: tuple[str, str] | None = None
        self.lock = threading.Lock()

    def __call__(self, request: dict[str, Any], start_response: Answer) -> Iterable[bytes]:
        """Answer a request."""
        if (
            request["PATH_INFO"] in ("/", "/stamp", "/workers")
            and (lost := self.look())
            and request["PATH_INFO"] != "/"
        ):
            return _answer(start_response, "503 Service Unavailable", "text/plain", lost)
        if request["PATH_INFO"] == "/":
            return _answer(start_response, "200 OK", "text/html", self.page())
        if request["PATH_INFO"] == "/stamp":
            return _answer(start_response, "200 OK", "text/plain", self.stamp())
        if request["PATH_INFO"] == "/workers":
            return _answer(start_response, "200 OK", "text/html", self.workers())
        if request["PATH_INFO"] == "/plotly.js":
            return _answer(start_response, "200 OK", "text/javascript", get_plotlyjs(), f"max-age={DAY}")
        return _answer(start_response, "404 Not Found", "text/plain", "no such page")

    def look(self) -> str:
        """Write what is new of studies that lie elsewhere; why one cannot be reached, and empty where all can."""
        try:
            with self.lock:
                for look in self.looks:
                    look()
        except NasBudgetError as error:
            return str(error)
        return ""

    def workers(self) -> str:
        """The table of workers of the one study; empty where there is none."""
        known = read_known_workers(self.sources[0]) if len(self.sources) == 1 else ()
        return workers_table(known, live=True) if known else ""

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
                    problem = str(error) if isinstance(error, NasBudgetError) else drawing
                    known = "" if isinstance(error, NoTrialsError) else problem
                    return render("waiting.html", problem=known, workers=self.workers())
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
