"""Full trainings: stopped and resumed, several seeds, test images read once."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas_budget import Recipe, ResNetSpec, cost
from nas_budget.errors import ModelError, StoppedError, StorageError, TrainingError
from nas_budget.records.training_run import EpochRow, RunResult, read_metrics, read_result
from nas_budget.train.engine import checkpoint, trainer
from nas_budget.train.engine import run as full_training
from nas_budget.train.engine.run import FullTraining
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.engine.weights import load_model, weights_digest
from tests.train.builders import CPU, SPEC, dark_or_bright
from tests.train.engine.recording import ReplayedOnCpu

RECIPE = Recipe(learning_rate=0.1, batch_size=20, epochs=4, crop_pad=1, ema=0.2, cutmix=0.3, trivial_augment=True)
CHECKPOINT = "checkpoint-seed0.safetensors"
SETTINGS = RunConfig("mine", SPEC, "own", RECIPE, 160, 40, seeds=(0,), deterministic=True)
ONE_EPOCH = replace(SETTINGS, recipe=replace(RECIPE, epochs=1))


@pytest.fixture(autouse=True)
def a_checkpoint_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the epochs are."""
    monkeypatch.setattr(checkpoint, "SHARE", 0)


def make(folder: Path, settings: RunConfig = SETTINGS, **given: Any) -> FullTraining:
    return FullTraining(settings, given.pop("dataset", dark_or_bright()), folder, CPU, **given)


def to_end(folder: Path, settings: RunConfig = SETTINGS, **given: Any) -> RunResult:
    run = make(folder, settings, **given)
    list(run.epochs())
    assert run.finished
    return run.finished


def timeless(result: RunResult) -> RunResult:
    """The same numbers, whenever and however fast."""
    return replace(result, finished="", seeds=tuple(replace(s, seconds=0, repeated_seconds=0) for s in result.seeds))


def digest_of(source: Path) -> str:
    return weights_digest(load_model(source).network.state_dict())


def epochs_in(folder: Path) -> list[int]:
    return [row.epoch for row in read_metrics(folder)]


def interrupted(folder: Path, n_steps: int, settings: RunConfig = SETTINGS) -> list[EpochRow]:
    """Stop before step `n_steps`, counted from 0 over the whole run; eight steps are an epoch."""
    left = iter([False] * n_steps)
    rows: list[EpochRow] = []
    with pytest.raises(StoppedError):
        rows.extend(make(folder, settings, should_stop=lambda: next(left, True)).epochs())
    return rows


def test_a_run_leaves_everything_it_promises(tmp_path: Path) -> None:
    result = to_end(tmp_path)
    names = {"model.safetensors", "ema.safetensors", "spec.json", "metrics.jsonl", "result.json", "run.json"}
    assert {path.name for path in tmp_path.iterdir()} >= names
    assert not (tmp_path / CHECKPOINT).exists()
    assert ResNetSpec.from_json((tmp_path / "spec.json").read_text()) == SPEC
    assert read_result(tmp_path) == result
    assert epochs_in(tmp_path) == [1, 2, 3, 4]
    (seed,) = result.seeds
    assert seed.accuracy > 0.8
    assert seed.digest == digest_of(tmp_path)
    assert result.params == cost(SPEC).params
    assert (result.images, result.validation_images, result.test_images) == (160, 40, 60)
    assert sum(map(sum, result.confusion)) == 60
    assert sum(result.confusion[i][i] for i in range(2)) == pytest.approx(60 * seed.accuracy)
    assert len(result.mistakes) == 60 - round(60 * seed.accuracy)
    assert result.recipe["name"] == "own"
    images, labels = dark_or_bright().read("test")
    for ema, plain, flipped in (False, seed.accuracy, seed.flipped), (True, seed.ema, seed.ema_flipped):
        model = load_model(tmp_path, ema)
        with torch.no_grad():
            there = model.network(model.normalized(torch.from_numpy(images)))
            mirrored = model.network(model.normalized(torch.from_numpy(images).flip(2)))
        assert float((there.argmax(1).numpy() == labels).mean()) == pytest.approx(plain)
        assert float(((there + mirrored).argmax(1).numpy() == labels).mean()) == pytest.approx(flipped)
        assert model.about["accuracy"] == pytest.approx(plain)


def test_the_worst_mistakes_are_kept_as_images(tmp_path: Path) -> None:
    easy = dark_or_bright()
    turned = replace(easy, read=lambda part: (easy.read(part)[0], easy.read(part)[1] ^ (part == "test")))
    result = to_end(tmp_path, dataset=turned)
    assert len(result.mistakes) == full_training.N_MISTAKES == 24
    with Image.open(tmp_path / "mistakes.png") as file:
        row = np.asarray(file)
    worst = easy.read("test")[0][[mistake["index"] for mistake in result.mistakes]]
    assert np.array_equal(row, np.concatenate(worst, axis=1))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(tmp_path: Path, optimizer: str) -> None:
    settings = replace(SETTINGS, recipe=replace(RECIPE, optimizer=optimizer, learning_rate=0.02))
    whole, folder = to_end(tmp_path / "whole", settings), tmp_path / "parts"
    assert [row.epoch for row in interrupted(folder, 19, settings)] == [1, 2]  # in the third epoch
    assert [row.epoch for row in interrupted(folder, 8, settings)] == [3]  # between two epochs
    assert timeless(to_end(folder, settings)) == timeless(whole)
    rows, expected = (
        [replace(row, seconds=0) for row in read_metrics(where)] for where in (folder, tmp_path / "whole")
    )
    assert rows == expected


