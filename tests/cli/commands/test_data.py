from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run, save_npz


def test_data_lists_what_is_there(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz(tmp_path / "cifar10.npz")
    listed = run("data", "--data-dir", tmp_path, "--json").json
    assert listed["found"]["cifar10"] == str(tmp_path / "cifar10.npz")
    assert listed["found"]["svhn"] is None
    assert "not here" in run("data", "--data-dir", tmp_path).out
    monkeypatch.setenv("NAS_BUDGET_DATA", str(tmp_path))
    assert "cifar10: 32x32x3" in run("data", "cifar10").out


def test_data_checks_a_file(run: Run, npz: Path) -> None:
    ran = run("data", npz)
    assert ran.code == 0
    assert "crescent" in ran.out
    found = run("data", npz, "--json").json
    assert found["counts"] == {"train": [50] * 10, "test": [10] * 10}
    assert ran.out.endswith(f"digest: {found['digest']}\n")


def test_data_refuses_a_damaged_file(run: Run, npz: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(npz.read_bytes()[:-1000])
    assert run("data", damaged).refused(2, f"error: {damaged}")
