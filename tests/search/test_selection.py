"""From a study, a study file or a spec to a full training."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, StudyError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.formatting import in_short
from nas_budget.records.trials import write_table
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import write_config
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.selection import (
    Selection,
    full_training_config,
    select_from_file,
    select_from_study,
    study_defaults,
    threads_for,
)
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.optim.recipe import RECIPES, Recipe
from tests.report.trials import record

SMALL = {"channels": [4, 8], "blocks": 1}
SMALL_SELECTION = Selection("w", SMALL)


def params(width: int) -> int:
    return cost(ResNetSpec((width, 8), blocks=1)).params


def write_trials(folder: Path, *trials: tuple[int, int, str, float | None]) -> None:
    """The table and folders of trials: number, width, state and accuracy of each; the number gives the epochs too."""
    rows = []
    for number, width, state, accuracy in trials:
        spec = ResNetSpec((width, 8), blocks=1)
        made = {"spec": spec.to_dict(), "recipe": asdict(Recipe(epochs=number + 1))}
        write_whole(folder / "trials" / str(number) / "trial.json", json.dumps(made))
        rows.append(record(number, state=state, accuracy=accuracy, params=params(width), spec=spec.to_json()))
    write_table(folder / "trials.csv", rows)


@pytest.fixture
def study(tmp_path: Path, dataset: Dataset) -> Path:
    """The files that a study leaves: three sizes trained to the end, the largest one the best, and one pruned."""
    folder = tmp_path / "mine"
    write_trials(folder, (0, 4, "complete", 0.4), (1, 8, "complete", 0.5), (2, 6, "complete", 0.45),
                 (3, 5, "pruned", 0.49))  # fmt: skip
    (folder / "best.json").write_text(ResNetSpec((8, 8), blocks=1).to_json())
    asked = {"budget.params": 20_000_000, "budget.macs": "9M", "data.images": 100}
    config = resolve("mine", read_study_file(None, asked), torch.device("cpu"), replace(dataset, name="my.npz"))
    write_config(config, folder)
    return folder


def settings(dataset: Dataset, selection: Selection = SMALL_SELECTION, **given: Any) -> RunConfig:
    overrides = {key.replace("__", "."): given.pop(key) for key in [k for k in given if "__" in k]}
    return full_training_config(selection, read_study_file(None, overrides), dataset, "fp32", **given)


def test_the_best_network_comes_with_its_recipe(study: Path) -> None:
    best, trial = select_from_study(study), select_from_study(study, 0)
    assert (best.name, trial.name) == ("mine-best", "mine-trial0")
    assert (best.values["channels"], trial.values["channels"]) == ([8, 8], [4, 8])
    assert best.recipe is not None and trial.recipe is not None
    assert (best.recipe["epochs"], trial.recipe["epochs"]) == (2, 1)


def test_of_trials_of_one_network_the_most_accurate_one_counts(study: Path) -> None:
    write_trials(study, (0, 4, "complete", 0.9), (1, 8, "complete", 0.5), (2, 8, "pruned", 0.8),
                 (3, 8, "failed", None), (10, 8, "complete", 0.7))  # fmt: skip
    best = select_from_study(study)
    assert best.recipe is not None
    assert best.recipe["epochs"] == 11


def test_of_trials_of_several_widths_the_widest_count(study: Path) -> None:
    rows = [
        record(i, accuracy=accuracy, proxy=proxy, params=params(width), spec=ResNetSpec((width, 8), blocks=1).to_json())
        for i, (width, proxy, accuracy) in enumerate([(6, 0.25, 0.9), (4, 0.25, 0.8), (4, 0.5, 0.7)])
    ]
    write_table(study / "trials.csv", rows)
    narrower = select_from_study(study, budget=Budget(params=params(6)))
    assert narrower.values["channels"] == [4, 8]


@pytest.mark.parametrize(("limit", "width"), [(params(8), 8), (params(8) - 1, 6), (params(6), 6), (params(6) - 1, 4)])
def test_the_best_within_a_narrower_budget_is_the_most_accurate_that_fits(study: Path, limit: int, width: int) -> None:
    best = select_from_study(study, budget=Budget(params=limit))
    assert best.values["channels"] == [width, 8]
    assert best.name == ("mine-best" if width == 8 else f"mine-best-{in_short(limit)}")


def test_a_limit_of_another_kind_is_in_the_name(study: Path) -> None:
    limit = cost(ResNetSpec((6, 8), blocks=1)).macs
    best = select_from_study(study, budget=Budget(macs=limit))
    assert (best.values["channels"], best.name) == ([6, 8], f"mine-best-{in_short(limit)}-macs")


def test_a_budget_that_nothing_of_a_study_is_within_is_told(study: Path) -> None:
    words = f"mine: of its 3 networks .* none is within 100 parameters; the smallest has {params(4):,} parameters"
    with pytest.raises(NothingFitsError, match=words):
        select_from_study(study, budget=Budget(params=100))


def test_a_trial_that_is_named_is_the_one(study: Path) -> None:
    assert select_from_study(study, 1, Budget(params=100)).values["channels"] == [8, 8]


def test_data_and_limits_are_those_of_the_study_whatever_its_table(study: Path) -> None:
    expected = {
        "data.name": "my.npz", "budget.params": 20_000_000, "budget.macs": 9_000_000, "budget.weight_bytes": "none",
        "budget.activation_bytes": "none", "budget.weight_format": "fp32",
        "budget.activation_format": "fp32",
    }  # fmt: skip
    assert study_defaults(study) == expected
    (study / "trials.csv").unlink()
    assert study_defaults(study) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"mine holds no study \(.*settings.json: No such file.*\); give the run folder of a search"),
        ("{", "settings.json: damaged"),
        ("[]", "settings.json: damaged"),
        ('{"budget": {}}', "settings.json: written by another version; this one reads"),
    ],
)
def test_a_study_without_its_settings_is_refused(study: Path, content: str | None, words: str) -> None:
    (study / "settings.json").unlink()
    if content is not None:
        (study / "settings.json").write_text(content)
    with pytest.raises(StudyError, match=words):
        study_defaults(study)


def test_a_best_network_without_its_trials_can_be_trained(study: Path) -> None:
    for path in study.glob("trials/*/trial.json"):
        path.unlink()
    assert select_from_study(study).recipe is None
    (study / "trials.csv").unlink()
    assert select_from_study(study).values["channels"] == [8, 8]
    with pytest.raises(StudyError, match="trials.csv: missing, or without a complete trial"):
        select_from_study(study, budget=Budget(params=params(6)))


def test_a_damaged_table_is_told(study: Path) -> None:
    (study / "trials.csv").write_text("number,state\n0")
    with pytest.raises(StudyError, match="trials.csv: is no trials table"):
        select_from_study(study)


@pytest.mark.parametrize(
    ("trial", "words"), [(7, "mine has no trial 7"), (None, "holds no study with a complete trial")]
)
def test_a_study_or_trial_that_is_not_there_is_told(study: Path, trial: int | None, words: str) -> None:
    (study / "best.json").unlink()
    with pytest.raises(StudyError, match=words):
        select_from_study(study, trial)


def test_a_study_file_gives_the_network_of_its_queue(dataset: Dataset) -> None:
    file = Path(__file__).parents[2] / "studies" / "reference.toml"
    sections = read_study_file(file, {})
    found = full_training_config(select_from_file(sections, file), sections, dataset, "fp32")
    assert found.name == "reference-paper"
    assert (found.recipe, found.spec.dropout) == (RECIPES["paper"], 0.2)
    assert found.spec == ResNetSpec((32, 64, 96, 128, 185), dropout=0.2)


@pytest.mark.parametrize(("queue", "n"), [("auto", 0), ([SMALL, SMALL], 2)])
def test_a_queue_of_none_or_several_is_told(queue: Any, n: int) -> None:
    with pytest.raises(UsageError, match=f"x.toml: search.queue holds {n} networks"):
        select_from_file(read_study_file(None, {"search.queue": queue}), Path("x.toml"))


def test_what_is_left_open_is_strong_on_all_images_but_a_tenth(dataset: Dataset) -> None:
    found = settings(dataset)
    assert (found.name, found.recipe_name, found.recipe) == ("w-strong", "strong", RECIPES["strong"])
    assert (found.n_train, found.n_validation, found.seeds) == (450, 50, (0,))


def test_all_images_can_train(dataset: Dataset) -> None:
    found = settings(dataset, all_images=True)
    assert (found.n_train, found.n_validation) == (500, 0)


def test_what_is_given_goes_before_the_recipe(dataset: Dataset) -> None:
    given = {"recipe__name": "fast", "recipe__epochs": 3, "data__images": 100, "search__seed": 5}
    found = settings(dataset, n_seeds=3, name="own", **given)
    assert (found.name, found.recipe_name, found.recipe.epochs, found.n_train) == ("own", "fast", 3, 100)
    assert found.recipe.learning_rate == RECIPES["fast"].learning_rate
    assert found.seeds == (5, 6, 7)


def test_the_recipe_of_the_study_is_that_of_the_trial(dataset: Dataset, study: Path) -> None:
    found = settings(dataset, select_from_study(study, 1), recipe="study", recipe__batch_size=50)
    assert (found.name, found.recipe) == ("mine-trial1-study", Recipe(epochs=2, batch_size=50))
    with pytest.raises(UsageError, match="--recipe study: w is of no trial whose recipe is known"):
        settings(dataset, recipe="study")


def test_a_network_of_the_queue_has_the_spaces_dropout(dataset: Dataset) -> None:
    sections = read_study_file(None, {"search.queue": [SMALL], "space.dropout": 0.3})
    assert (
        full_training_config(select_from_file(sections, Path("x.toml")), sections, dataset, "fp32").spec.dropout == 0.3
    )


def test_a_range_is_told(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match=r"recipe.learning_rate: .* a full training takes one value"):
        settings(dataset, recipe__learning_rate=[0.1, 0.2])


def test_a_network_over_budget_is_told_with_what_to_do(dataset: Dataset) -> None:
    wide = Selection("w", {"channels": [512, 1024]})
    with pytest.raises(
        NothingFitsError, match=r"OVER BUDGET: .* parameters, 5,000,000 allowed.*--set budget.params=none"
    ):
        settings(dataset, wide)
    assert settings(dataset, wide, budget__params="none").spec.channels == (512, 1024)
    with pytest.raises(NothingFitsError, match="MACs, 1,000 allowed"):
        settings(dataset, budget__macs=1_000)


def test_a_network_for_other_images_is_told(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="w: a network for other images: classes is 7, not 10"):
        settings(dataset, Selection("w", {**SMALL, "classes": 7}))


def test_small_networks_train_on_one_thread_unless_told(dataset: Dataset) -> None:
    small = settings(dataset)
    large = settings(dataset, Selection("w", {"channels": [32, 64]}))
    assert threads_for(small, "auto", 4) == 1
    assert threads_for(large, "auto", 4) == 4
    assert threads_for(small, 3, 4) == 3
