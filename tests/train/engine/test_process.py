"""Process-wide settings are made by programs of ours, and by nothing else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from nas_budget.train.engine.process import ENVIRONMENT, child_environment, keep_freed_memory


def python(code: str, environment: dict[str, str] | None = None) -> str:
    """What a fresh Python prints, with this environment or with that of this process."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return ran.stdout.strip()


SHOW = f"print([os.environ.get(name) for name in {list(ENVIRONMENT)}], 'torch' in sys.modules)"


def test_the_command_line_sets_the_environment_before_torch_is_imported() -> None:
    code = "import os, sys; from nas_budget.cli import main; main(['--version']); "
    expected = f"{list(ENVIRONMENT.values())} False"
    assert python(code + SHOW, {}).splitlines()[-1] == expected
    assert "ACTIVE" in python(code + SHOW, {"OMP_WAIT_POLICY": "ACTIVE"}).splitlines()[-1]


def test_training_from_python_leaves_its_process_as_it_was(tmp_path: Path) -> None:
    code = f"""
import ctypes, os, sys, torch
from nas_budget.search import search
from nas_budget.train.engine import process
process.keep_freed_memory = lambda: print("malloc was set")
torch.set_num_threads(2)
state = torch.get_rng_state()
search(
    {{
        "budget": {{"params": "20k"}},
        "data": {{"name": "shapes", "images": 60, "validation_images": 20}},
        "recipe": {{"epochs": 1, "trivial_augment": True}},
        "search": {{"trials": 1, "threads": 1, "device": "cpu"}},
    }},
    runs_dir={str(tmp_path)!r},
)
print(torch.equal(torch.get_rng_state(), state), torch.get_num_threads())
{SHOW}"""
    assert python(code, {}).splitlines() == ["True 2", "[None, None] True"]


def test_workers_inherit_the_environment_and_the_caller_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    code = "import os; print(os.environ['OMP_WAIT_POLICY'], os.environ['OPENBLAS_NUM_THREADS'])"
    with child_environment():
        assert python(code) == "PASSIVE 3"
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_where_the_c_library_is_glibc() -> None:
    code = (
        "import torch, resource; from nas_budget.train.engine.process import keep_freed_memory; {}\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(4): torch.ones(2**24).add_(1)\n"
        "before = faults()\n"
        "for _ in range(8): torch.ones(2**24).add_(1)\n"
        "print(faults() - before)"
    )
    given_back, kept = (int(python(code.format(first))) for first in ("pass", "keep_freed_memory()"))
    assert kept < given_back / 2  # a block has 16,384 pages, or 32 huge ones: a fault for each that is given back


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("looked for a library"))
    keep_freed_memory()
