from __future__ import annotations

from pathlib import Path

from nas_budget.search.storage.dashboard_note import COORDINATES, NOTE_TEXT, NOTE_VERSION, describe
from nas_budget.search.storage.storage import open_study
from nas_budget.space.space import SearchSpace
from nas_budget.train.data.dataset import Dataset
from tests.search.studies import settings


def test_a_note_that_a_person_changed_stays(dataset: Dataset, tmp_path: Path) -> None:
    study = open_study(settings(dataset, tmp_path), tmp_path, "versions")
    body = study._storage.get_study_system_attrs(study._study_id)[NOTE_TEXT]
    assert len(body) < 2_045  # what the dashboard keeps under one key
    study._storage.set_study_system_attr(study._study_id, NOTE_TEXT, "mine")
    describe(study, settings(dataset, tmp_path))
    attributes = study._storage.get_study_system_attrs(study._study_id)
    assert (attributes[NOTE_TEXT], attributes[NOTE_VERSION]) == ("mine", 1)


def test_every_coordinate_of_a_network_is_explained_or_named_as_its_option() -> None:
    space = SearchSpace(stages=(1, 2), blocks=(1, 2), kernels=(3, 5), first_stride=(1, 2), strides=(1, 2))
    plain = {"pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction", "stem_width", "first_stride"}
    names = {dimension.name.replace("_1", "_N").replace("_2", "_N") for dimension in space.dimensions()}
    assert names <= plain | {*COORDINATES}
