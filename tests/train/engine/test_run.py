"""Full trainings: stopped and resumed, several seeds, test images read once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import ModelError, StoppedError, TrainingError
from nas_budget.records.training_run import EpochRow, RunResult, read_metrics, read_result
from nas_budget.train.data.dataset import Dataset, Images, Labels
from nas_budget.train.engine import run as full_training
from nas_budget.train.engine.run import FullTraining
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.engine.weights import load_model, weights_digest
from nas_budget.train.optim.recipe import Recipe

SPEC = ResNetSpec((4, 8), blocks=1, image_size=8, classes=2, pool="global", dropout=0.2)
RECIPE = Recipe(learning_rate=0.1, batch_size=20, epochs=4, crop_pad=1, ema=0.2, cutmix=0.3, trivial_augment=True)
CHECKPOINT = "checkpoint-seed0.safetensors"
SETTINGS = RunConfig("mine", SPEC, "own", RECIPE, 160, 40, seeds=(0,), deterministic=True)


@pytest.fixture(autouse=True)
def a_checkpoint_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the epochs are."""
    monkeypatch.setattr(full_training, "CHECKPOINT_SHARE", 0)


def dark_or_bright(reads: list[str] | None = None) -> Dataset:
    def read(part: str) -> tuple[Images, Labels]:
        if reads is not None:
            reads.append(part)
        rng = np.random.default_rng(len(part))
        labels = np.arange(200 if part == "train" else 60, dtype=np.int64) % 2
        images = rng.normal(90 + 60 * labels[:, None, None, None], 40, (len(labels), 8, 8, 3)).clip(0, 255)
        return images.astype(np.uint8), labels

    return Dataset("easy", ("dark", "bright"), 8, 3, 200, 60, "", "1", read)


def make(folder: Path, settings: RunConfig = SETTINGS, **given: Any) -> FullTraining:
    return FullTraining(settings, given.pop("dataset", dark_or_bright()), folder, torch.device("cpu"), **given)


def to_end(run: FullTraining) -> RunResult:
    list(run.epochs())
    assert run.finished
    return run.finished


def same(a: RunResult, b: RunResult) -> bool:
    """Whether two runs gave the same numbers, whenever and however fast."""
    strip: Callable[[RunResult], Any] = lambda r: replace(  # noqa: E731
        r, finished="", seeds=tuple(replace(s, seconds=0, repeated_seconds=0) for s in r.seeds)
    )
    return bool(strip(a) == strip(b))


def interrupted(folder: Path, n_steps: int, settings: RunConfig = SETTINGS) -> list[EpochRow]:
    """Stop before step `n_steps`, counted from 0 over the whole run; eight steps are an epoch."""
    left = iter([False] * n_steps)
    rows: list[EpochRow] = []
    with pytest.raises(StoppedError):
        rows.extend(make(folder, settings, should_stop=lambda: next(left, True)).epochs())
    return rows


