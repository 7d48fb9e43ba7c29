from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.cli.options import presets as module
from nas_budget.cli.options.presets import preset, presets
from nas_budget.errors import UsageError


def test_every_study_file_is_a_preset() -> None:
    studies = Path(__file__).parents[3] / "studies"
    assert presets() == {path.stem: path for path in studies.glob("*.toml")}


def test_an_installed_package_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.toml").touch()
    monkeypatch.setattr(module, "FOLDERS", (tmp_path / "presets", *module.FOLDERS))
    assert preset("mine") == tmp_path / "presets" / "mine.toml"


def test_an_unknown_one_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"preset nope: there is none; there are .*quickstart"):
        preset("nope")
