"""Signals and closed terminals while a search runs: nothing is lost, and the exit code says what came."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from nas_budget.records.trials import read_trials
from tests.cli.processes import start, wait_until
from tests.conftest import Run

pytestmark = pytest.mark.slow
N_TRIALS = 6


@pytest.fixture
def command(quick: list[object]) -> list[str]:
    """A search of a few trials, of which none is pruned, in this folder of runs."""
    return [*map(str, quick), "--trials", str(N_TRIALS), "--name", "a", "--pruner", "none"]


def is_under_way(tmp_path: Path) -> Callable[[], bool]:
    """Whether the second trial has begun."""
    return (tmp_path / "a" / "trials" / "1").exists


def check_resumed(run: Run, command: list[str], tmp_path: Path) -> None:
    """The same command ends the search, with each trial once."""
    ran = run(*command)
    assert ran.code == 0, ran.err
    assert [row.number for row in read_trials(tmp_path / "a")] == list(range(N_TRIALS))


def test_ctrl_c_several_times_ends_at_once_without_a_traceback(run: Run, command: list[str], tmp_path: Path) -> None:
    with start(*command) as process:
        wait_until(is_under_way(tmp_path))
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    check_resumed(run, command, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_trial_leaves_nothing(command: list[str], tmp_path: Path, number: int) -> None:
    script = "import os, nas_budget.cli.jobs.search as job; "
    script += f"job.plan_search = lambda *_: os.kill(os.getpid(), {number}); "
    script += "from nas_budget.cli import main; raise SystemExit(main())"
    with start(*command, how=("-c", script)) as process:
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (128 + number, "error: interrupted\n")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_that_was_stopped_goes_on(command: list[str], tmp_path: Path, workers: int) -> None:
    with start(*command, "--workers", workers) as process:
        wait_until(is_under_way(tmp_path))
        everybody = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for one in everybody:
            one.suspend()
        wait_until(lambda: all(one.status() == psutil.STATUS_STOPPED for one in everybody))
        for one in everybody:
            one.resume()
        _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert [row.number for row in read_trials(tmp_path / "a")] == list(range(N_TRIALS))


class Terminal:
    """A terminal that can be closed, as a window or a connection is. What is drawn in it is read and forgotten."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self.is_closed = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)

    def start(self, command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        """A command that was typed here."""

        def take() -> None:
            os.setsid()
            fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

        streams = {"stdin": self.theirs, "stdout": self.theirs, "stderr": self.theirs} | streams
        process = subprocess.Popen([sys.executable, "-m", "nas_budget", *command], preexec_fn=take, **streams)
        os.close(self.theirs)
        self.reader.start()
        return process

    def close(self) -> None:
        self.is_closed.set()
        self.reader.join()

    def _read(self) -> None:
        try:
            while not self.is_closed.is_set():
                if select.select([self.ours], [], [], 0.05)[0]:
                    os.read(self.ours, 65_536)
        except OSError:  # everybody has left it
            pass
        os.close(self.ours)


def test_a_closed_terminal_ends_a_search_and_loses_nothing(run: Run, command: list[str], tmp_path: Path) -> None:
    terminal = Terminal()
    process = terminal.start(command)
    wait_until(is_under_way(tmp_path))
    terminal.close()
    assert process.wait(timeout=120) == 128 + signal.SIGHUP
    assert (tmp_path / "a" / "report.html").exists()
    check_resumed(run, command, tmp_path)


def test_a_search_that_was_told_to_outlives_its_terminal(command: list[str], tmp_path: Path) -> None:
    terminal = Terminal()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it, which processes inherit
    try:
        process = terminal.start([*command, "--json"], stdout=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_until(is_under_way(tmp_path))
    terminal.close()
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    assert json.loads(out)["trials"]["complete"] == N_TRIALS


def test_a_search_whose_messages_nobody_reads_goes_on(command: list[str], tmp_path: Path) -> None:
    with start(*command) as process:
        assert process.stdout and process.stderr
        process.stderr.readline()
        process.stderr.close()
        out = process.stdout.read()
    assert process.returncode == 0
    assert "best: " in out


def test_a_search_whose_result_nobody_reads_has_it_in_its_files(command: list[str], tmp_path: Path) -> None:
    with start(*command, "--quiet") as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, "")
    assert [row.number for row in read_trials(tmp_path / "a")] == list(range(N_TRIALS))
    assert {"best.json", "report.html"} <= {path.name for path in (tmp_path / "a").iterdir()}