def test_a_run_leaves_everything_it_promises(tmp_path: Path) -> None:
    result = to_end(make(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} >= {
        "model.safetensors", "ema.safetensors", "spec.json", "metrics.jsonl", "result.json", "run.json",
    }  # fmt: skip
    assert not (tmp_path / CHECKPOINT).exists()
    assert ResNetSpec.from_json((tmp_path / "spec.json").read_text()) == SPEC
    assert read_result(tmp_path) == result
    assert [row.epoch for row in read_metrics(tmp_path)] == [1, 2, 3, 4]
    (seed,) = result.seeds
    assert seed.accuracy > 0.8
    assert seed.digest == weights_digest(load_model(tmp_path).network.state_dict())
    assert result.params == cost(SPEC).params
    assert (result.images, result.validation_images, result.test_images) == (160, 40, 60)
    assert sum(map(sum, result.confusion)) == 60
    assert sum(result.confusion[i][i] for i in range(2)) == pytest.approx(60 * seed.accuracy)
    assert len(result.mistakes) == 60 - round(60 * seed.accuracy)
    assert result.recipe["name"] == "own"


def test_the_worst_mistakes_are_kept_as_images(tmp_path: Path) -> None:
    easy = dark_or_bright()
    turned = replace(easy, read=lambda part: (easy.read(part)[0], easy.read(part)[1] ^ (part == "test")))
    result = to_end(make(tmp_path, dataset=turned))
    assert len(result.mistakes) == full_training.N_MISTAKES == 24
    with Image.open(tmp_path / "mistakes.png") as file:
        row = np.asarray(file)
    worst = easy.read("test")[0][[mistake["index"] for mistake in result.mistakes]]
    assert np.array_equal(row, np.concatenate(worst, axis=1))


def test_the_figures_are_those_of_the_saved_weights(tmp_path: Path) -> None:
    (seed,) = to_end(make(tmp_path)).seeds
    images, labels = dark_or_bright().read("test")
    for ema, plain, flipped in (False, seed.accuracy, seed.flipped), (True, seed.ema, seed.ema_flipped):
        model = load_model(tmp_path, ema)
        with torch.no_grad():
            there = model.network(model.normalized(torch.from_numpy(images)))
            mirrored = model.network(model.normalized(torch.from_numpy(images).flip(2)))
        assert float((there.argmax(1).numpy() == labels).mean()) == pytest.approx(plain)
        assert float(((there + mirrored).argmax(1).numpy() == labels).mean()) == pytest.approx(flipped)
        assert model.about["accuracy"] == pytest.approx(plain)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(tmp_path: Path, optimizer: str) -> None:
    settings = replace(SETTINGS, recipe=replace(RECIPE, optimizer=optimizer, learning_rate=0.02))
    whole = to_end(make(tmp_path / "whole", settings))
    folder = tmp_path / "parts"
    assert [row.epoch for row in interrupted(folder, 19, settings)] == [1, 2]  # in the third epoch
    assert [row.epoch for row in interrupted(folder, 8, settings)] == [3]  # between two epochs
    assert same(to_end(make(folder, settings)), whole)
    strip = lambda rows: [replace(row, seconds=0) for row in rows]  # noqa: E731
    assert strip(read_metrics(folder)) == strip(read_metrics(tmp_path / "whole"))


def test_a_kill_before_the_checkpoint_trains_that_epoch_again_and_counts_it_once(tmp_path: Path) -> None:
    interrupted(tmp_path, 16)
    rows = read_metrics(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:  # written, then killed before its checkpoint
        file.write(json.dumps(vars(replace(rows[-1], epoch=3, seconds=50.0))) + "\n" + '{"seed": 0, "epo')
    result = to_end(make(tmp_path))
    assert [row.epoch for row in read_metrics(tmp_path)] == [1, 2, 3, 4]
    assert result.seeds[0].repeated_seconds == pytest.approx(50, abs=1)


def test_checkpoints_of_short_epochs_take_little_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    real = full_training.save_checkpoint

    def slow(path: Path, trainer: Any, values: Any) -> None:
        written.append(values["epoch"])
        time.sleep(0.05)
        real(path, trainer, values)

    monkeypatch.setattr(full_training, "save_checkpoint", slow)
    monkeypatch.setattr(full_training, "CHECKPOINT_SHARE", 1_000)
    to_end(make(tmp_path))
    assert written == [1, 4]


def test_several_seeds_have_a_mean_and_a_deviation(tmp_path: Path) -> None:
    settings = replace(SETTINGS, seeds=(3, 4), recipe=replace(RECIPE, epochs=2))
    whole = to_end(make(tmp_path / "whole", settings))
    assert [seed.seed for seed in whole.seeds] == [3, 4]
    values = [seed.accuracy for seed in whole.seeds]
    assert whole.mean() == pytest.approx(np.mean(values))
    assert whole.deviation() == pytest.approx(np.std(values, ddof=1))
    assert whole.seeds[0].digest != whole.seeds[1].digest
    assert weights_digest(load_model(tmp_path / "whole").network.state_dict()) == whole.seeds[0].digest
    second = load_model(tmp_path / "whole" / "model-seed4.safetensors")
    assert weights_digest(second.network.state_dict()) == whole.seeds[1].digest
    interrupted(tmp_path / "parts", 20, settings)  # in the second seed
    assert same(to_end(make(tmp_path / "parts", settings)), whole)


def test_more_seeds_add_to_a_finished_run(tmp_path: Path) -> None:
    brief = replace(SETTINGS, recipe=replace(RECIPE, epochs=1))
    first = to_end(make(tmp_path, brief))
    both = to_end(make(tmp_path, replace(brief, seeds=(0, 1))))
    assert both.seeds[0] == first.seeds[0]
    assert both.confusion == first.confusion  # of the first seed, whose weights have the plain name
    assert len(both.seeds) == 2


def test_test_images_are_read_once_at_the_end(tmp_path: Path) -> None:
    reads: list[str] = []
    run = make(tmp_path, dataset=dark_or_bright(reads))
    for row in run.epochs():
        assert "test" not in reads, row
    assert reads == ["train", "test"]
    again = make(tmp_path, dataset=dark_or_bright(reads))
    to_end(again)
    assert not again.trained
    assert reads == ["train", "test"]


def test_without_validation_images_accuracy_is_known_at_the_end_alone(tmp_path: Path) -> None:
    result = to_end(make(tmp_path, replace(SETTINGS, n_train=200, n_validation=0)))
    assert {(row.accuracy, row.validation_loss, row.ema_accuracy) for row in read_metrics(tmp_path)} == {
        (None, None, None)
    }
    assert result.seeds[0].validation_accuracy is None
    assert result.mean("validation_accuracy") is None
    assert result.seeds[0].accuracy > 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": replace_spec}, "spec.channels was \\[4, 8\\], not \\[4, 9\\]")
        for replace_spec in [ResNetSpec((4, 9), blocks=1, image_size=8, classes=2, pool="global", dropout=0.2)]
    ]
    + [
        ({"recipe": replace(RECIPE, epochs=5)}, "recipe.epochs was 4, not 5"),
        ({"n_train": 100}, "data.images was 160, not 100"),
        ({"deterministic": False}, "deterministic was True, not False"),
    ],
)
def test_a_run_resumes_with_its_own_settings_alone(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    interrupted(tmp_path, 9)
    with pytest.raises(ModelError, match=f"started with other settings: {words}.*--name"):
        to_end(make(tmp_path, replace(SETTINGS, **change)))
    assert (tmp_path / CHECKPOINT).exists()


def test_a_damaged_checkpoint_is_reported_and_kept(tmp_path: Path) -> None:
    interrupted(tmp_path, 9)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelError, match=r"checkpoint-seed0.safetensors: .*cut short"):
        to_end(make(tmp_path))
    assert path.exists()
    assert [row.epoch for row in read_metrics(tmp_path)] == [1]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    other = replace(SETTINGS, spec=ResNetSpec((4, 6), blocks=1, image_size=8, classes=2, pool="global"))
    interrupted(tmp_path / "a", 9)
    interrupted(tmp_path / "b", 9, other)
    (tmp_path / "b" / CHECKPOINT).replace(tmp_path / "a" / CHECKPOINT)
    with pytest.raises(ModelError, match="weights of another network"):
        to_end(make(tmp_path / "a"))


