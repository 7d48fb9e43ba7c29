"""A file system of its own size, in a namespace of its own: one that is really full, or can really not be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


@cache
def why_not() -> str:
    """Why no file system can be mounted here; empty where one can."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "a file system is mounted with unshare and nsenter, which are not here"
    mount = [*UNSHARE, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    return f"no file system may be mounted here ({tried.stderr.strip()})" if tried.returncode else ""


@dataclass(frozen=True)
class Disk:
    """A mounted file system. Only processes of `start` and `run` see it where it is mounted.

    Attributes:
        place: Where it is mounted.
        holder: The process whose namespace it is.
    """

    place: Path
    holder: int

    @property
    def seen(self) -> Path:
        """Its folder, as processes outside see it."""
        return Path(f"/proc/{self.holder}/root{self.place}")

    def inside(self, *command: object) -> list[str]:
        """The command that runs another one where the file system is mounted."""
        within = ["nsenter", "--target", self.holder, "--user", "--mount", "--preserve-credentials"]
        return [str(part) for part in (*within, *command)]

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """A command of ours, inside."""
        return subprocess.Popen(
            self.inside(sys.executable, "-m", "nas_budget", *arguments),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, *arguments: object) -> tuple[int, str]:
        """Exit code and stderr of a command of ours."""
        with self.start(*arguments) as process:
            _out, err = process.communicate(timeout=600)
        return process.returncode, err

    def remount(self, how: str) -> bool:
        """Mount it again, "ro" or "rw"; whether that was possible, which it is not while a file is open for writing."""
        command = self.inside("mount", "-o", f"remount,{how}", self.place)
        return not subprocess.run(command, capture_output=True, check=False).returncode

    def fill(self, but: int = 0) -> None:
        """Write a file until nothing is left but so many bytes."""
        self.empty()
        with (self.seen / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4_096))
            except OSError:
                pass
            file.truncate(max(0, file.tell() - but))

    def empty(self) -> None:
        """Remove what `fill` wrote."""
        (self.seen / "filler").unlink(missing_ok=True)


@contextmanager
def mounted(place: Path, size: str = "1m") -> Iterator[Disk]:
    """A file system of a size such as "1m", until the end of the block."""
    if reason := why_not():
        pytest.skip(reason)
    place.mkdir(exist_ok=True)
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo ready && exec sleep 3600'
    command = [*UNSHARE, "sh", "-c", script, "sh", size, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield Disk(place, process.pid)
        finally:
            process.kill()
