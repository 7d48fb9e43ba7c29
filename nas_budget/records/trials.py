"""The trials table: one row a trial, with the same columns for whoever writes or reads it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path

from nas_budget.errors import TableError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.statistics import pareto_front


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial; the fields are the columns of `trials.csv`, in this order.

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
        activation_bytes: Peak bytes of live tensors for one image in fp32.
        depth: Convolutions and linear layers on the longest path.
        latency_s: Time of one image through the network where it was trained; empty where it was not measured.
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
        weight_decay: As the optimiser takes it.
        batch_size: Images a step.
        seeds: Trainings of which accuracy and curve are the mean.
        curve: Accuracy after each epoch, separated by spaces.
        rungs: Epochs at which trials of the study are compared, separated by spaces.
        data: Name of the data set.
        images: Images trained on.
        validation_images: Images the accuracy is measured on.
        budget_params: Limit on parameters; empty for none. The next three likewise.
        budget_macs: Limit on MACs.
        budget_weight_bytes: Limit on bytes of weights, in the format `weight_format`.
        budget_activation_bytes: Limit on bytes of activations.
        weight_format: Number format of the limit on bytes of weights.
        seed: Seed of the training, of several the first.
        device: Where it ran.
        precision: Number format it trained in.
        versions: Versions of this package, torch and Optuna.
        worker: Number of the worker that trained it, from 0.
        started: When, in UTC, ISO 8601.
        finished: When, in UTC, ISO 8601.
        reason: Why it was pruned or failed.
        spec: The whole spec as JSON.
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
    activation_bytes: int
    depth: int
    latency_s: float | None
    seconds: float
    repeated_seconds: float
    channels: str
    blocks: str
    kernels: str
    strides: str
    pool: int
    stem_kernel: int
    shortcut_kernel: int
    block: str
    se_reduction: int
    stem_width: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    batch_size: int
    seeds: int
    curve: str
    rungs: str
    data: str
    images: int
    validation_images: int
    budget_params: int | None
    budget_macs: int | None
    budget_weight_bytes: int | None
    budget_activation_bytes: int | None
    weight_format: str
    seed: int
    device: str
    precision: str
    versions: str
    worker: int
    started: str
    finished: str
    reason: str
    spec: str


COLUMNS = tuple(field.name for field in fields(TrialRecord))
STATES = ("complete", "pruned", "failed")
CURVE = r"\s*([01](\.\d*)?([eE]-?\d+)?\s*)*"
"""What a curve looks like, as a regular expression."""


def problem_of(row: TrialRecord) -> str:
    """What a row holds that no trial has; empty of one that may be."""
    if row.state not in STATES:
        return f"a trial is {row.state!r}, not {', '.join(STATES)}"
    if row.accuracy is not None and not 0 <= row.accuracy <= 1:
        return f"an accuracy is {row.accuracy}, not from 0 to 1"
    if row.params < 1:
        return f"a network has {row.params} parameters"
    if not (isfinite(row.seconds) and isfinite(row.repeated_seconds)):
        return "a trial took no finite time"
    if not (re.fullmatch(CURVE, row.curve) and re.fullmatch(r"[\d ]*", row.rungs)):
        return f"a curve or its rungs are no numbers: {row.curve or row.rungs!r}"
    return ""


def best_of(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The most accurate complete trial, of equals the smallest; None when there is none."""
    ended = [r for r in records if r.state == "complete" and r.accuracy is not None]
    return max(ended, key=lambda r: (r.accuracy or 0.0, -r.params), default=None)


def front_of(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The complete trials that no other beats in both size and accuracy, from the smallest; of equals the first."""
    ended = sorted((r for r in records if r.state == "complete" and r.accuracy is not None), key=lambda r: r.number)
    return tuple(pareto_front(ended, lambda r: r.params, lambda r: r.accuracy or 0.0))


def write_table(path: Path, records: Iterable[TrialRecord]) -> None:
    """Write the table to `path`; a reader never sees half of it.

    Raises:
        TableError: The folder cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(asdict(record) for record in records)
    try:
        write_whole(path, text.getvalue())
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error.strerror or error})") from None
