"""The trials table: its columns, and the one place that writes, reads and checks it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from nas_budget.errors import StorageError, TableError
from nas_budget.records.atomic_write import from_spreadsheet, write_csv
from nas_budget.records.field_table import is_strange
from nas_budget.records.paths import trials_table
from nas_budget.records.statistics import pareto_front

MOST_COUNT = 10**9
"""More epochs, parts of a batch and seconds of an epoch than there are anywhere."""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch: Its number, from 1.
        train_loss: Mean loss over its steps; not finite when the network diverged.
        accuracy: On validation images, 0 to 1, of one forward pass without dropout; NaN when there are none.
        validation_loss: Mean cross-entropy on them, without label smoothing; NaN likewise.
        learning_rate: At its last step.
        seconds: Training and evaluation together.
        micro_batches: In how many parts each batch was computed; above 1 where memory did not suffice for a whole one.
        not_recorded: Why steps were not replayed from a CUDA graph although that was asked for; empty else.
    """

    epoch: int
    train_loss: float
    accuracy: float
    validation_loss: float
    learning_rate: float
    seconds: float
    micro_batches: int = 1
    not_recorded: str = ""

    @classmethod
    def from_json(cls, values: Any) -> EpochResult:
        """The result that a file holds of an epoch.

        Raises:
            ValueError: It is none, or has a number of another kind.
        """
        try:
            result = cls(**values)
        except TypeError:
            raise ValueError("holds no epoch") from None
        counts = (result.epoch, result.micro_batches)
        losses = (result.train_loss, result.validation_loss, result.accuracy)
        numbers = (*losses, result.learning_rate, result.seconds)
        kinds: list[tuple[tuple[Any, ...], Any]] = [
            (counts, int),
            (numbers, int | float),
            ((result.not_recorded,), str),
        ]
        if not all(isinstance(each, kind) for group, kind in kinds for each in group):
            raise ValueError("an epoch has a value of another kind")
        if min(counts) < 1 or max(counts) > MOST_COUNT or not 0 <= result.seconds <= MOST_COUNT:
            raise ValueError("an epoch has a number that none has")
        return result

    @property
    def diverged(self) -> bool:
        """Whether a loss is no longer a finite number.

        The last step of an epoch can spoil the weights, which only the validation images show then. Without such
        images accuracy is NaN too, and that says nothing.
        """
        return not isfinite(self.train_loss) or (isfinite(self.accuracy) and not isfinite(self.validation_loss))


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial; the fields are the columns of `trials.csv`, in this order.

    Columns that say something of residual networks alone (`OF_RESIDUAL`) are empty for a network of a family of the
    user's own; its values are in `spec`.

    Attributes:
        study: Name of the study.
        number: Number of the trial in its study.
        state: "complete", "pruned" or "failed".
        accuracy: On validation images after the last epoch trained, 0 to 1; empty when none was.
        epochs: Epochs trained.
        max_epochs: Epochs of a complete trial.
        params: Trainable parameters.
        macs: Multiply-accumulates for one image.
        weight_bytes: Bytes of parameters and buffers in fp32.
        activation_bytes: Peak bytes of live elements for one image in fp32.
        depth: Convolutions and linear layers on the longest path.
        latency_s: Time of one image through the network where it was trained; empty where it was not measured.
        proxy: What the network's widths were multiplied by for training; 1 where the network itself was trained.
        proxy_params: Parameters of what was trained.
        of: Number of the trial that first trained this network, narrower; empty for a network that was proposed.
        seconds: Time the trial took.
        repeated_seconds: Time of earlier attempts at it that were interrupted.
        channels: Width of each stage, joined by "-"; blocks, kernels and strides likewise.
        blocks: Blocks of each stage.
        kernels: Kernel size of each stage.
        strides: Stride of each stage.
        pool: Size of the last average pool.
        stem_kernel: Kernel size of the first convolution.
        shortcut_kernel: Kernel size of shortcuts that change shape.
        block: Kind of block.
        se_reduction: Reduction of the squeeze-excitation in every block; 0 for none.
        stem_width: Width of the first convolution.
        optimizer: Of the recipe; learning_rate, weight_decay and batch_size likewise.
        learning_rate: Its largest value.
        weight_decay: As the optimizer takes it.
        batch_size: Images a step.
        seeds: Trainings of which accuracy and curve are the mean.
        curve: Accuracy after each epoch, separated by spaces.
        train_losses: Training loss of each epoch, by which trials are compared early; separated by spaces.
        rungs: Epochs at which trials of the study are compared, separated by spaces.
        pruner_metric: What is compared there, "loss" or "accuracy"; empty where the pruner has no choice.
        predicted: Accuracy that the sampler's model expected before the trial; empty without a model.
        predicted_deviation: Standard deviation of that.
        data: Name of the data set.
        images: Images trained on.
        validation_images: Images the accuracy is measured on.
        budget_params: Limit on parameters; empty for none. The next three likewise.
        budget_macs: Limit on MACs.
        budget_weight_bytes: Limit on bytes of weights, in the format `weight_format`.
        budget_activation_bytes: Limit on bytes of activations.
        weight_format: Number format of the limit on bytes of weights.
        activation_format: Number format of the limit on bytes of activations.
        budget_latency_ns: Limit on the predicted latency in nanoseconds; empty for none.
        predicted_latency_s: Seconds of one image as the study's model of latencies predicts it; empty without one.
        seed: Seed of the training, of several the first.
        device: Where it ran.
        precision: Number format it trained in.
        micro_batches: Micro-batches that each batch was computed in; 1 unless memory did not suffice for a whole batch.
        versions: Versions of this package, torch and Optuna.
        worker: Number of the worker that trained it, from 0.
        started: When, in UTC, ISO 8601.
        finished: When, in UTC, ISO 8601.
        reason: Why it was pruned or failed.
        spec: The whole spec as JSON.

    Examples:
        >>> COLUMNS[:5]
        ('study', 'number', 'state', 'accuracy', 'epochs')
    """

    study: str
    number: int
    state: str
    accuracy: float | None
    epochs: int
    max_epochs: int
    params: int
    macs: int
    weight_bytes: int
    activation_bytes: int | None
    depth: int | None
    latency_s: float | None
    proxy: float
    proxy_params: int
    of: int | None
    seconds: float
    repeated_seconds: float
    channels: str
    blocks: str
    kernels: str
    strides: str
    pool: int | None
    stem_kernel: int | None
    shortcut_kernel: int | None
    block: str
    se_reduction: int | None
    stem_width: int | None
    optimizer: str
    learning_rate: float
    weight_decay: float
    batch_size: int
    seeds: int
    curve: str
    train_losses: str
    rungs: str
    pruner_metric: str
    predicted: float | None
    predicted_deviation: float | None
    data: str
    images: int
    validation_images: int
    budget_params: int | None
    budget_macs: int | None
    budget_weight_bytes: int | None
    budget_activation_bytes: int | None
    weight_format: str
    activation_format: str
    budget_latency_ns: int | None
    predicted_latency_s: float | None
    seed: int
    device: str
    precision: str
    micro_batches: int
    versions: str
    worker: int
    started: str
    finished: str
    reason: str
    spec: str


OF_RESIDUAL = (
    "channels", "blocks", "kernels", "strides", "pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction",
    "stem_width", "depth", "activation_bytes",
)  # fmt: skip
"""Columns that say something of residual networks alone; of a family of the user's own they are empty."""
KINDS = {field.name: str(field.type) for field in fields(TrialRecord)}
"""Type of each column."""
COLUMNS = tuple(KINDS)
LATER = {"activation_format": "fp32", "budget_latency_ns": "", "predicted_latency_s": ""}
"""Columns that older tables do not have, and what held before."""
STATES = ("complete", "pruned", "failed")
CURVE = re.compile(r"\s*([01](\.\d*)?([eE]-?\d+)?\s*)*")
LOSSES = re.compile(r"\s*((\d+(\.\d*)?([eE][+-]?\d+)?|nan|inf)\s*)*")
RUNGS = re.compile(r"[\d ]*")
READERS: dict[str, Callable[[str], Any]] = {
    "str": from_spreadsheet,
    "int": int,
    "float": float,
    "int | None": lambda text: int(text) if text else None,
    "float | None": lambda text: float(text) if text else None,
}
"""What reads a cell, by the type of its column."""


