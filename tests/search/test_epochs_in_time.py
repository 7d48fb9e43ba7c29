"""From a time to the epochs of a full training; no test times a step."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_budget.errors import ModelError, TrainingError, UsageError
from nas_budget.search import epochs_in_time
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.epochs_in_time import TimedTraining, epoch_seconds, fit_to_time, options_in_time
from nas_budget.search.selection import Selection
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.optim.recipe import MOST_EPOCHS, RECIPES
from nas_budget.train.profile.time_model import TimeModel

CPU = torch.device("cpu")
HOUR = 3_600.0
SMALL = Selection("w", {"channels": [4, 8], "blocks": 1}, asdict(RECIPES["brief"]))


def options(dataset: Dataset, time_s: float = HOUR, **given: Any) -> tuple[RunConfig, ...]:
    overrides = {key.replace("__", "."): given.pop(key) for key in [k for k in given if "__" in k]}
    return options_in_time(time_s, SMALL, read_study_file(None, overrides), dataset, "fp32", **given)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds of an epoch by the recipe's name; any other fails."""
    seconds = {"strong": 30.0, "evening": 20.0}
    monkeypatch.setattr(epochs_in_time, "epoch_seconds", lambda s, *_: seconds[s.recipe_name])
    return seconds


def fit(dataset: Dataset, folder: Path, time_s: float = HOUR, **given: Any) -> TimedTraining:
    return fit_to_time(options(dataset, time_s, **given), time_s, dataset, CPU, folder)


def test_a_recipe_left_open_is_a_long_one_or_a_short_one_under_one_name(dataset: Dataset) -> None:
    long, short = options(dataset)
    assert (long.recipe_name, long.recipe) == ("strong", RECIPES["strong"])
    assert (short.recipe_name, short.recipe) == ("evening", RECIPES["evening"])
    assert {option.name for option in (long, short)} == {"w-1h"}
    assert {option.time_s for option in (long, short)} == {HOUR}
    _, own = options(dataset, recipe__label_smoothing=0.0, recipe__learning_rate=0.3, name="own")
    assert (own.name, own.recipe.label_smoothing, own.recipe.learning_rate) == ("own", 0.0, 0.3)


def test_a_recipe_that_is_named_is_kept(dataset: Dataset) -> None:
    (named,) = options(dataset, 90.0, recipe__name="fast", recipe="fast")
    assert (named.name, named.recipe) == ("w-fast-90s", RECIPES["fast"])
    (studys,) = options(dataset, recipe="study")
    assert (studys.name, studys.recipe) == ("w-study-1h", RECIPES["brief"])


def test_sixty_epochs_of_the_long_recipe_are_enough(dataset: Dataset, tmp_path: Path, speed: dict[str, float]) -> None:
    del speed["evening"]  # which needs no timing
    speed["strong"] = 0.95 * HOUR / 60.5
    found = fit(dataset, tmp_path)
    assert (found.settings.recipe_name, found.settings.recipe.epochs, found.epoch_s) == ("strong", 60, speed["strong"])
    assert found.twice
    assert found.twice.recipe.epochs == 121


def test_where_fewer_fit_it_is_the_short_one_and_twice_the_time_may_be_long(
    dataset: Dataset, tmp_path: Path, speed: dict[str, float]
) -> None:
    speed["strong"] = 0.95 * HOUR / 59.5
    found = fit(dataset, tmp_path)
    assert (found.settings.recipe_name, found.settings.recipe.epochs, found.epoch_s) == ("evening", 171, 20.0)
    assert found.twice
    assert (found.twice.recipe_name, found.twice.recipe.epochs) == ("strong", 119)


def test_no_more_epochs_are_chosen_than_a_recipe_takes(
    dataset: Dataset, tmp_path: Path, speed: dict[str, float]
) -> None:
    speed["strong"] = 1e-3
    assert fit(dataset, tmp_path).settings.recipe.epochs == MOST_EPOCHS


@pytest.mark.parametrize(
    ("epoch_s", "given", "words"),
    [
        (10.0, {}, "--time 9s: an epoch takes about 10 s here, so none fits; give --time 11s or more, .* or a GPU"),
        (200.0, {"n_seeds": 3}, "an epoch of all 3 seeds takes about 3 min 20 s here, .* --time 4m or more"),
    ],
)
def test_a_time_too_short_for_an_epoch_is_told(
    dataset: Dataset, tmp_path: Path, speed: dict[str, float], epoch_s: float, given: dict[str, Any], words: str
) -> None:
    speed["strong"] = speed["evening"] = epoch_s
    with pytest.raises(UsageError, match=words):
        fit(dataset, tmp_path, 9.0, **given)


def test_memory_that_does_not_suffice_to_time_a_step_is_told(
    dataset: Dataset, tmp_path: Path, speed: dict[str, float]
) -> None:
    speed["strong"] = 0.0
    with pytest.raises(TrainingError, match="memory does not suffice for a batch of 128; lower recipe.batch_size"):
        fit(dataset, tmp_path)


class TestResuming:
    """A run of 171 epochs that was started within an hour."""

    @pytest.fixture
    def folder(self, dataset: Dataset, tmp_path: Path, speed: dict[str, float]) -> Path:
        speed["strong"] = 100.0
        held = fit(dataset, tmp_path).settings.held(dataset)
        (tmp_path / "run.json").write_text(json.dumps(held))
        speed.clear()  # a resumed run is not timed
        return tmp_path

    def test_it_keeps_recipe_and_epochs(self, dataset: Dataset, folder: Path) -> None:
        found = fit(dataset, folder, n_seeds=2)
        assert (found.settings.recipe_name, found.settings.recipe.epochs) == ("evening", 171)
        assert (found.epoch_s, found.twice) == (None, None)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"time_s": 2 * HOUR}, "time was 1h, not 2h"),
            ({"recipe__name": "paper"}, "recipe was evening, not paper"),
            ({"recipe__batch_size": 64}, "recipe.batch_size was 256, not 64"),
        ],
    )
    def test_other_settings_are_told(self, dataset: Dataset, folder: Path, given: dict[str, Any], words: str) -> None:
        with pytest.raises(ModelError, match=words):
            fit(dataset, folder, **given)

    @pytest.mark.parametrize("change", [{"recipe.epochs": "many"}, {"time": None}])
    def test_a_run_without_epochs_or_time_is_told(self, dataset: Dataset, folder: Path, change: dict[str, Any]) -> None:
        path = folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        (key, value), *_ = change.items()
        with pytest.raises(ModelError, match=f"{key} was {value}, not "):
            fit(dataset, folder)


def test_seconds_of_an_epoch_are_those_of_every_seed_and_of_both_evaluations(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrate(*given: Any, most_macs: float) -> TimeModel:
        assert most_macs == inf  # whole batches
        assert given[-1] == "auto"  # a step is timed as it will be taken
        return TimeModel(per_image=1.0)

    monkeypatch.setattr(epochs_in_time, "calibrate", calibrate)
    long, short = options(dataset, n_seeds=2)  # 450 images, 50 for validation
    assert epoch_seconds(long, dataset, CPU) == pytest.approx(2 * (3 * 128 + 2 * 50 / 3))
    assert epoch_seconds(short, dataset, CPU) == pytest.approx(2 * (256 + 50 / 3))
    whole, _ = options(dataset, all_images=True, recipe__batch_size=500)
    assert epoch_seconds(whole, dataset, CPU) == pytest.approx(500)
