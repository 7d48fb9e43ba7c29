"""Runs of `train` made up for tests, and folders as training leaves them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.paths import METRICS, MISTAKES
from nas_budget.records.training_run import EpochRow, RunResult, SeedResult, write_result
from nas_budget.report.pages.training_run import write_run_page
from nas_budget.train.data.image_files import write_row
from nas_budget.train.optim.recipe import RECIPES

SPEC = ResNetSpec((8, 12), blocks=(1, 3), classes=3, pool="global", image_size=16)
PAPER = ResNetSpec((32, 64, 96, 128, 185), dropout=0.2)
PAPER_RECIPE = {"name": "paper", **asdict(RECIPES["paper"])}
SEEDS = (
    SeedResult(4, 0.71, 0.72, 0.73, 0.74, 0.75, 1.25, 61.0, 0.0, "digest-of-four"),
    SeedResult(5, 0.75, 0.76, 0.77, 0.78, 0.79, 1.35, 62.0, 30.0, "digest-of-five"),
)
RECIPE = {"name": "own", "optimizer": "muon", "weight_decay": 0.0003, "epochs": 3, "trivial_augment": True}
CONFUSION = ((7, 2, 1), (0, 12, 8), (0, 0, 20))
MISTAKE = {"index": 31, "truth": 1, "predicted": 2, "probability": 0.9876}


def result(network: ResNetSpec = SPEC, **changes: Any) -> RunResult:
    """A run of one seed, or one with some fields changed."""
    fields: dict[str, Any] = {
        "name": "mine", "spec": network.to_dict(), "params": cost(network).params, "macs": cost(network).macs,
        "recipe": RECIPE, "data": "animals", "data_digest": "d4ta", "images": 4_000, "validation_images": 1_234,
        "test_images": 50, "classes": ("cat", "dog", "emu"), "device": "a machine", "precision": "fp32",
        "deterministic": True, "micro_batches": 1, "versions": "torch 2.13.0", "finished": "2026-05-04T03:02:01+00:00",
        "seeds": SEEDS[:1], "confusion": CONFUSION, "mistakes": (MISTAKE,),
    }  # fmt: skip
    return RunResult(**fields | changes)


def as_paper(**changes: Any) -> RunResult:
    """The paper's own run, or one with some fields changed."""
    names = tuple(f"kind {i}" for i in range(10))
    fields: dict[str, Any] = {
        "data": "cifar10", "recipe": PAPER_RECIPE, "images": 45_000, "validation_images": 5_000, "classes": names,
        "confusion": of_many_classes(10).confusion,
    }  # fmt: skip
    return result(PAPER, **fields | changes)


def of_many_classes(n: int) -> RunResult:
    confusion = tuple(tuple(90 if i == j else int((i + j) % 7 == 0) for j in range(n)) for i in range(n))
    return result(replace(SPEC, classes=n), classes=tuple(f"kind {i}" for i in range(n)), confusion=confusion)


def epochs(n: int = 3, seeds: Sequence[int] = (4,), **changes: Any) -> list[EpochRow]:
    """Rows whose loss is seed + 1 / epoch and whose accuracy is 1 - 0.1 * seed - 1 / (epoch + 1)."""
    return [
        replace(
            EpochRow(seed, i, seed + 1 / i, 1 - 0.1 * seed - 1 / (i + 1), 0.5, None, 0.1 * (1 - i / (n + 1)), 2.0),
            **changes,
        )
        for seed in seeds
        for i in range(1, n + 1)
    ]


def write(folder: Path, run: RunResult, rows: Sequence[EpochRow]) -> Path:
    """A run folder, as training leaves it, with its page."""
    folder.mkdir(exist_ok=True)
    write_result(folder, run)
    side = run.spec["image_size"]
    pixels = np.random.default_rng(0).integers(0, 256, (len(run.mistakes), side, side, 3))
    write_row(folder / MISTAKES, pixels.astype(np.uint8))
    (folder / METRICS).write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    return write_run_page(folder)