def read_trials(path: Path) -> list[TrialRecord]:
    """The trials of a `trials.csv`, or of the run folder that holds one, by number.

    Raises:
        TableError: It is missing, damaged, or of another version.
    """
    return [TrialRecord(*row) for row in zip(*read_checked(path).values(), strict=True)]


def read_checked(path: Path) -> dict[str, list[Any]]:
    """The same trials as columns by name, each value of the type of its field.

    Raises:
        TableError: As `read_trials`.
    """
    file = trials_table(path)
    columns = {name: _converted(file, name, cells) for name, cells in read_columns(file, COLUMNS).items()}
    if problem := next(_problems(columns), ""):
        raise TableError(f"{file}: {problem}; the table is damaged, and a search that resumes writes it anew")
    numbers = columns["number"]
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    return {name: [values[i] for i in order] for name, values in columns.items()}


def read_columns(file: Path, names: Sequence[str]) -> dict[str, Sequence[str]]:
    """The cells of some columns of a trials table by name, as texts; nothing of them is checked.

    Raises:
        TableError: It is missing, no trials table of this version, or its last row is cut off.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            head, *rows = csv.reader(opened, strict=True)
    except FileNotFoundError:
        raise TableError(f"{file}: no such file; give a run folder such as runs/quickstart") from None
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "empty, cut off, or not a text"
        raise TableError(f"{file}: cannot be read as a trials table ({reason})") from None
    if missing := [name for name in COLUMNS if name not in (*head, *LATER)]:
        raise TableError(f"{file}: {_of_another_version(missing)}")
    if any(len(row) != len(head) for row in rows):
        raise TableError(f"{file}: a row is cut off; a search that resumes writes the table anew")
    cells = [*zip(*rows, strict=True)] or [()] * len(head)
    return {name: cells[head.index(name)] if name in head else [LATER[name]] * len(rows) for name in names}


def _of_another_version(missing: Sequence[str]) -> str:
    lacks = f"no column {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}"
    if len(missing) > len(COLUMNS) // 2:
        return f"is no trials table ({lacks}); give one that nas-budget search wrote"
    return f"was written by an older nas-budget ({lacks}); read it with the version that wrote it"


def _converted(file: Path, name: str, cells: Sequence[str]) -> list[Any]:
    """The values of a column."""
    try:
        values = [*map(READERS[KINDS[name]], cells)]
        if strange := next(filter(is_strange, values), None):
            raise TableError(f"{file}: column {name} holds {strange!r:.60}; the table is damaged")
        return values
    except ValueError:
        wanted = {"i": "whole numbers", "f": "numbers"}[KINDS[name][0]]
        strange = next(cell for cell in cells if not _reads(name, cell))
        found = f"holds {strange!r:.60}" if strange else "has an empty cell"
        raise TableError(f"{file}: column {name} {found}, where {wanted} belong; the table is damaged") from None


def _reads(name: str, cell: str) -> bool:
    try:
        READERS[KINDS[name]](cell)
    except ValueError:
        return False
    return True


def _problems(columns: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """What no trial has."""
    rules: dict[str, Callable[[Any], object]] = {
        "state": lambda state: state in STATES,
        "accuracy": lambda accuracy: accuracy is None or 0 <= accuracy <= 1,
        "params": lambda params: params > 0,
        "curve": CURVE.fullmatch,
        "train_losses": LOSSES.fullmatch,
        "rungs": RUNGS.fullmatch,
    }
    for name, rule in rules.items():
        for value in columns[name]:
            if not rule(value):
                yield f"column {name} holds {value!r:.60}"


def best_of(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The most accurate complete trial among those trained at the largest width; of equals the smallest.

    None when there is none. Accuracies of proxies of other widths are not compared: a wider one is more accurate.
    """
    ended = [r for r in records if r.state == "complete" and r.accuracy is not None]
    return max(ended, key=lambda r: (r.proxy, r.accuracy or 0.0, -r.params), default=None)


def proposed_of(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials of networks that were proposed, without those that trained one of them again at another width."""
    return [record for record in records if record.of is None]


def pareto_front_of(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The complete trials that no other beats in both size and accuracy, from the smallest; of equals the first.

    All are trained at one width: those that trained a network again at another are left out.
    """
    ended = sorted(
        (r for r in proposed_of(records) if r.state == "complete" and r.accuracy is not None), key=lambda r: r.number
    )
    return tuple(pareto_front(ended, lambda r: r.params, lambda r: r.accuracy or 0.0))


def write_table(path: Path, records: Iterable[TrialRecord]) -> None:
    """Write the table to `path`; a reader never sees half of it.

    Raises:
        StorageError: The folder cannot be written.
    """
    try:
        write_csv(path, COLUMNS, (vars(record).values() for record in records))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None
