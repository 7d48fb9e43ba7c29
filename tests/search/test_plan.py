from dataclasses import replace

import pytest
import torch

from nas_budget.arch.cost import cost
from nas_budget.errors import NothingFitsError
from nas_budget.search import plan
from nas_budget.search.plan import make_plan, seconds_in_words
from nas_budget.search.resolving import resolve
from nas_budget.search.study_file import read_study_file
from nas_budget.train.data import Dataset
from nas_budget.train.images import split_images

CPU = torch.device("cpu")


def test_a_plan_tells_sizes_and_time(dataset: Dataset) -> None:
    settings = resolve("s", read_study_file(None, {"budget.params": "50k", "recipe.epochs": 2}), CPU, dataset)
    images = split_images(dataset, CPU, settings.n_train, settings.n_held_out)
    made = make_plan(settings, images, n_left=7)
    assert made.smallest == min(cost(s).params for s in settings.space.smallest() if settings.budget.check(s).fits)
    assert made.smallest < made.largest <= 50_000
    assert 0 <= made.share_fitting < 0.5
    assert made.total_s == pytest.approx(7 * made.trial_s)
    assert made.trial_s > 0
    assert make_plan(settings, images, n_left=0).total_s == 0


def test_a_network_too_large_to_time_does_not_end_the_plan(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> float:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(plan, "predicted_seconds", no_memory)
    settings = resolve("s", read_study_file(None), CPU, dataset)
    images = split_images(dataset, CPU, settings.n_train, settings.n_held_out)
    assert make_plan(settings, images, n_left=3).trial_s == 0


def test_nothing_fits_is_said_before_anything_is_timed(dataset: Dataset) -> None:
    settings = resolve("s", read_study_file(None), CPU, dataset)
    images = split_images(dataset, CPU, settings.n_train, settings.n_held_out)
    with pytest.raises(NothingFitsError):
        make_plan(replace(settings, budget=replace(settings.budget, params=10)), images, 5)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (95, "2 min"), (3_000, "50 min"), (12_000, "3 h 20 min"), (864_000, "10 days")],
)
def test_durations(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words
