"""What the package needs of Optuna beyond its public interface."""

from __future__ import annotations

import logging
from pathlib import Path

import optuna
import pytest
from optuna.samplers import PartialFixedSampler, RandomSampler

from nas_budget.search.samplers.optuna_samplers import optuna_warnings_only
from nas_budget.search.storage.optuna_adapter import (
    NOTE_TEXT,
    NOTE_VERSION,
    describe_study,
    sampler_of,
    study_beside,
)
from nas_budget.search.storage.storage import COORDINATES, open_study
from nas_budget.space.space import SearchSpace
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import settings


def test_a_note_that_a_person_changed_stays(dataset: Dataset, tmp_path: Path) -> None:
    study = open_study(settings(dataset, tmp_path), tmp_path, "versions")
    body = study._storage.get_study_system_attrs(study._study_id)[NOTE_TEXT]
    assert len(body) < 2_045  # what the dashboard keeps under one key
    study._storage.set_study_system_attr(study._study_id, NOTE_TEXT, "mine")
    describe_study(study, "accuracy", "another")
    attributes = study._storage.get_study_system_attrs(study._study_id)
    assert (attributes[NOTE_TEXT], attributes[NOTE_VERSION]) == ("mine", 1)


def test_every_coordinate_of_a_network_is_explained_or_named_as_its_option() -> None:
    space = SearchSpace(stages=(1, 2), blocks=(1, 2), kernels=(3, 5), first_stride=(1, 2), strides=(1, 2))
    plain = {"pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction", "stem_width", "first_stride"}
    names = {dimension.name.replace("_1", "_N").replace("_2", "_N") for dimension in space.dimensions()}
    assert names <= plain | {*COORDINATES}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_sampler_of_a_trial_is_found_inside_another() -> None:
    sampler = RandomSampler(seed=0)
    assert sampler_of(optuna.create_study(sampler=sampler).ask()) is sampler
    assert sampler_of(optuna.create_study(sampler=PartialFixedSampler({"x": 1}, sampler)).ask()) is sampler
    assert sampler_of(optuna.trial.FixedTrial({})) is None


def test_the_study_beside_one_is_found_by_its_name() -> None:
    storage = optuna.storages.InMemoryStorage()
    one, other = (optuna.create_study(study_name=name, storage=storage) for name in ("one", "other"))
    found = study_beside(one, "other")
    assert found is not None
    assert found.study_name == other.study_name
    assert study_beside(one, "third") is None


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_the_callers_log_level_comes_back(level: int) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        with optuna_warnings_only():
            assert optuna.logging.get_verbosity() == max(level, logging.WARNING)
        assert optuna.logging.get_verbosity() == level
    finally:
        optuna.logging.set_verbosity(before)


def test_no_other_file_touches_optunas_private_names() -> None:
    package = Path(__file__).parents[3] / "nas_budget"
    private = ("._storage", "._study_id", "._trial_id", "set_study_system_attr", "set_trial_system_attr")
    found = [p.name for p in package.rglob("*.py") if any(name in p.read_text() for name in private)]
    assert found == ["optuna_adapter.py"]
