"""A candidate's training goes on at its checkpoint with the numbers of one that was not interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_budget.errors import ModelError
from nas_budget.records.trials import EpochResult
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.workers.trainer import Kept, TorchTrainer
from nas_budget.train.engine import checkpoint
from nas_budget.train.engine import trainer as engine
from nas_budget.train.optim.recipe import RECIPES
from tests.train.builders import BRIEF, EASY, SPEC
from tests.train.engine.recording import ReplayedOnCpu

ABOUT = {"spec": "this", "seeds": (3, 4), "device": "a CPU", "versions": "of today"}
RECIPES_OF_ALL_KINDS = [
    replace(BRIEF, epochs=4, ema=0.2, flip="alternate", cutmix=0.3),
    replace(RECIPES["paper"], batch_size=20, epochs=4, crop_pad=1),
    replace(RECIPES["strong"], batch_size=20, epochs=4, crop_pad=1, ema=0.2),
]


@pytest.fixture(autouse=True)
def _a_checkpoint_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SHARE", 0)


class Process:
    """What trains one candidate until it is killed, as one process after the other does."""

    def __init__(self, folder: Path, candidate: Candidate, seeds: tuple[int, ...] = (0,), **about: Any) -> None:
        self.file, self.candidate, self.seeds, self.about = folder / "c.safetensors", candidate, seeds, ABOUT | about
        self.said: list[str] = []

    def train(self, n: int | None = None, precision: str = "fp32", graphed: bool = False) -> list[EpochResult]:
        """The epochs up to the one after which it is killed, without their times; those of before come along."""
        trainer = TorchTrainer(EASY, precision, graphed=graphed)
        training = trainer.train(self.candidate, self.seeds, Kept(self.file, self.about, self.said.append))
        left: Iterator[EpochResult] = training.left
        trained = [next(left) for _ in range(n)] if n else [*left]
        return [replace(result, seconds=0.0) for result in (*training.past, *trained)]


CANDIDATE = Candidate(SPEC, RECIPES_OF_ALL_KINDS[0])


def whole(candidate: Candidate = CANDIDATE, seeds: tuple[int, ...] = (0,), **how: Any) -> list[EpochResult]:
    trainer = TorchTrainer(EASY, **how)
    return [replace(result, seconds=0.0) for result in trainer.train(candidate, seeds).left]


@pytest.mark.parametrize("recipe", RECIPES_OF_ALL_KINDS, ids=["sgd", "paper", "strong"])
@pytest.mark.parametrize("seeds", [(0,), (3, 4)], ids=str)
def test_one_that_was_killed_gives_the_numbers_of_one_that_was_not(
    recipe: Any, seeds: tuple[int, ...], tmp_path: Path
) -> None:
    candidate = Candidate(SPEC, recipe)
    process = Process(tmp_path, candidate, seeds)
    process.train(2)  # two are trained and one is kept: nobody has asked for the third
    second = process.train(1)
    assert [result.epoch for result in second] == [1, 2]
    assert process.train() == whole(candidate, seeds)
    assert process.said == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_whatever_the_precision(precision: str, tmp_path: Path) -> None:
    process = Process(tmp_path, CANDIDATE)
    process.train(3, precision)
    assert process.train(precision=precision) == whole(precision=precision)


def test_a_recorded_step_is_recorded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "StepGraph", ReplayedOnCpu)
    process = Process(tmp_path, CANDIDATE)
    process.train(3, graphed=True)
    resumed, uninterrupted = process.train(graphed=True), whole(graphed=True)
    assert [r.epoch for r in resumed] == [1, 2, 3, 4]
    for ours, theirs in zip(resumed, uninterrupted, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)


def test_micro_batches_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine.Trainer._micro_batch

    def cramped(self: Any, inputs: Any, *arguments: Any) -> Any:
        if len(inputs) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, inputs, *arguments)

    process = Process(tmp_path, CANDIDATE)
    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "_micro_batch", cramped)
        process.train(2)
    assert [result.micro_batches for result in process.train()] == [2] * 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"device": "another CPU"}, "is of a training with another device"),
        ({"versions": "of tomorrow", "spec": "that"}, "is of a training with another spec and versions"),
        ({"proxy": 0.5}, "is of a training with another proxy"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_training_is_dropped(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    Process(tmp_path, CANDIDATE).train(3)
    process = Process(tmp_path, CANDIDATE, **change)
    assert process.train() == whole()
    assert [why in said for said in process.said] == [True]
    assert process.said[0].startswith("it starts from its beginning, as its checkpoint cannot be used: ")


def of_another(file: Path, n: int = 3, **recipe: Any) -> None:
    file.unlink()
    Process(file.parent, Candidate(SPEC, replace(CANDIDATE.recipe, **recipe))).train(n)


def other_network(file: Path) -> None:
    file.unlink()
    Process(file.parent, Candidate(replace(SPEC, channels=(4, 6)), CANDIDATE.recipe)).train(3)


def without_ema(file: Path) -> None:
    of_another(file, ema=0.0)


def longer(file: Path) -> None:
    of_another(file, epochs=6, n=6)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)


def without_epochs(file: Path) -> None:
    trainers = TorchTrainer(EASY)._trainers(CANDIDATE, (0,))
    checkpoint.save_checkpoint(file, trainers, {"about": {**ABOUT, "seeds": [3, 4]}})


def without_place(file: Path) -> None:
    trainers = TorchTrainer(EASY)._trainers(CANDIDATE, (0,))
    checkpoint.save_tensors(file, checkpoint._tensors(trainers[0]), checkpoint.FORMAT, {})


@pytest.mark.parametrize(
    "spoil",
    [
        other_network, without_ema, longer, truncated, damaged, without_epochs, without_place,
        lambda file: file.write_bytes(b""), lambda file: file.write_text("{}"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_used_is_dropped(spoil: Any, tmp_path: Path) -> None:
    process = Process(tmp_path, CANDIDATE)
    process.train(3)
    spoil(process.file)
    assert process.train() == whole()
    (said,) = process.said
    assert "\n" not in said


def test_the_last_epoch_needs_none_and_short_epochs_have_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda *given: written.append(len(given[2]["epochs"])))
    Process(tmp_path, CANDIDATE).train()
    assert written == [1, 2, 3]
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))
    trainer = TorchTrainer(EASY)
    for _ in range(2):  # what one trial took counts for the next
        [*trainer.train(CANDIDATE, (0,), Kept(tmp_path / "c", ABOUT)).left]
    assert written == [1, 2, 3, 1]


@pytest.mark.parametrize("error", [ModelError("c: cannot be written (No space left)"), MemoryError()])
def test_a_disk_that_is_full_costs_the_checkpoint_and_not_the_trial(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    process = Process(tmp_path, CANDIDATE)
    assert process.train() == whole()
    why = str(error) or "not enough memory"
    assert process.said == [f"it would start from its beginning if it were interrupted: {why}"]
