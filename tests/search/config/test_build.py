"""`settings.json`: what is written is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nas_budget.search.config.build import read_config
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig, write_config
from nas_budget.search.config.study_file import read_study_file
from nas_budget.train.data.dataset import Dataset

RESULTS = [path.parent for path in (Path(__file__).parents[3] / "studies" / "results").glob("*/settings.json")]


def config_of(dataset: Dataset, name: str, **changes: Any) -> StudyConfig:
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return resolve(name, read_study_file(None, overrides), torch.device("cpu"), dataset)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"recipe__learning_rate": [0.01, 0.4], "recipe__optimizer": ["sgd", "muon"], "recipe__batch_size": [32]},
        {"search__timeout": "2h", "search__target": 0.9, "search__pruner": "none", "budget__params": "none"},
        {"search__queue": [{"channels": [4, 8], "blocks": 1}], "search__rungs": [1], "space__pool": ["global", 2]},
    ],
)
def test_settings_are_read_back_as_they_were(dataset: Dataset, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = config_of(dataset, "mine", **changes)
    write_config(config, tmp_path / "mine")
    assert read_config(tmp_path / "mine") == config
    assert read_config(tmp_path / "mine").to_dict() == config.to_dict()


def test_a_password_is_not_written(dataset: Dataset, tmp_path: Path) -> None:
    config = config_of(dataset, "mine", search__storage="postgresql+psycopg://me:secret@host/db")
    assert config.storage.endswith("secret@host/db")
    write_config(config, tmp_path / "mine")
    assert "secret" not in (tmp_path / "mine" / "settings.json").read_text()
    assert read_config(tmp_path / "mine").storage == "journal"


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_the_settings_of_committed_studies_are_read(folder: Path) -> None:
    assert read_config(folder).data_name == "cifar10"
