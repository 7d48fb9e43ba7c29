from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from nas_budget.arch.cost import cost
from nas_budget.arch.scale import scale_widths
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError
from nas_budget.records.formatting import seconds_in_words
from nas_budget.records.trials import TrialRecord
from nas_budget.search.config import plan
from nas_budget.search.config.plan import TimeLeft, make_plan, propose, to_time, trial_seconds
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.config.study_file import read_study_file
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.profile import time_model as speed
from nas_budget.train.profile.time_model import TimeModel, Timing
from tests.report.trials import record

CPU = torch.device("cpu")
SPEED = TimeModel(per_mac=1e-9)
SMALL, LARGE = ResNetSpec((8, 8), 1, strides=2), ResNetSpec((32, 32), 1, strides=1)


def settings_of(dataset: Dataset, **changes: Any) -> StudyConfig:
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    values = {"budget.params": "50k", "recipe.epochs": 4, "data.images": 100, "data.validation_images": 50}
    return resolve("s", read_study_file(None, {**values, **overrides}), CPU, dataset)


def ended(spec: ResNetSpec, settings: StudyConfig, slower: float = 1.0, **changes: Any) -> TrialRecord:
    """A trial that took so many times as long as predicted."""
    epochs = changes.get("epochs", 4)
    seconds = slower * trial_seconds(SPEED, spec, settings) * epochs / 4
    known: dict[str, Any] = {"batch_size": settings.recipe.batch_size, "optimizer": settings.recipe.optimizer}
    known |= {"spec": spec.to_json(), "seconds": seconds, "epochs": 4, "max_epochs": 4}
    return record(0, **known | changes)


def test_a_plan_tells_sizes_and_time(dataset: Dataset) -> None:
    settings = settings_of(dataset)
    images = split_images(dataset, CPU, settings.n_train, settings.n_validation)
    made = make_plan(settings, images, n_left=7)
    assert 25_500 == made.smallest < made.largest <= 50_000
    assert 0 <= made.share_fitting < 0.5
    assert made.total_s == pytest.approx(7 * made.trial_s)
    assert made.trial_s > 0
    assert asdict(made)["speed"]["per_layer"] >= 0  # as a dry run prints it
    assert make_plan(settings, images, n_left=0).total_s == 0