def test_a_kill_before_the_checkpoint_trains_that_epoch_again_and_counts_it_once(tmp_path: Path) -> None:
    interrupted(tmp_path, 16)
    lost = replace(read_metrics(tmp_path)[-1], epoch=3, seconds=50.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:  # written, then killed before its checkpoint
        file.write(json.dumps(vars(lost)) + "\n" + '{"seed": 0, "epo')
    result = to_end(tmp_path)
    assert epochs_in(tmp_path) == [1, 2, 3, 4]
    assert result.seeds[0].repeated_seconds == pytest.approx(50, abs=1)


def test_checkpoints_of_short_epochs_take_little_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    real = checkpoint.save_checkpoint

    def slow(path: Path, trainers: Any, values: Any) -> None:
        written.append(values["epoch"])
        time.sleep(0.05)
        real(path, trainers, values)

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow)
    monkeypatch.setattr(checkpoint, "SHARE", 1_000)
    to_end(tmp_path)
    assert written == [1, 4]


def test_several_seeds_have_a_mean_and_a_deviation(tmp_path: Path) -> None:
    settings = replace(SETTINGS, seeds=(3, 4), recipe=replace(RECIPE, epochs=2))
    whole = to_end(tmp_path / "whole", settings)
    assert [seed.seed for seed in whole.seeds] == [3, 4]
    values = [seed.accuracy for seed in whole.seeds]
    assert whole.mean() == pytest.approx(np.mean(values))
    assert whole.deviation() == pytest.approx(np.std(values, ddof=1))
    first, second = digest_of(tmp_path / "whole"), digest_of(tmp_path / "whole" / "model-seed4.safetensors")
    assert [first, second] == [seed.digest for seed in whole.seeds]
    assert first != second
    interrupted(tmp_path / "parts", 20, settings)  # in the second seed
    assert timeless(to_end(tmp_path / "parts", settings)) == timeless(whole)


@pytest.mark.parametrize("seeds", [(0, 7), (7,)])
def test_more_seeds_add_to_a_finished_run_and_do_not_take_the_place_of_the_first(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    first = to_end(tmp_path, ONE_EPOCH)
    both = to_end(tmp_path, replace(ONE_EPOCH, seeds=seeds))
    assert [seed.seed for seed in both.seeds] == [0, 7]
    assert (both.seeds[0], both.confusion, both.mistakes) == (first.seeds[0], first.confusion, first.mistakes)
    assert digest_of(tmp_path) == first.seeds[0].digest  # whose weights have the plain name
    assert (tmp_path / "model-seed7.safetensors").exists()


def test_seeds_on_several_devices_name_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n, device in enumerate(["H100", "T4", "H100"]):
        monkeypatch.setattr(full_training, "describe_device", lambda _, device=device: device)
        found = to_end(tmp_path, replace(ONE_EPOCH, seeds=tuple(range(n + 1))))
    assert found.device == "H100 and T4"


def test_test_images_are_read_once_at_the_end(tmp_path: Path) -> None:
    reads: list[str] = []
    for row in make(tmp_path, dataset=dark_or_bright(reads=reads)).epochs():
        assert "test" not in reads, row
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert reads == ["train", "test"]
    again = make(tmp_path, dataset=dark_or_bright(reads=reads))
    assert (list(again.epochs()), again.trained, reads) == ([], False, ["train", "test"])


def test_without_validation_images_accuracy_is_known_at_the_end_alone(tmp_path: Path) -> None:
    result = to_end(tmp_path, replace(SETTINGS, n_train=200, n_validation=0))
    known = {(row.accuracy, row.validation_loss, row.ema_accuracy) for row in read_metrics(tmp_path)}
    assert known == {(None, None, None)}
    assert result.seeds[0].validation_accuracy is None
    assert result.mean("validation_accuracy") is None
    assert result.seeds[0].accuracy > 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": replace(SPEC, channels=(4, 9))}, "spec.channels was \\[4, 8\\], not \\[4, 9\\]"),
        ({"recipe": replace(RECIPE, epochs=5)}, "recipe.epochs was 4, not 5"),
        ({"n_train": 100}, "data.images was 160, not 100"),
        ({"deterministic": False}, "deterministic was True, not False"),
    ],
)
def test_a_run_resumes_with_its_own_settings_alone(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    interrupted(tmp_path, 9)
    with pytest.raises(ModelError, match=f"started with other settings: {words}.*--name"):
        to_end(tmp_path, replace(SETTINGS, **change))
    assert (tmp_path / CHECKPOINT).exists()


def test_a_checkpoint_that_is_damaged_or_of_another_network_is_reported_and_kept(tmp_path: Path) -> None:
    folder, other = tmp_path / "a", tmp_path / "b"
    interrupted(folder, 9)
    interrupted(other, 9, replace(SETTINGS, spec=replace(SPEC, channels=(4, 6))))
    path, whole = folder / CHECKPOINT, (other / CHECKPOINT).read_bytes()
    for content, problem in (whole, "weights of another network"), (whole[:-50], f"{CHECKPOINT}: .*cut short"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=problem):
            to_end(folder)
        assert path.read_bytes() == content
    assert epochs_in(folder) == [1]


def test_a_kill_after_a_seed_ended_and_before_its_checkpoint_went_is_no_obstacle(tmp_path: Path) -> None:
    settings, killed = replace(ONE_EPOCH, seeds=(0, 1)), tmp_path / "killed"
    whole = timeless(to_end(tmp_path / "whole", settings))
    interrupted(killed, 8, settings)  # before the first step of the second seed
    assert timeless(read_result(killed)).seeds == whole.seeds[:1]
    interrupted(tmp_path / "other", 8, replace(SETTINGS, recipe=replace(RECIPE, epochs=2)))
    (tmp_path / "other" / CHECKPOINT).rename(killed / CHECKPOINT)
    assert timeless(to_end(killed, settings)) == whole
    assert not (killed / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("trials.csv", "study\n", "holds a study; give the run another --name"),
        *(("run.json", content, r"run.json: (holds no settings|cannot be read)") for content in ("[]", "{", "")),
    ],
)
def test_a_folder_that_holds_something_else_is_left_alone(
    tmp_path: Path, file: str, content: str, problem: str
) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(ModelError, match=problem):
        to_end(tmp_path)
    assert not (tmp_path / "spec.json").exists()


