"""A command that serves, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# As the console script, with Ctrl-C as a terminal has it, also where the tests run in the background.
COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND += "from nas_budget.cli import main; raise SystemExit(main())"


@contextmanager
def process_of(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a command that takes any free port and opens no browser, and the first line that it says."""
    command = [sys.executable, "-c", COMMAND, *arguments, "--port", "0", "--no-open"]
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "error"}, **pipe) as process:
        try:
            yield process, process.stderr.readline()
        finally:
            process.kill()