def test_the_time_is_the_mean_over_the_queue_and_many_proposals(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[ResNetSpec] = []

    def calibrate(specs: list[ResNetSpec], *_: object) -> TimeModel:
        timed.extend(specs)
        return SPEED

    monkeypatch.setattr(plan, "calibrate", calibrate)
    queue = [{"channels": [40, 40], "blocks": 1, "kernels": 3}]
    settings = settings_of(dataset, budget__params="100k", search__queue=queue, search__aim="front")
    images = split_images(dataset, CPU, settings.n_train, settings.n_validation)
    proposals = propose(settings, plan.N_PROPOSED)
    mean = sum(trial_seconds(SPEED, spec, settings) for spec in proposals) / len(proposals)
    first = trial_seconds(SPEED, settings.queue[0], settings)
    assert first > 2 * mean
    assert make_plan(settings, images, n_left=5).total_s == pytest.approx(first + 4 * mean)
    assert make_plan(settings, images, n_left=1).trial_s == pytest.approx(first)
    assert set(timed) <= set(proposals)


def test_steps_are_timed_as_they_will_be_taken(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def calibrate(*arguments: object) -> TimeModel:
        given.extend(arguments[3:])
        return SPEED

    monkeypatch.setattr(plan, "calibrate", calibrate)
    settings = replace(settings_of(dataset), precision="bf16", graph=True)
    make_plan(settings, split_images(dataset, CPU, settings.n_train, settings.n_validation), n_left=1)
    assert given == ["bf16", True]


def test_a_few_of_the_proposals_are_timed_dear_ones_too(dataset: Dataset) -> None:
    proposals = propose(settings_of(dataset), plan.N_PROPOSED)
    chosen = to_time(proposals)
    macs = sorted(cost(spec).macs for spec in proposals)
    timed = sorted(cost(spec).macs for spec in chosen)
    assert len(set(chosen)) == plan.N_TIMED
    assert timed[0] == macs[0]
    assert timed[-1] > macs[3 * len(macs) // 4]
    assert to_time([SMALL] * 50) == [SMALL]
    assert to_time([SMALL]) == [SMALL]


def test_seconds_of_a_trial_are_those_of_all_its_epochs_and_seeds(dataset: Dataset) -> None:
    settings = settings_of(dataset)
    once = trial_seconds(SPEED, SMALL, settings)
    epoch = SPEED.epoch_seconds(SMALL, settings.recipe, 100, 50)
    assert once == pytest.approx(4 * epoch)
    assert trial_seconds(SPEED, SMALL, replace(settings, trial_seeds=3)) == pytest.approx(3 * once)
    assert trial_seconds(SPEED, LARGE, settings) > 10 * once


def test_a_network_too_large_to_time_does_not_end_the_plan(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> Timing:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(speed, "time_step", no_memory)
    settings = resolve("s", read_study_file(None), CPU, dataset)
    images = split_images(dataset, CPU, settings.n_train, settings.n_validation)
    assert make_plan(settings, images, n_left=3).trial_s == 0


def test_nothing_fits_is_said_before_anything_is_timed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "calibrate", lambda *_: pytest.fail("timed"))
    settings = resolve("s", read_study_file(None), CPU, dataset)
    images = split_images(dataset, CPU, settings.n_train, settings.n_validation)
    with pytest.raises(NothingFitsError):
        make_plan(replace(settings, budget=replace(settings.budget, params=10)), images, 5)


def test_a_plan_of_proxies_times_them_and_the_ladder(dataset: Dataset) -> None:
    asked = {"search__proxy": "1/4", "search__ladder": [2, 1], "budget__params": "500k"}
    settings = settings_of(dataset, **asked)
    made = make_plan(settings, split_images(dataset, CPU, settings.n_train, settings.n_validation), n_left=10)
    assert 255_000 == made.smallest  # noqa: SIM300 - sizes are those of the networks
    assert 250_000 / 16 * 0.5 < made.proxy_params < 500_000 / 16 * 2
    assert len(made.ladder_s) == 2
    assert 0 < made.trial_s < made.ladder_s[0] < made.ladder_s[1]
    assert made.total_s == pytest.approx(10 * made.trial_s + 2 * made.ladder_s[0] + made.ladder_s[1])
    wide = propose(settings, 5)[0]
    narrow = scale_widths(wide, 1 / 4)
    without = replace(settings, proxy=1.0)
    assert trial_seconds(SPEED, wide, settings) == trial_seconds(SPEED, narrow, without)


def test_what_is_done_is_not_planned_again_and_finalists_are_planned(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "calibrate", lambda *_: SPEED)
    asked = {"search__proxy": "1/4", "search__ladder": [3, 1], "budget__params": "500k", "search__workers": 2}
    settings = settings_of(dataset, **asked, search__finalists=2, search__finalist_seeds=2, search__finalist_epochs=8)
    images = split_images(dataset, CPU, settings.n_train, settings.n_validation)
    new = make_plan(settings, images, 10)
    assert settings.recipe.epochs == 4
    final_s = 2 * 2 * new.ladder_s[1]  # two of the four runs at once, each twice as long as a trial
    assert new.total_s == pytest.approx(5 * new.trial_s + 2 * new.ladder_s[0] + new.ladder_s[1] + final_s)
    later = make_plan(settings, images, 0, n_wider=(2,), n_runs=3)
    assert later.total_s == pytest.approx(new.ladder_s[0] + new.ladder_s[1] + final_s / 2)
    assert make_plan(settings, images, 0, (3, 1), 4).total_s == 0


class TestTimeLeft:
    """The time left, of a study of 20 trials planned with ten seconds each."""

    @pytest.fixture
    def settings(self, dataset: Dataset) -> StudyConfig:
        return settings_of(dataset, search__trials=20)

    def left(self, settings: StudyConfig, *records: TrialRecord, trial_s: float = 10.0) -> TimeLeft:
        made = TimeLeft(settings, trial_s, SPEED)
        for one in records:
            made.add(one)
        return made

    def test_at_first_it_is_the_plan(self, settings: StudyConfig) -> None:
        assert self.left(settings).seconds() == 200
        assert self.left(replace(settings, workers=2)).seconds() == 100

    def test_small_first_trials_do_not_promise_too_little(self, settings: StudyConfig) -> None:
        small = trial_seconds(SPEED, SMALL, settings)
        planned = 10 * small
        found = self.left(settings, *[ended(SMALL, settings)] * 3, trial_s=planned).seconds()
        assert found > 0.7 * 17 * planned  # their own pace would be a tenth of it

    def test_what_is_slower_than_predicted_makes_all_of_it_longer(self, settings: StudyConfig) -> None:
        planned = trial_seconds(SPEED, SMALL, settings)
        for slower in 0.5, 3.0:
            found = self.left(settings, ended(SMALL, settings, slower), trial_s=planned)
            assert found.seconds() == pytest.approx(19 * slower * planned)

    def test_trials_stopped_early_make_it_shorter(self, settings: StudyConfig) -> None:
        planned = trial_seconds(SPEED, SMALL, settings)
        stopped = [ended(SMALL, settings), ended(SMALL, settings, state="pruned", epochs=1)]
        assert self.left(settings, *stopped, trial_s=planned).seconds() == pytest.approx(18 * planned * 1.25 / 2)

    def test_in_the_end_it_is_the_pace_of_the_trials(self, settings: StudyConfig) -> None:
        many = replace(settings, trials=10_000)
        records = [ended(SMALL, many), ended(LARGE, many)] * 1_000
        pace = (records[0].seconds + records[1].seconds) / 2
        assert self.left(many, *records, trial_s=10 * pace).seconds() == pytest.approx(8_000 * pace, rel=0.1)

    def test_failed_trials_do_not_count(self, settings: StudyConfig) -> None:
        assert self.left(settings, ended(LARGE, settings, 9.0, state="failed", epochs=1)).seconds() == 200

    def test_the_recipe_of_a_trial_counts(self, settings: StudyConfig) -> None:
        few_steps, many_steps = (TimeLeft(settings, 1.0, TimeModel(per_layer=1e-3)) for _ in range(2))
        few_steps.add(ended(SMALL, settings, batch_size=50))
        many_steps.add(ended(SMALL, settings, batch_size=10))
        assert many_steps.whole > 3 * few_steps.whole

    def test_finalists_are_added_and_taken_off(self, settings: StudyConfig) -> None:
        finals = replace(settings, finalists=2, finalist_seeds=3, finalist_epochs=8)
        assert self.left(finals).seconds() == 200 + 6 * 20
        assert self.left(finals).seconds(5) == 200 + 20
        both = replace(finals, trial_seeds=2)
        assert self.left(both).seconds() == 200 + 6 * 10

    def test_without_a_plan_it_is_the_pace_of_the_trials(self, settings: StudyConfig) -> None:
        nothing = TimeLeft(settings, 0.0, TimeModel())
        assert nothing.seconds() == 0
        nothing.add(ended(SMALL, settings, seconds=4.0))
        nothing.add(ended(LARGE, settings, seconds=6.0))
        assert nothing.seconds() == pytest.approx(18 * 5.0)

    def test_without_a_model_trials_are_alike(self, settings: StudyConfig) -> None:
        alike = TimeLeft(settings, 10.0)
        for spec, seconds in (SMALL, 4.0), (LARGE, 8.0):
            alike.add(replace(ended(spec, settings), seconds=seconds))
        assert alike.seconds() == pytest.approx(18 * 6.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (95, "2 min"), (3_000, "50 min"), (12_000, "3 h 20 min"), (864_000, "10 days")],
)
def test_durations(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words