def test_a_kill_after_a_seed_ended_and_before_its_checkpoint_went_is_no_obstacle(tmp_path: Path) -> None:
    settings = replace(SETTINGS, seeds=(0, 1), recipe=replace(RECIPE, epochs=1))
    whole = to_end(make(tmp_path / "whole", settings))
    interrupted(tmp_path / "killed", 8, settings)  # before the first step of the second seed
    assert read_result(tmp_path / "killed").seeds == (replace(whole.seeds[0], **times_of(tmp_path / "killed")),)
    interrupted(tmp_path / "other", 8, replace(settings, seeds=(0,), recipe=replace(RECIPE, epochs=2)))
    (tmp_path / "other" / CHECKPOINT).rename(tmp_path / "killed" / CHECKPOINT)
    assert same(to_end(make(tmp_path / "killed", settings)), whole)
    assert not (tmp_path / "killed" / CHECKPOINT).exists()


def times_of(folder: Path) -> dict[str, float]:
    (seed,) = read_result(folder).seeds
    return {"seconds": seed.seconds, "repeated_seconds": seed.repeated_seconds}


def test_another_seed_does_not_take_the_place_of_the_first(tmp_path: Path) -> None:
    settings = replace(SETTINGS, recipe=replace(RECIPE, epochs=1))
    first = to_end(make(tmp_path, settings))
    both = to_end(make(tmp_path, replace(settings, seeds=(7,))))
    assert [seed.seed for seed in both.seeds] == [0, 7]
    assert (both.confusion, both.mistakes) == (first.confusion, first.mistakes)
    assert weights_digest(load_model(tmp_path).network.state_dict()) == first.seeds[0].digest
    assert (tmp_path / "model-seed7.safetensors").exists()


