"""What limits of a container, a cluster or a shell leave to this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from nas_budget import memory
from nas_budget.memory import free_bytes

MB = 1024**2


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where groups of processes are described. This process is in /job/step."""
    (tmp_path / "cgroup").write_text("4:memory:/job/step\n1:cpu:/job\n0::/job/step\n")
    monkeypatch.setattr(memory, "OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    return tmp_path


def set_limit(folder: Path, names: tuple[str, str], most: object, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (most, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


@pytest.mark.parametrize("version", [*memory.FILES])
@pytest.mark.parametrize("group", ["job/step", "job", "."])
def test_the_least_that_a_group_leaves_counts(groups: Path, version: str, group: str) -> None:
    names = memory.FILES[version]
    set_limit(groups / version / group, names, 50 * MB, used=30 * MB, cached=5 * MB)
    assert free_bytes() == 25 * MB
    set_limit(groups / version / "job/step", names, 40 * MB, used=39 * MB)
    assert free_bytes() == 1 * MB


def test_a_group_without_a_limit_leaves_the_machine(groups: Path) -> None:
    set_limit(groups / "job/step", memory.FILES[""], "max", used=30 * MB)
    (groups / "job" / "memory.max").write_text("unreadable")
    assert free_bytes() > 50 * MB


def test_a_group_over_its_limit_leaves_nothing(groups: Path) -> None:
    set_limit(groups / "job", memory.FILES[""], 10 * MB, used=30 * MB)
    assert free_bytes() == 0


def test_where_nothing_is_said_of_groups_the_machine_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "OF_PROCESS", tmp_path / "absent")
    assert 50 * MB < free_bytes() <= psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process as Linux does")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limit_of_a_shell_counts(limit: str) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.{limit}, (400 * 1024**2,) * 2)\n"
        "from nas_budget.memory import free_bytes; print(free_bytes())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 100 * MB < int(ran.stdout) < 400 * MB
