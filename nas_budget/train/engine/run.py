"""`FullTraining`: a network trained with several seeds, resumed after a stop, and measured on test images once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.cost import cost
from nas_budget.errors import ModelError, StorageError, TrainingError
from nas_budget.records import paths
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.training_run import EpochRow, RunResult, SeedResult, read_metrics, read_result, write_result
from nas_budget.records.versions import package_versions
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.image_files import write_row
from nas_budget.train.data.split import LabelledImages, labelled_images, split_images
from nas_budget.train.engine.checkpoint import RegularCheckpoints, load_checkpoint
from nas_budget.train.engine.device import cudnn_benchmark, describe_device, deterministic, is_out_of_memory
from nas_budget.train.engine.evaluate import accuracy_of, confusion_of, evaluate, mistakes_of, predict_logits
from nas_budget.train.engine.loop import train_epoch
from nas_budget.train.engine.model import build
from nas_budget.train.engine.run_config import DATA_PLACE, FORMAT, RunConfig, check_same
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.engine.weights import Model, save_model, weights_digest

N_MISTAKES = 24
AND = " and "
"""Between devices, where seeds ran on several."""


class FullTraining:
    """Trains a network to the end with each seed, and writes weights, metrics and result to a folder.

    A run that was stopped or killed resumes from its last checkpoint and ends with the same numbers as one that was
    not. Test images are read once, after the last epoch of each seed. The weights of the first seed have the plain
    name: no seed is chosen by its test accuracy.

    Args:
        settings: Network, recipe, images and seeds. A folder resumes only with the same ones; more seeds may follow.
        folder: Folder of the run; it is made.
        should_stop: Asked before every step; training raises `StoppedError` when it returns true.
        on_message: Called with notes for a person, such as that memory was short.

    Attributes:
        finished: The result so far; None until the first seed has ended.
        trained: Whether anything was left to train.
        saved: Seed and epoch of the last checkpoint; None before the first.

    Examples:
        >>> import tempfile
        >>> from nas_budget import Recipe, ResNetSpec
        >>> from nas_budget.train.data.synthetic import synthetic
        >>> spec, recipe = ResNetSpec((4, 8), blocks=1), Recipe(batch_size=32, epochs=2)
        >>> settings = RunConfig("example", spec, "own", recipe, n_train=64, n_validation=20, seeds=(0, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = FullTraining(settings, synthetic(84, 50), Path(folder), torch.device("cpu"))
        ...     rows = list(run.epochs())
        ...     (Path(folder) / "model.safetensors").exists()
        True
        >>> [(row.seed, row.epoch) for row in rows], len(run.finished.seeds)
        ([(0, 1), (0, 2), (1, 1), (1, 2)], 2)
    """

    def __init__(
        self, settings: RunConfig, dataset: Dataset, folder: Path, device: torch.device,
        should_stop: Callable[[], bool] = lambda: False, on_message: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.settings, self.dataset, self.folder, self.device = settings, dataset, folder, device
        self.should_stop, self.on_message = should_stop, on_message
        self.finished: RunResult | None = None
        self.trained = False
        self.saved: tuple[int, int] | None = None
        self.rows: list[EpochRow] = []
        self.place: dict[str, Any] = {}

    @property
    def n_epochs_done(self) -> int:
        """Epochs, of all seeds together, that the folder tells of. A kill may have lost the last of them."""
        return len({(row.seed, row.epoch) for row in read_metrics(self.folder) if row.seed in self.settings.seeds})

    def epochs(self) -> Iterator[EpochRow]:
        """Train with each seed that is left and yield every epoch. At the end the result is in `finished`.

        Raises:
            StoppedError: `should_stop` returned true; the last checkpoint is kept.
            TrainingError: The loss is no longer a number, or memory does not suffice.
            ModelError: The folder holds a run with other settings, or a checkpoint is damaged.
            StorageError: Another process trains this run.
        """
        s = self.settings
        choices = deterministic(True) if s.deterministic else cudnn_benchmark()
        with _lock(self.folder), choices, _explain_lack_of_memory(self.device):
            seeds_left = self._open()
            self.trained = bool(seeds_left)
            if seeds_left:
                images = split_images(self.dataset, self.device, s.n_train, s.n_validation)
            for seed in seeds_left:
                trainer = Trainer(build(s.spec, seed), images, s.recipe, seed, s.precision)
                yield from self._train(trainer)
                self._finish(trainer)

    def _open(self) -> list[int]:
        """Write the settings, read what the folder holds; the seeds that are left."""
        held = self.settings.held(self.dataset)
        check_same(self.folder, held, self.settings.name)
        self.finished = read_result(self.folder) if (self.folder / paths.RESULT).exists() else None
        done = {seed.seed for seed in self.finished.seeds} if self.finished else set()
        for seed in done:
            paths.checkpoint(self.folder, seed).unlink(missing_ok=True)  # a kill may have left it
        written = {"format": FORMAT, **held, DATA_PLACE: self.dataset.place}
        write_whole(self.folder / paths.RUN_SETTINGS, json.dumps(written, indent=2) + "\n")
        write_whole(self.folder / paths.SPEC, self.settings.spec.to_json() + "\n")
        self.rows = [row for row in read_metrics(self.folder) if row.seed in done]
        return [seed for seed in self.settings.seeds if seed not in done]

    def _train(self, trainer: Trainer) -> Iterator[EpochRow]:
        self._resume(trainer)
        if self.settings.compiled:
            trainer.compile()
        trainer.record(self.settings.graphed)
        checkpoints, last = RegularCheckpoints(), self.settings.recipe.epochs
        for epoch in range(self.place["epoch"] + 1, last + 1):
            row = self._epoch(trainer, epoch)
            self.place |= {"epoch": epoch, "spent_s": self.place["spent_s"] + row.seconds}
            self.rows.append(row)
            _append(self.folder / paths.METRICS, _line(row))
            if checkpoints.due or epoch == last:
                checkpoints.save(paths.checkpoint(self.folder, trainer.seed), [trainer], self.place)
                self.saved = trainer.seed, epoch
            yield row

    def _resume(self, trainer: Trainer) -> None:
        """Load the seed's checkpoint if there is one. Rows of epochs after it are lost, their time is counted."""
        self.place = {"epoch": 0, "spent_s": 0.0, "lost_s": 0.0}
        if (path := paths.checkpoint(self.folder, trainer.seed)).exists():
            self.place = _place(path, load_checkpoint(path, [trainer]), self.settings.recipe.epochs)
            self.saved = trainer.seed, self.place["epoch"]
        before = [row for row in read_metrics(self.folder) if row.seed == trainer.seed]
        self.rows += [row for row in before if row.epoch <= self.place["epoch"]]
        self.place["lost_s"] += sum(row.seconds for row in before if row.epoch > self.place["epoch"])
        write_whole(self.folder / paths.METRICS, "".join(map(_line, self.rows)))

    def _epoch(self, trainer: Trainer, epoch: int) -> EpochRow:
        start, images, micro_batches = time.perf_counter(), trainer.images, trainer.micro_batches
        result = train_epoch(trainer, epoch, self.should_stop)
        if trainer.micro_batches > micro_batches:
            self.on_message(
                f"NOTE: not enough memory for a batch of {trainer.batch_size}: it is computed in "
                f"{trainer.micro_batches} micro-batches whose gradients are added; batch norm sees one at a time"
            )
        if trainer.not_recorded:
            self.on_message(
                "NOTE: kernels are launched one by one, which is slower: a step cannot be recorded as a CUDA graph "
                f"({trainer.not_recorded})"
            )
            trainer.not_recorded = ""
        if result.diverged:
            loss = result.validation_loss if isfinite(result.train_loss) else result.train_loss
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch} at learning rate {result.learning_rate:.3g} "
                f"(seed {trainer.seed}); lower recipe.learning_rate, under another --name"
            )
        ema = evaluate(trainer.ema.network, images.validation, images, trainer.precision) if trainer.ema else None
        return EpochRow(
            seed=trainer.seed,
            epoch=epoch,
            train_loss=result.train_loss,
            accuracy=_or_none(result.accuracy),
            validation_loss=_or_none(result.validation_loss),
            ema_accuracy=_or_none(ema[0]) if ema else None,
            learning_rate=result.learning_rate,
            seconds=time.perf_counter() - start,
        )

    def _finish(self, trainer: Trainer) -> None:
        """Measure on test images, write weights and result, remove the checkpoint."""
        test = labelled_images(self.dataset, "test", self.device)
        logits, accuracy, flipped = self._measure(trainer, trainer.network, "plain", test)
        ema = self._measure(trainer, trainer.ema.network, "ema", test) if trainer.ema else (None, None, None)
        ended = SeedResult(
            seed=trainer.seed,
            validation_accuracy=self.rows[-1].accuracy,
            accuracy=accuracy,
            flipped=flipped,
            ema=ema[1],
            ema_flipped=ema[2],
            loss=F.cross_entropy(logits, test.labels).item(),
            seconds=self.place["spent_s"],
            repeated_seconds=self.place["lost_s"],
            digest=weights_digest(trainer.network.state_dict()),
        )
        if self.finished:
            confusion, mistakes = self.finished.confusion, self.finished.mistakes
        else:
            confusion = confusion_of(logits, test.labels)
            mistakes = tuple(mistakes_of(logits, test.labels, N_MISTAKES))
            worst = test.images[[mistake["index"] for mistake in mistakes]]
            write_row(self.folder / paths.MISTAKES, worst.cpu().numpy())
        s, used = self.settings, cost(self.settings.spec)
        before = self.finished.device.split(AND) if self.finished else []
        self.finished = RunResult(
            name=s.name,
            spec=s.spec.to_dict(),
            params=used.params,
            macs=used.macs,
            recipe={"name": s.recipe_name, **asdict(s.recipe)},
            data=self.dataset.name,
            data_digest=self.dataset.digest,
            images=s.n_train,
            validation_images=s.n_validation,
            test_images=len(test),
            classes=self.dataset.classes,
            device=AND.join(dict.fromkeys([*before, describe_device(self.device)])),
            precision=s.precision,
            deterministic=s.deterministic,
            micro_batches=trainer.micro_batches,
            versions=package_versions("torch"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            seeds=(*(self.finished.seeds if self.finished else ()), ended),
            confusion=confusion,
            mistakes=mistakes,
            budget=s.budget.to_dict(),
        )
        write_result(self.folder, self.finished)
        paths.checkpoint(self.folder, trainer.seed).unlink(missing_ok=True)

    def _measure(
        self, trainer: Trainer, network: nn.Module, weights: str, test: LabelledImages
    ) -> tuple[Tensor, float, float]:
        """Write a model of "plain" or "ema" weights; its logits of test images, accuracy, that with mirror images."""
        mean, std = (tuple(values.tolist()) for values in (trainer.images.mean, trainer.images.std))
        about: dict[str, Any] = {"run": self.settings.name, "data": self.dataset.name, "seed": trainer.seed}
        about |= {"data_digest": self.dataset.digest, "weights": weights, "budget": self.settings.budget.to_dict()}
        model = Model(self.settings.spec, network.eval(), self.dataset.classes, mean, std, about)
        plain, mirrored = (predict_logits(network, test.images, model.normalized, mirrored=m) for m in (False, True))
        accuracy, flipped = (accuracy_of(logits, test.labels) for logits in (plain, mirrored))
        model.about.update(accuracy=accuracy, test_images=len(test))
        # The first seed's weights have the plain name: no seed is chosen by its accuracy on test images.
        first = self.finished.seeds[0].seed if self.finished else trainer.seed
        file = {"plain": paths.WEIGHTS, "ema": paths.EMA_WEIGHTS}[weights]
        save_model(self.folder / (file if trainer.seed == first else file.replace(".", f"-seed{trainer.seed}.")), model)
        return plain, accuracy, flipped


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which one process at a time has."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / paths.LOCK, timeout=0):
            yield
    except Timeout:
        raise StorageError(f"{folder}: another process trains this run; wait for it, or use another --name") from None


@contextmanager
def _explain_lack_of_memory(device: torch.device) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise TrainingError(
            f"not enough memory on {describe_device(device)}, however few images at a time ({first}); "
            "free some, or train a smaller network; the run resumes from its last checkpoint"
        ) from None


def _line(row: EpochRow) -> str:
    return json.dumps(asdict(row)) + "\n"


def _or_none(value: float) -> float | None:
    return value if isfinite(value) else None


def _place(path: Path, values: dict[str, Any], epochs: int) -> dict[str, Any]:
    """What a checkpoint says of the epochs before it.

    Raises:
        ModelError: It says something that no training of so many epochs wrote.
    """
    epoch, *seconds = (values.get(name) for name in ("epoch", "spent_s", "lost_s"))
    is_time = all(isinstance(each, int | float) and 0 <= each < float("inf") for each in seconds)
    if not is_time or not isinstance(epoch, int) or not 0 <= epoch <= epochs:
        raise ModelError(f"{path}: holds no place in a training of {epochs} epochs; remove it to train this seed anew")
    return values


def _append(path: Path, line: str) -> None:
    """Add a line to a file; a `StorageError` says why it cannot be written."""
    try:
        with path.open("a") as file:
            file.write(line)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None
