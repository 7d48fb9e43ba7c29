"""What the servers serve lies in no folder: paths that lead elsewhere are answered with nothing of what is there."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import optuna
import pytest

from nas_budget.cli.serve import server as serving
from nas_budget.cli.serve.watch import LivePage
from nas_budget.records.trials import write_table
from tests.report import trials

MARK = "marked-as-private"
FOLDERS = ("", "/static", "/artifacts/0/0", "/dashboard", "/api", "/a", "/trials", "/plotly.js")
"""Where a path begins: names that a server of ours or of the dashboard knows, and those of a run folder."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with private files in it and beside it, and links to them."""
    run = tmp_path / "runs" / "a"
    write_table(run / "trials.csv", [trials.record(0)])
    for place in tmp_path / "private.txt", run / "private.txt", run.parent / "private.txt":
        place.write_text(MARK)
    (run / "link.txt").symlink_to(tmp_path / "private.txt")
    (run / "link").symlink_to(tmp_path)
    return run


def app_of(name: str, folder: Path) -> Any:
    """The application of a server."""
    if name == "report --watch":
        return LivePage([folder])
    wsgi = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed").wsgi
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="a")
    return wsgi(storage)


@pytest.fixture(params=["report --watch", "dashboard"])
def port(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that runs in the run folder."""
    monkeypatch.chdir(folder)
    app = serving.for_this_machine(app_of(request.param, folder))
    with make_server("127.0.0.1", 0, app, serving._Server, serving._QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def paths_to(folder: Path) -> Iterator[str]:
    """Paths to the private files as they may be written, from each place that a server knows."""
    outside = folder.parents[1] / "private.txt"
    for start in FOLDERS:
        yield from (f"{start}/private.txt", f"{start}/link.txt", f"{start}/link/private.txt", f"{start}/{outside}")
        yield from (f"{start}//{outside}", f"{start}/%2f{str(outside)[1:]}", f"{start}/file://{outside}")
        yield from (f"{start}/private.txt%00.png", f"{start}/.%5cprivate.txt", f"{start}/trials.csv")
        for up in "..", "%2e%2e", "%2e.", ".%2E", "..%2f..", "..%5c..", "%252e%252e", "....//":
            for depth in 1, 2, 3, 12:
                yield f"{start}/{'/'.join([up] * depth)}/private.txt"
                yield f"{start}/{'/'.join([up] * depth)}{outside}"


def test_no_path_leads_to_a_file(port: int, folder: Path) -> None:
    asked = [*paths_to(folder)]
    assert len(asked) > 500
    for path in asked:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.putrequest("GET", path)  # as it is, which a library would tidy
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        connection.close()
        assert MARK not in body, path
        assert answer.status in (302, 400, 403, 404, 405) or path.startswith("/dashboard"), (path, answer.status)


def test_the_servers_answer_what_they_should(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/")
    assert connection.getresponse().status in (200, 302)
    connection.close()
