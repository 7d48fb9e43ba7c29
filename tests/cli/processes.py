"""A command as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# As the console script, with Ctrl-C as a terminal has it, also where the tests run in the background.
COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND += "from nas_budget.cli import main; raise SystemExit(main())"


def answer(*arguments: str, folder: Path | None = None, code: str = COMMAND, **variables: str) -> str:
    """What a command prints, which succeeds and says nothing else."""
    command, env = [sys.executable, "-c", code, *arguments], {**os.environ, **variables}
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=folder, env=env)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def start(*arguments: object, how: tuple[str, ...] = ("-m", "nas_budget"), **variables: str) -> subprocess.Popen[str]:
    """The process of a command that takes a while."""
    command, env = [sys.executable, *how, *map(str, arguments)], {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def wait_until(reached: Callable[[], bool]) -> None:
    """Look, often, whether a process has come so far."""
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, "it did not get under way"
        time.sleep(0.02)


@contextmanager
def served(command: str, folder: Path, *options: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a command that serves a folder on any free port and opens no browser, and its address."""
    arguments, how = (command, folder, *options, "--port", 0, "--no-open"), ("-c", COMMAND)
    with start(*arguments, how=how, PYTHONWARNINGS="error", **variables) as process:
        assert process.stderr
        try:
            said = process.stderr.readline()
            assert said.startswith(f"{command}: http://127.0.0.1:"), said + process.stderr.read()
            yield process, said.removeprefix(f"{command}: ").removesuffix(" (Ctrl-C ends it)\n")
        finally:
            process.kill()


def interrupt(process: subprocess.Popen[str]) -> bool:
    """Press Ctrl-C, as one may where a command serves; whether that ends it without a complaint."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return (process.returncode, out, err) == (130, "", "interrupted\n")


def fetch(address: str | urllib.request.Request) -> str:
    """What a server of ours answers."""
    with urllib.request.urlopen(address, timeout=60) as answered:  # noqa: S310 - an address of ours
        return str(answered.read().decode())
