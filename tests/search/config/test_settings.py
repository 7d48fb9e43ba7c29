import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_budget.arch.cost import cost
from nas_budget.arch.scale import scale_widths
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StudyError, StudyFileError
from nas_budget.records.paths import STUDY_SETTINGS
from nas_budget.search.config.build import read_config
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig, next_name, study_name, write_config
from nas_budget.search.config.study_file import read_study_file
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.optim.recipe import RECIPES

CPU = torch.device("cpu")
GPU = torch.device("cuda")  # only its type is looked at


def settings_of(dataset: Dataset, device: torch.device = CPU, recorded: Any = None, **overrides: Any) -> StudyConfig:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return resolve("s", read_study_file(None, keys), device, dataset, recorded)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """What suits the time depends on the cores."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


def test_a_cuda_graph_needs_a_cuda_gpu(dataset: Dataset) -> None:
    assert settings_of(dataset).graph == "auto"
    with pytest.raises(StudyFileError, match=r"search.graph: needs a CUDA GPU; the device is .*; leave it out"):
        settings_of(dataset, search__graph=True)


def test_a_cpu_and_a_gpu_are_asked_the_same_question(dataset: Dataset) -> None:
    cpu, gpu = settings_of(dataset), settings_of(dataset, GPU, search__precision="fp32")
    assert cpu.budget == gpu.budget
    assert cpu.budget.macs is None
    assert replace(cpu.space, width=gpu.space.width) == gpu.space
    assert cpu.space.fill == (0.51, 1.0)
    assert settings_of(dataset, budget__macs="30M").space.fill == (0.1, 1.0)  # parameters need not bind
    assert settings_of(dataset, search__aim="front").space.fill == (0.02, 1.0)
    assert cpu.proxy < gpu.proxy == 1
    assert cpu.ladder
    assert gpu.ladder == ()
    assert cpu.recipe == RECIPES["brief"]
    assert gpu.recipe == RECIPES["fast"]
    assert (gpu.n_train, gpu.n_validation) == (450, 50)
    assert set(cpu.chosen) == set(gpu.chosen) >= {"search.proxy", "data.images", "recipe.name"}


def test_no_network_that_may_be_proposed_is_too_narrow_for_its_proxy(dataset: Dataset) -> None:
    settings = settings_of(dataset, search__proxy="1/8")
    assert settings.space.width == (28, 512)
    assert scale_widths(ResNetSpec((28, 28), 1), settings.proxy).channels == (4, 4)
    with pytest.raises(StudyFileError, match=r"proxy: 0.125 makes stages of 16 channels 2 wide, .* give 0.2188"):
        settings_of(dataset, search__proxy="1/8", space__width=[16, 64])
    with pytest.raises(StudyFileError, match=r"queue: 16-32.* too narrow for search.proxy: .* makes 2 .* 0.2188"):
        settings_of(dataset, search__proxy="1/8", search__queue=[{"channels": [16, 32]}])
    assert settings_of(dataset, search__queue=[{"channels": [8, 32]}]).proxy >= 0.5  # chosen so that it has one


@pytest.mark.parametrize("given", ["2", "0", "1/0", "half"])
def test_a_factor_is_a_share(dataset: Dataset, given: str) -> None:
    with pytest.raises(StudyFileError, match=r"search.proxy"):
        settings_of(dataset, search__proxy=given)


def test_without_proxies_networks_themselves_are_trained(dataset: Dataset) -> None:
    settings = settings_of(dataset, search__proxy="none")
    assert (settings.proxy, settings.ladder, settings.space.width) == (1.0, (), (8, 512))


def test_a_resumed_study_keeps_what_was_chosen_by_time(dataset: Dataset) -> None:
    first = settings_of(dataset, search__time="60s")
    assert first.trials < 50 or first.n_train < 400
    later = settings_of(dataset, recorded=first.to_dict(), search__time="10m")
    assert (later.proxy, later.ladder, later.n_train, later.trials) == (
        first.proxy, first.ladder, first.n_train, first.trials,
    )  # fmt: skip
    assert settings_of(dataset, recorded=first.to_dict()).trials == first.trials
    assert settings_of(dataset, recorded=first.to_dict(), search__trials=77).trials == 77
    with pytest.raises(StudyError, match=r"search.proxy is .*, not 1.0.*--name"):
        settings_of(dataset, recorded=first.to_dict(), search__proxy="none")


def test_a_ladder_that_would_be_wider_than_the_network_is_refused(dataset: Dataset) -> None:
    wider = {"search__ladder": [3, 2, 1]}
    with pytest.raises(
        StudyFileError, match=r"ladder: \[3, 2, 1\] has 3 levels, .* is 2 to full width; give at most 2"
    ):
        settings_of(dataset, search__proxy="1/4", **wider)
    assert settings_of(dataset, **wider).proxy == 1 / 8  # the only factor with room for three
    assert settings_of(dataset, GPU, **wider, search__precision="fp32").ladder == ()


def test_no_pruner_is_a_pruner_of_that_name(dataset: Dataset) -> None:
    assert settings_of(dataset, search__pruner="none").pruner == "none"
    assert settings_of(dataset, search__timeout="none").timeout is None


def test_what_the_device_would_choose_can_be_set(dataset: Dataset) -> None:
    settings = settings_of(dataset, budget__macs="9M", data__images=100, recipe__name="paper", recipe__epochs=3)
    assert settings.budget.macs == 9_000_000
    assert settings.n_train == 100
    assert (settings.recipe.optimizer, settings.recipe.epochs) == ("adam", 3)
    assert not {"data.images", "recipe.name"} & set(settings.chosen)


def test_the_space_knows_the_images(dataset: Dataset) -> None:
    space = settings_of(dataset).space
    assert (space.image_size, space.in_channels, space.classes) == (32, 3, 10)


def test_a_study_goes_on_with_what_it_recorded(dataset: Dataset) -> None:
    first = settings_of(dataset, data__images=120)
    again = settings_of(dataset, GPU, recorded=first.to_dict(), data__images=120, search__trials=99)
    assert again.budget == first.budget
    assert again.recipe == first.recipe
    assert again.precision == first.precision
    assert again.trials == 99


@pytest.mark.parametrize(
    ("key", "value"),
    [("budget.params", 10_000), ("recipe.epochs", 9), ("space.kernels", [3]), ("data.images", 50), ("search.seed", 1)],
)
def test_a_study_made_with_other_settings_is_not_continued(dataset: Dataset, key: str, value: Any) -> None:
    recorded = settings_of(dataset).to_dict()
    with pytest.raises(StudyError, match=f"{key} is .*--name"):
        settings_of(dataset, recorded=recorded, **{key.replace(".", "__"): value})


LATER_KEYS = ("activation", "groups", "expansions", "stem_stride", "head_width")


def test_a_study_recorded_before_the_space_had_a_key_goes_on_with_its_default(dataset: Dataset) -> None:
    recorded = settings_of(dataset).to_dict()
    for key in LATER_KEYS:
        del recorded["space"][key]
    assert settings_of(dataset, recorded=recorded).space.activation == ("relu",)
    with pytest.raises(StudyError, match=r"space.activation is \['relu'\], not \['silu'\].*--name"):
        settings_of(dataset, recorded=recorded, space__activation="silu")
    with pytest.raises(StudyError, match=r"space.expansions is \[0\], not \[2.*--name"):
        settings_of(dataset, recorded=recorded, space__expansions=[2])


def test_settings_recorded_before_the_space_had_a_key_are_read(dataset: Dataset, tmp_path: Path) -> None:
    settings = settings_of(dataset)
    write_config(settings, tmp_path)
    recorded = json.loads((tmp_path / STUDY_SETTINGS).read_text())
    for key in LATER_KEYS:
        del recorded["space"][key]
    (tmp_path / STUDY_SETTINGS).write_text(json.dumps(recorded))
    assert read_config(tmp_path).space == settings.space


def test_more_images_than_there_are_is_said(dataset: Dataset) -> None:
    with pytest.raises(StudyFileError, match="500 training images"):
        settings_of(dataset, data__images=501)


def test_a_queued_network_must_fit_and_be_a_network(dataset: Dataset) -> None:
    queue = [{"channels": [4, 8], "blocks": 1}]
    assert settings_of(dataset, search__queue=queue).queue[0].channels == (4, 8)
    with pytest.raises(StudyFileError, match=r"queue.*100 allowed"):
        settings_of(dataset, search__queue=queue, budget__params=100, space__width=[1, 4])
    with pytest.raises(StudyFileError, match="unknown field"):
        settings_of(dataset, search__queue=[{"widths": [4]}])
    with pytest.raises(StudyFileError, match="classes is 3, not 10; leave classes out"):
        settings_of(dataset, search__queue=[{**queue[0], "classes": 3}])


def test_the_reference_is_queued_where_the_space_holds_it_and_it_fits(dataset: Dataset) -> None:
    (queued,) = settings_of(dataset).queue
    assert cost(queued).params == 4_907_445
    assert settings_of(dataset, budget__params=4_907_444).queue == ()
    assert settings_of(dataset, search__queue=[]).queue == ()
    assert settings_of(dataset, space__first_stride=2).queue == ()


def test_a_queued_network_has_the_dropout_of_the_space(dataset: Dataset) -> None:
    changed = {"space__dropout": 0.3, "search__queue": [{"channels": [4, 8], "blocks": 1}]}
    assert settings_of(dataset, **changed).queue[0].dropout == 0.3


def test_a_recipe_may_leave_ranges_and_choices_open(dataset: Dataset) -> None:
    rates, batches = [0.01, 0.4], [32, 64]
    settings = settings_of(dataset, recipe__learning_rate=rates, recipe__batch_size=batches, recipe__optimizer=["sgd"])
    assert [d.name for d in settings.recipes.dimensions()] == ["learning_rate", "batch_size"]
    assert settings.recipe.learning_rate == pytest.approx(0.063)  # the middle of the range, on a log scale
    assert settings.recipe.batch_size == 32
    with pytest.raises(StudyFileError, match=r"learning_rate: \[0.4, 0.01\] is no range"):
        settings_of(dataset, recipe__learning_rate=[0.4, 0.01])
    with pytest.raises(StudyFileError, match=r"batch_size: \[\] holds no choice; give at least one"):
        settings_of(dataset, recipe__batch_size=[])
    with pytest.raises(StudyFileError, match="optimizer: 'lion' is unknown"):
        settings_of(dataset, recipe__optimizer=["sgd", "lion"])
    with pytest.raises(StudyFileError, match="batch_size: 1 is not allowed"):
        settings_of(dataset, recipe__batch_size=[64, 1])


@pytest.mark.parametrize("rungs", [[6], [2, 6], [3, 2], [2, 2], [7]])
def test_rungs_must_go_with_the_epochs(dataset: Dataset, rungs: list[int]) -> None:
    with pytest.raises(StudyFileError, match=r"search.rungs.*recipe.epochs = 6; give rising epochs from 1 to 5"):
        settings_of(dataset, search__rungs=rungs)


def test_rungs_can_be_given_or_left_out(dataset: Dataset) -> None:
    assert settings_of(dataset, search__rungs=[1, 5]).rungs == (1, 5)
    assert settings_of(dataset, search__rungs=[]).rungs == ()
    assert settings_of(dataset).rungs == (3, 4)


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("90m", 5400), ("45 s", 45), (30, 30), ("1.5d", 129_600)])
def test_times_are_written_as_people_do(dataset: Dataset, text: Any, seconds: float) -> None:
    assert settings_of(dataset, search__timeout=text).timeout == seconds


@pytest.mark.parametrize("text", ["soon", "2 weeks", "h", 0, -1, "-2h", "0s"])
def test_a_time_that_is_none_is_refused(dataset: Dataset, text: Any) -> None:
    with pytest.raises(StudyFileError, match="search.device_time"):
        settings_of(dataset, search__device_time=text)


def test_how_a_study_searches_may_change_on_the_way(dataset: Dataset) -> None:
    recorded = settings_of(dataset).to_dict()
    changed = {"sampler": "random", "pruner": "none", "workers": 2, "timeout": "1h", "finalists": 3, "rungs": [1]}
    settings = settings_of(dataset, recorded=recorded, **{f"search__{key}": value for key, value in changed.items()})
    assert (settings.sampler, settings.workers, settings.timeout) == ("random", 2, 3600)


def test_a_study_recorded_by_another_version_is_refused(dataset: Dataset) -> None:
    recorded = settings_of(dataset).to_dict() | {"format": "nas-budget settings 1"}
    with pytest.raises(StudyError, match="study s was recorded by another version.* --name s-2"):
        settings_of(dataset, recorded=recorded)


def test_another_name_is_offered_for_other_settings(dataset: Dataset) -> None:
    recorded = settings_of(dataset).to_dict()
    with pytest.raises(StudyError, match="start another study with --name s-2"):
        settings_of(dataset, recorded=recorded, recipe__epochs=9)
    assert next_name("mine-2") == "mine-3"
    assert next_name("cifar10-150k") == "cifar10-150k-2"


def test_workers_share_the_cores(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    threads = [settings_of(dataset, search__proxy="none", search__workers=n).threads for n in (1, 2, 3, 16)]
    assert threads == [8, 4, 2, 1]


def test_a_file_whose_images_changed_is_another_data_set(dataset: Dataset) -> None:
    recorded = settings_of(dataset).to_dict()
    with pytest.raises(StudyError, match="the images are others"):
        settings_of(replace(dataset, digest="other"), recorded=recorded)


def test_a_shift_must_stay_within_the_image(dataset: Dataset) -> None:
    with pytest.raises(StudyFileError, match="recipe.crop_pad.*0 to 31"):
        settings_of(dataset, recipe__crop_pad=32)


def test_all_images_hold_out_a_tenth(dataset: Dataset) -> None:
    assert settings_of(dataset, data__images="all").n_validation == 50


@pytest.mark.parametrize(
    ("file", "overrides", "name"),
    [
        (None, {}, "auto-5M"),
        (None, {"data.name": "cifar10", "budget.params": "250k"}, "cifar10-250k"),
        (None, {"data.name": "/x/mine.npz", "budget.params": "none"}, "mine-any"),
        (None, {"budget.params": 4_907_445}, "auto-4907445"),
        (Path("studies/quickstart.toml"), {}, "quickstart"),
    ],
)
def test_names(file: Path | None, overrides: dict[str, Any], name: str) -> None:
    assert study_name(file, read_study_file(None, overrides)) == name
