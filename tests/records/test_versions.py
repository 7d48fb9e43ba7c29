from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from nas_budget.records import versions as module
from nas_budget.records.versions import package_versions


def test_the_build_of_a_loaded_package_is_named_and_metadata_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(module, "version", lambda name: [read.append(name), version(name)][1])
    package_versions.cache_clear()

    assert package_versions("torch") == f"nas-budget {version('nas-budget')}, torch {torch.__version__}"
    assert package_versions("torch") == package_versions("torch")
    assert read == ["nas-budget"]
    package_versions.cache_clear()


def test_a_package_that_is_not_loaded_is_looked_up() -> None:
    assert package_versions("ruff").endswith(f", ruff {version('ruff')}")
    with pytest.raises(PackageNotFoundError):
        package_versions("no-such-package")
