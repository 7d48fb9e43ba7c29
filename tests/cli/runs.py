"""Folders as `train` leaves them, and a terminal of some width."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.training_run import EpochRow, RunResult, SeedResult, write_result

SPEC = ResNetSpec((8, 16), blocks=1, pool=4)


def write_run(folder: Path, n_seeds: int = 2) -> None:
    folder.mkdir(parents=True)
    seeds = [SeedResult(i, 0.8, 0.9 + i / 100, 0.91, 0.92, 0.93, 0.4, 100.0, 0.0, "abc") for i in range(n_seeds)]
    recipe = {"name": "strong", "optimizer": "muon", "learning_rate": 0.05, "batch_size": 128, "epochs": 3}
    result = RunResult(
        folder.name, SPEC.to_dict(), 7_000, 900_000, recipe, "cifar10", "d", 45_000, 5_000, 10_000, ("a", "b"),
        "a device", "fp32", False, 1, "torch 2", "2026-11-24T03:40:26+00:00", tuple(seeds), ((1, 0), (0, 1)), (),
    )  # fmt: skip
    write_result(folder, result)
    (folder / "model.safetensors").touch()
    write_metrics(folder, n_epochs=3)


def write_metrics(folder: Path, n_epochs: int) -> None:
    rows = [EpochRow(0, i, 1.0, i / 10, 1.0, None, 0.1, 5.0) for i in range(1, n_epochs + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def write_unfinished(folder: Path) -> None:
    folder.mkdir(parents=True)
    held = {f"spec.{key}": value for key, value in SPEC.to_dict().items()}
    held |= {"recipe.optimizer": "sgd", "recipe.learning_rate": 0.1, "recipe.batch_size": 64, "recipe.epochs": 20}
    held |= {"data": "cifar10", "data.images": 45_000, "data.validation_images": 5_000}
    (folder / "run.json").write_text(json.dumps(held))
    write_metrics(folder, n_epochs=7)


def terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Have rich take stdout for a terminal of this width, one without colours."""
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
        monkeypatch.setenv(name, value)


def plain(text: str) -> str:
    """A text without the codes of a terminal (bold is left without colours)."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
