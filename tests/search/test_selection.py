"""From a study, a study file or a spec to a full training."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, StudyError, UsageError
from nas_budget.records.formatting import in_short
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.selection import (
    Winner,
    full_training_config,
    study_defaults,
    threads_for,
    winner_of_file,
    winner_of_study,
)
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.optim.recipe import RECIPES, Recipe

SMALL = {"channels": [4, 8], "blocks": 1}
SMALL_WINNER = Winner("w", SMALL)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The files that a study of two trials leaves, the second one the best."""
    folder = tmp_path / "mine"
    for number, width in enumerate((4, 8)):
        spec = ResNetSpec((width, 8), blocks=1).to_dict()
        at = folder / "trials" / str(number)
        at.mkdir(parents=True)
        (at / "trial.json").write_text(json.dumps({"spec": spec, "recipe": asdict(Recipe(epochs=number + 1))}))
    (folder / "best.json").write_text(json.dumps(spec))
    rows = ["number,state,accuracy,params,data,budget_params", "0,complete,0.4,1000,my.npz,20000000"]
    rows += ["1,complete,0.5,2000,my.npz,20000000", ""]
    (folder / "trials.csv").write_text("\n".join(rows))
    return folder


def settings(dataset: Dataset, winner: Winner = SMALL_WINNER, **given: Any) -> RunConfig:
    overrides = {key.replace("__", "."): given.pop(key) for key in [k for k in given if "__" in k]}
    return full_training_config(winner, read_study_file(None, overrides), dataset, "fp32", **given)


def test_the_best_network_comes_with_its_recipe(study: Path) -> None:
    best, trial = winner_of_study(study), winner_of_study(study, 0)
    assert (best.name, trial.name) == ("mine-best", "mine-trial0")
    assert (best.values["channels"], trial.values["channels"]) == ([8, 8], [4, 8])
    assert best.recipe is not None and trial.recipe is not None
    assert (best.recipe["epochs"], trial.recipe["epochs"]) == (2, 1)


def test_of_trials_of_one_network_the_most_accurate_one_counts(study: Path) -> None:
    for number in 2, 3, 10:
        at = study / "trials" / str(number)
        at.mkdir()
        spec = json.loads((study / "best.json").read_text())
        (at / "trial.json").write_text(json.dumps({"spec": spec, "recipe": asdict(Recipe(epochs=number))}))
    rows = ["0,complete,0.9,1", "1,complete,0.5,2", "2,pruned,0.8,2", "3,failed,,2", "10,complete,0.7,2"]
    (study / "trials.csv").write_text("\n".join(["number,state,accuracy,params", *rows]) + "\n")
    best = winner_of_study(study)
    assert best.recipe is not None
    assert best.recipe["epochs"] == 10