def test_the_folder_of_a_study_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("study\n")
    with pytest.raises(ModelError, match="holds a study; give the run another --name"):
        to_end(make(tmp_path))
    assert not (tmp_path / "spec.json").exists()


@pytest.mark.parametrize("content", ["[]", "{", ""])
def test_settings_that_cannot_be_read_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ModelError, match=r"run.json: (holds no settings|cannot be read)"):
        to_end(make(tmp_path))


def test_a_loss_that_is_no_number_names_epoch_and_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = full_training.train_epoch

    def breaks(trainer: Any, epoch: int, should_stop: Any) -> Any:
        result = real(trainer, epoch, should_stop)
        return replace(result, train_loss=float("nan")) if epoch == 2 else result

    monkeypatch.setattr(full_training, "train_epoch", breaks)
    with pytest.raises(
        TrainingError,
        match=r"loss is nan in epoch 2 at learning rate 0\.\d+ \(seed 0\); lower.*--name",
    ):
        to_end(make(tmp_path))
    assert [row.epoch for row in read_metrics(tmp_path)] == [1]  # what was finished is kept


def test_too_little_memory_is_said_and_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, said = full_training.Trainer._micro_batch, list[str]()

    def cramped(self: Any, images: torch.Tensor, targets: torch.Tensor, n: int) -> torch.Tensor:
        if len(images) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, images, targets, n)

    monkeypatch.setattr(full_training.Trainer, "_micro_batch", cramped)
    interrupted(tmp_path, 17)
    result = to_end(make(tmp_path, on_message=said.append))
    assert result.micro_batches == 2
    assert said == []  # said in the first epoch
    to_end(make(tmp_path / "whole", on_message=said.append))
    (note,) = said
    assert "batch of 20: it is computed in 2 micro-batches" in note


@pytest.mark.parametrize("where", ["_micro_batch", "begin", "record_of_the_end"])
def test_no_memory_at_all_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("CUDA error: out of memory\nmore lines")

    if where == "record_of_the_end":
        monkeypatch.setattr(full_training, "labelled_images", fails)
    else:
        monkeypatch.setattr(full_training.Trainer, where, fails)
    with pytest.raises(TrainingError, match=r"not enough memory on .* \(CUDA error: out of memory\); free some"):
        to_end(make(tmp_path))
    if where == "record_of_the_end":
        monkeypatch.undo()
        assert len(to_end(make(tmp_path)).seeds) == 1
        assert [row.epoch for row in read_metrics(tmp_path)] == [1, 2, 3, 4]  # none was trained again


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    going = make(tmp_path).epochs()
    next(going)
    with pytest.raises(ModelError, match="another process trains this run"):
        next(make(tmp_path).epochs())
    going.close()
    assert to_end(make(tmp_path)).seeds


def test_deterministic_is_asked_of_torch_and_given_back(tmp_path: Path) -> None:
    seen = [torch.are_deterministic_algorithms_enabled() for _ in make(tmp_path).epochs()]
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
