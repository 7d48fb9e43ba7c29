"""The web server of the live page and of the dashboard."""

from __future__ import annotations

import errno
import os
import threading
import webbrowser
from collections.abc import Sequence
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from nas_budget.cli.console.output import log
from nas_budget.errors import NasBudgetError

THIS_MACHINE = ("127.0.0.1", "localhost")
EVERYWHERE = ("", "0.0.0.0")  # noqa: S104


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request: a connection that a browser keeps open does not block others."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere two servers could share a port


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Print nothing about a request."""


def for_this_machine(app: Any) -> Any:
    """The application, which answers no page of another site that a browser here shows.

    Such a page cannot read what another address answers, unless its own name leads to this machine. The header `Host`
    has that name.
    """

    def answer(request: dict[str, Any], start_response: Any) -> Any:
        if request.get("HTTP_HOST", "").rpartition(":")[0] in THIS_MACHINE:
            return app(request, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"only this machine is answered"]

    return answer


def serve(app: Any, what: str, host: str, port: int, path: str, browser: bool, notes: Sequence[str] = ()) -> None:
    """Serve a WSGI application until Ctrl-C, and open a path of it; messages say `what` is where, then `notes`.

    Where the host is this machine, only requests to it by that name are answered.
    """
    app = for_this_machine(app) if host in THIS_MACHINE else app
    try:
        server = make_server(host, port, app, _Server, _QuietHandler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NasBudgetError(f"port {port} is in use; choose another with --port (0 takes any free one)") from None
        raise NasBudgetError(f"{host}:{port}: cannot be listened on ({error.strerror or error})") from None
    with server:
        url = f"http://{THIS_MACHINE[0] if host in EVERYWHERE else host}:{server.server_port}{path}"
        for line in (f"{what}: {url} (Ctrl-C ends it)", *notes):
            log(line)
        if browser:  # in a thread: a browser that runs in the terminal would keep the server from starting
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        server.serve_forever()