def test_a_loss_that_is_no_number_names_epoch_and_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = full_training.train_epoch

    def breaks(trainer: Any, epoch: int, should_stop: Any) -> Any:
        result = real(trainer, epoch, should_stop)
        return replace(result, train_loss=float("nan")) if epoch == 2 else result

    monkeypatch.setattr(full_training, "train_epoch", breaks)
    words = r"loss is nan in epoch 2 at learning rate 0\.\d+ \(seed 0\); lower.*--name"
    with pytest.raises(TrainingError, match=words):
        to_end(tmp_path)
    assert epochs_in(tmp_path) == [1]  # what was finished is kept


@pytest.mark.parametrize("graphed", [False, True])
def test_too_little_memory_is_said_and_survives_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphed: bool
) -> None:
    monkeypatch.setattr(trainer, "StepGraph", ReplayedOnCpu)
    settings = replace(SETTINGS, graphed=graphed)
    real, said = full_training.Trainer._micro_batch, list[str]()

    def cramped(self: Any, images: torch.Tensor, targets: torch.Tensor, n: int) -> torch.Tensor:
        if len(images) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, images, targets, n)

    monkeypatch.setattr(full_training.Trainer, "_micro_batch", cramped)
    interrupted(tmp_path, 17, settings)
    assert to_end(tmp_path, settings, on_message=said.append).micro_batches == 2
    assert said == []  # said in the first epoch
    to_end(tmp_path / "whole", settings, on_message=said.append)
    (note,) = said
    assert "batch of 20: it is computed in 2 micro-batches" in note


def test_a_step_that_cannot_be_recorded_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(trainer, "StepGraph", refused)
    said: list[str] = []
    to_end(tmp_path, replace(SETTINGS, graphed=True), on_message=said.append)
    assert said == [
        "NOTE: kernels are launched one by one, which is slower: a step cannot be recorded as a CUDA graph "
        "(operation not permitted when stream is capturing)"
    ]


@pytest.mark.parametrize(
    ("where", "trained"), [("Trainer._micro_batch", []), ("Trainer.begin", []), ("labelled_images", [1, 2, 3, 4])]
)
def test_no_memory_at_all_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, trained: list[int]
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("CUDA error: out of memory\nmore lines")

    monkeypatch.setattr(f"{full_training.__name__}.{where}", fails)
    with pytest.raises(TrainingError, match=r"not enough memory on .* \(CUDA error: out of memory\); free some"):
        to_end(tmp_path)
    assert epochs_in(tmp_path) == trained
    monkeypatch.undo()
    assert len(to_end(tmp_path).seeds) == 1
    assert epochs_in(tmp_path) == [1, 2, 3, 4]  # none was trained again


@pytest.mark.parametrize("exact", [True, False])
def test_cudnn_may_time_its_algorithms_unless_numbers_have_to_be_the_same(tmp_path: Path, exact: bool) -> None:
    before = torch.backends.cudnn.benchmark
    with closing(make(tmp_path, replace(SETTINGS, deterministic=exact)).epochs()) as epochs:
        next(epochs)
        assert torch.backends.cudnn.benchmark is not exact
    assert torch.backends.cudnn.benchmark is before


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    going = make(tmp_path).epochs()
    next(going)
    with pytest.raises(StorageError, match="another process trains this run"):
        to_end(tmp_path)
    going.close()
    assert to_end(tmp_path).seeds
