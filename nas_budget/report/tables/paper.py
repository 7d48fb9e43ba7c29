"""The reference paper's own run, and what of ours may be set beside it."""

from __future__ import annotations

import csv
from dataclasses import asdict, replace

from nas_budget.arch.spec import AnySpec, ResNetSpec
from nas_budget.records.training_run import EpochRow, RunResult
from nas_budget.report.assets import asset
from nas_budget.report.tables.known import reference
from nas_budget.train.optim.recipe import RECIPES

REFERENCE_SPEC = ResNetSpec((32, 64, 96, 128, 185))
PAPER_IMAGES = 45_000
"""The paper trained on these and held the other 5,000 training images of CIFAR-10 out."""
MOST_DIFFERENCES = 3


def is_papers_network(result: RunResult, spec: AnySpec) -> bool:
    """Whether it is the reference paper's network, up to dropout, on the paper's data set."""
    if not isinstance(spec, ResNetSpec):
        return False
    return replace(spec, dropout=REFERENCE_SPEC.dropout) == REFERENCE_SPEC and result.data == reference().data


def differences(result: RunResult) -> list[str]:
    """How the training differs from the paper's, such as ["epochs 30, not 150"]; empty where the curves compare."""
    images = [] if result.images == PAPER_IMAGES else [f"{result.images:,} images, not {PAPER_IMAGES:,}"]
    # The name says little: every value of a recipe can be overridden.
    values = [(name, result.recipe.get(name), paper) for name, paper in asdict(RECIPES["paper"]).items()]
    return images + [
        f"{name.replace('_', ' ')} {_in_words(ours)}, not {_in_words(paper)}"
        for name, ours, paper in values
        if ours != paper
    ]


def differences_in_words(unlike: list[str]) -> str:
    """The first few differences in one line, and how many more there are."""
    more = len(unlike) - MOST_DIFFERENCES
    return "; ".join([*unlike[:MOST_DIFFERENCES], *([f"and {more} more"] if more > 0 else [])])


def _in_words(value: object) -> str:
    if value is None:
        return "unknown"
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def paper_curves() -> list[EpochRow]:
    """The 150 epochs of the reference paper; the learning rate is the mean of each epoch."""
    found = []
    for row in csv.DictReader(asset("paper_curves.csv").splitlines()):
        loss, per_cent, rate = map(float, (row["train_loss"], row["valid_accuracy_percent"], row["mean_learning_rate"]))
        found.append(EpochRow(0, int(row["epoch"]), loss, per_cent / 100, None, None, rate, seconds=0.0))
    return found