@pytest.fixture
def front(study: Path) -> Path:
    """The study with a table that holds the networks: three sizes, trained to the end, and one that was stopped."""
    widths = {0: 4, 1: 8, 2: 6, 3: 5}
    ended = {0: ("complete", 0.4), 1: ("complete", 0.5), 2: ("complete", 0.45), 3: ("pruned", 0.49)}
    with (study / "trials.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["number", "state", "accuracy", "params", "spec"])
        for number, width in widths.items():
            table.writerow([number, *ended[number], params(width), ResNetSpec((width, 8), blocks=1).to_json()])
    return study


def params(width: int) -> int:
    return cost(ResNetSpec((width, 8), blocks=1)).params


@pytest.mark.parametrize(("limit", "width"), [(params(8), 8), (params(8) - 1, 6), (params(6), 6), (params(6) - 1, 4)])
def test_the_best_within_a_narrower_budget_is_the_most_accurate_that_fits(front: Path, limit: int, width: int) -> None:
    best = winner_of_study(front, budget=Budget(params=limit))
    assert best.values["channels"] == [width, 8]
    assert best.name == ("mine-best" if width == 8 else f"mine-best-{in_short(limit)}")


def test_a_limit_of_another_kind_is_in_the_name(front: Path) -> None:
    limit = cost(ResNetSpec((6, 8), blocks=1)).macs
    best = winner_of_study(front, budget=Budget(macs=limit))
    assert (best.values["channels"], best.name) == ([6, 8], f"mine-best-{in_short(limit)}-macs")


def test_a_budget_that_nothing_of_a_study_is_within_is_told(front: Path) -> None:
    words = f"mine: of its 3 networks .* none is within 100 parameters; the smallest has {params(4):,} parameters"
    with pytest.raises(NothingFitsError, match=words):
        winner_of_study(front, budget=Budget(params=100))


def test_a_trial_that_is_named_is_the_one(front: Path) -> None:
    assert winner_of_study(front, 1, Budget(params=100)).values["channels"] == [8, 8]


def test_data_and_limit_are_those_of_the_study(study: Path) -> None:
    assert study_defaults(study) == {"data.name": "my.npz", "budget.params": "20000000"}
    (study / "trials.csv").write_text("data,budget_params\nmy.npz,\n")
    assert study_defaults(study)["budget.params"] == "none"
    (study / "trials.csv").unlink()
    assert study_defaults(study) == {}


def test_a_best_network_without_its_trials_can_be_trained(study: Path) -> None:
    for path in study.glob("trials/*/trial.json"):
        path.unlink()
    assert winner_of_study(study).recipe is None


@pytest.mark.parametrize(("trial", "words"), [(7, "mine has no trial 7"), (None, "holds no study with a trial")])
def test_a_study_or_trial_that_is_not_there_is_told(study: Path, trial: int | None, words: str) -> None:
    (study / "best.json").unlink()
    with pytest.raises(StudyError, match=words):
        winner_of_study(study, trial)


def test_a_study_file_gives_the_network_of_its_queue(dataset: Dataset) -> None:
    file = Path(__file__).parents[2] / "studies" / "reference.toml"
    sections = read_study_file(file, {})
    found = full_training_config(winner_of_file(sections, file), sections, dataset, "fp32")
    assert found.name == "reference-paper"
    assert (found.recipe, found.spec.dropout) == (RECIPES["paper"], 0.2)
    assert found.spec == ResNetSpec((32, 64, 96, 128, 185), dropout=0.2)


@pytest.mark.parametrize(("queue", "n"), [("auto", 0), ([SMALL, SMALL], 2)])
def test_a_queue_of_none_or_several_is_told(queue: Any, n: int) -> None:
    with pytest.raises(UsageError, match=f"x.toml: search.queue holds {n} networks"):
        winner_of_file(read_study_file(None, {"search.queue": queue}), Path("x.toml"))


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
    found = settings(dataset, winner_of_study(study, 1), recipe="study", recipe__batch_size=50)
    assert (found.name, found.recipe) == ("mine-trial1-study", Recipe(epochs=2, batch_size=50))
    with pytest.raises(UsageError, match="--recipe study: w is of no trial whose recipe is known"):
        settings(dataset, recipe="study")


def test_a_network_of_the_queue_has_the_spaces_dropout(dataset: Dataset) -> None:
    sections = read_study_file(None, {"search.queue": [SMALL], "space.dropout": 0.3})
    assert full_training_config(winner_of_file(sections, Path("x.toml")), sections, dataset, "fp32").spec.dropout == 0.3


def test_a_range_is_told(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match=r"recipe.learning_rate: .* a full training takes one value"):
        settings(dataset, recipe__learning_rate=[0.1, 0.2])


def test_a_network_over_budget_is_told_with_what_to_do(dataset: Dataset) -> None:
    wide = Winner("w", {"channels": [512, 1024]})
    with pytest.raises(NothingFitsError, match=r"OVER BUDGET: .* parameters, 5,000,000 allowed.*--budget none"):
        settings(dataset, wide)
    assert settings(dataset, wide, budget__params="none").spec.channels == (512, 1024)
    with pytest.raises(NothingFitsError, match="MACs, 1,000 allowed"):
        settings(dataset, budget__macs=1_000)


def test_a_network_for_other_images_is_told(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="w: a network for other images: classes is 7, not 10"):
        settings(dataset, Winner("w", {**SMALL, "classes": 7}))


def test_small_networks_train_on_one_thread_unless_told(dataset: Dataset) -> None:
    small = settings(dataset)
    large = settings(dataset, Winner("w", {"channels": [32, 64]}))
    assert threads_for(small, "auto", 4) == 1
    assert threads_for(large, "auto", 4) == 4
    assert threads_for(small, 3, 4) == 3
