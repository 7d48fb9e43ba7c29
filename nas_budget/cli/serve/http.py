"""A small web server for pages on this machine."""

from __future__ import annotations

import errno
import os
import threading
import webbrowser
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from nas_budget.errors import NasBudgetError

THIS_MACHINE = ("127.0.0.1", "localhost")
EVERYWHERE = ("", "0.0.0.0")  # noqa: S104


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a request: a browser that keeps a connection open holds up no other."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would share a port that is in use


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing of a request."""


def listen(app: Any, host: str, port: int) -> WSGIServer:
    """A server of a WSGI application that has its port already.

    Raises:
        NasBudgetError: Host and port are not to be had.
    """
    try:
        return make_server(host, port, app, _Server, _QuietHandler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NasBudgetError(f"port {port} is in use; choose another with --port (0 takes any free one)") from None
        raise NasBudgetError(f"{host}:{port}: cannot be listened on ({error.strerror or error})") from None


def address_of(server: WSGIServer, host: str) -> str:
    """Where a browser on this machine finds the server."""
    return f"http://{THIS_MACHINE[0] if host in EVERYWHERE else host}:{server.server_port}"


def serve_until_interrupted(server: WSGIServer, opened: str = "") -> None:
    """Answer until Ctrl-C, after opening a browser at an address if there is one."""
    if opened:  # in a thread: a browser that runs in the terminal would keep the server from starting
        threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()
    server.serve_forever()
