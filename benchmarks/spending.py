"""The table of trainings as searches spend it, and what they found for it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import log

import numpy as np
from trainings import BUDGET, RECIPE, TABLE, every_spec, joined

from nas_budget import ResNetSpec

EPOCHS = RECIPE.epochs
SPENT = 240
"""Epochs each method may spend: thirty whole trainings."""


@dataclass(frozen=True)
class Training:
    """A row of the table."""

    params: int
    accuracy: tuple[float, ...]
    validation_loss: tuple[float, ...]
    train_loss: tuple[float, ...]
    seconds: float


def read_trainings() -> Table:
    """The trainings of the whole space, by network."""
    with TABLE.open(newline="") as file:
        rows = {(r["channels"], r["blocks"]): r for r in csv.DictReader(file) if r["part"] == "full"}
    return {spec: _training(rows[joined(spec.channels), joined(spec.blocks)]) for spec in every_spec()}


def _training(row: dict[str, str]) -> Training:
    curves = {name: tuple(map(float, row[name].split())) for name in ("accuracy", "validation_loss", "train_loss")}
    return Training(int(row["params"]), **curves, seconds=float(row["seconds"]))


@dataclass
class Spending:
    """What a method has spent and found.

    Attributes:
        epochs: Paid for so far.
        found: Epochs paid for, parameters and accuracy, for each training that went to its end.
        started: Networks whose training began, in order.
        proposed: Proposals made.
        fitting: Those within the budget.
    """

    epochs: int = 0
    found: list[tuple[int, int, float]] = field(default_factory=list)
    started: list[ResNetSpec] = field(default_factory=list)
    proposed: int = 0
    fitting: int = 0

    @property
    def over(self) -> bool:
        """Whether all epochs are spent."""
        return self.epochs >= SPENT

    def train(self, spec: ResNetSpec, table: Table, first: int = 1) -> Iterator[int]:
        """The epochs of a training as they are paid for, from `first` to the last."""
        if first == 1:
            self.started.append(spec)
        for epoch in range(first, EPOCHS + 1):
            if self.over:
                return
            self.epochs += 1
            if epoch == EPOCHS:
                self.found.append((self.epochs, table[spec].params, table[spec].accuracy[-1]))
            yield epoch


Table = dict[ResNetSpec, Training]


def best_curve(spending: Spending) -> np.ndarray:
    """Best accuracy so far after each epoch, (SPENT + 1,); 0 where nothing is trained."""
    curve = np.zeros(SPENT + 1)
    for epochs, _, accuracy in spending.found:
        curve[epochs:] = np.maximum(curve[epochs:], accuracy)
    return curve


def hypervolume_curve(spending: Spending, floor: float, least: int) -> np.ndarray:
    """Hypervolume of the front of accuracy against parameters after each epoch, (SPENT + 1,).

    The mean over sizes, on a log scale from `least` to the budget, of the best accuracy of at most that size,
    above `floor`.
    """
    sizes = np.linspace(log(least), log(BUDGET.params or 1), 400)
    best, curve = np.full(len(sizes), floor), np.zeros(SPENT + 1)
    for epochs, params, accuracy in spending.found:
        best = np.where(sizes >= log(params), np.maximum(best, accuracy), best)
        curve[epochs:] = (best - floor).mean()
    return curve
