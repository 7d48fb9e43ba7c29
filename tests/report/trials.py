"""Trials to report on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas_budget import cost_table
from nas_budget.records.trials import TrialRecord, write_table
from nas_budget.report.tables.trials import read_table

EVIL = "<script>alert(1)</script>"


def record(number: int = 0, **changes: Any) -> TrialRecord:
    """A complete trial, or one with some fields changed."""
    fields: dict[str, Any] = {
        "study": "demo", "number": number, "state": "complete", "accuracy": 0.5, "epochs": 6, "max_epochs": 6,
        "params": 10_000, "macs": 2_000_000, "weight_bytes": 40_000, "activation_bytes": 98_304, "depth": 10,
        "latency_s": 0.0012, "proxy": 1.0, "proxy_params": 10_000, "of": None,
            "seconds": 12.5, "repeated_seconds": 0.0, "channels": "8-16", "blocks": "1-2",
        "kernels": "3-3", "strides": "1-2", "pool": 16, "stem_kernel": 3, "shortcut_kernel": 1, "block": "basic",
        "se_reduction": 0, "stem_width": 8, "optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0005,
        "batch_size": 64, "seeds": 1, "curve": "0.2 0.4 0.5", "train_losses": "2.1 1.8 1.6", "rungs": "2 4",
        "pruner_metric": "loss", "predicted": 0.48, "predicted_deviation": 0.02, "data": "mine", "images": 4000,
        "validation_images": 1000, "budget_params": 50_000, "budget_macs": None, "budget_weight_bytes": None,
        "budget_activation_bytes": None, "weight_format": "fp32", "activation_format": "fp32",
        "budget_latency_ns": None, "predicted_latency_s": None, "seed": 0,
        "device": "a CPU (2 threads)", "precision": "fp32", "micro_batches": 1,
        "versions": "nas-budget 0.1.0, torch 2.13.0", "worker": 0,
        "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:00+00:00", "reason": "",
        "spec": json.dumps({"channels": [8, 16], "number": number}),
    }  # fmt: skip
    return TrialRecord(**fields | changes)


def mixed(**changes: Any) -> list[TrialRecord]:
    """Trials of every state; 1, 3 and 5 are the front, and the most accurate is number 5."""
    evil = {"study": f"demo {EVIL}", "device": f"GPU {EVIL} & more"} | changes
    complete = [(1, 0.40, 5_000), (2, 0.39, 9_000), (3, 0.62, 12_345), (4, 0.60, 20_000), (5, 0.7531, 43_210)]
    return [
        record(0, state="pruned", accuracy=0.2, epochs=2, params=30_000, reason=f"rung 2 {EVIL}", **evil),
        *(record(n, accuracy=accuracy, params=params, **evil) for n, accuracy, params in complete),
        record(6, state="failed", accuracy=None, epochs=0, params=40_000, reason=f"RuntimeError: {EVIL}", **evil),
        record(7, state="failed", accuracy=0.9, epochs=1, params=100, reason="the loss is no number", **evil),
    ]


def by_proxies() -> list[TrialRecord]:
    """Three networks trained at an eighth of the width, two of them again at a quarter, and the better at a half.

    The best is number 5, of the network that number 1 trained first. It was not the best at an eighth.
    """
    sizes = {0: 3_500_000, 1: 3_000_000, 2: 4_000_000}
    trained = [
        (0, 1 / 8, None, 0.30), (1, 1 / 8, None, 0.40), (2, 1 / 8, None, 0.45),
        (3, 1 / 4, 2, 0.55), (4, 1 / 4, 1, 0.57), (5, 1 / 2, 1, 0.66),
    ]  # fmt: skip
    return [
        record(
            n, proxy=proxy, of=of, accuracy=accuracy, params=sizes[n if of is None else of], budget_params=5_000_000,
            proxy_params=round(sizes[n if of is None else of] * proxy**2), spec=record(n if of is None else of).spec,
        )
        for n, proxy, of, accuracy in trained
    ]  # fmt: skip


def table_of(folder: Path, records: list[TrialRecord]) -> pd.DataFrame:
    """The trials after a way through a file."""
    write_table(folder / "trials.csv", records)
    return read_table(folder / "trials.csv")


def many(n: int, **changes: Any) -> list[TrialRecord]:
    """Trials of real networks with made-up curves: two thirds are pruned, one in 200 failed."""
    rng = np.random.default_rng(n)
    widths = np.sort(rng.integers(4, 64, (n, 3)), axis=1)
    blocks, kernels = rng.integers(1, 3, (n, 3)), rng.choice([3, 5], (n, 3))
    counts = cost_table(widths, blocks, kernels, pool=4, shortcut_kernel=1, columns=["params", "macs", "buffers"])
    return [
        _made_up(i, (widths[i], blocks[i], kernels[i]), {k: int(v[i]) for k, v in counts.items()}, rng, changes)
        for i in range(n)
    ]


def _made_up(
    i: int, stages: tuple[Any, ...], used: dict[str, int], rng: np.random.Generator, changes: dict[str, Any]
) -> TrialRecord:
    state = "failed" if i % 200 == 199 else "complete" if i % 3 == 0 else "pruned"
    top = 0.2 + 0.05 * float(np.log(used["params"] / 1_000)) + 0.03 * float(rng.normal())
    epochs = {"failed": 0, "complete": 8}.get(state, int(rng.choice([2, 4])))
    curve = [max(0.05, top * (1 - 0.5 ** (e + 1))) for e in range(epochs)]
    channels, blocks, kernels = ([int(v) for v in values] for values in stages)
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=10 * i)
    spec = {"channels": channels, "blocks": blocks, "kernels": kernels, "pool": 4, "shortcut_kernel": 1}
    fields: dict[str, Any] = {
        "state": state, "accuracy": curve[-1] if curve else None, "epochs": epochs, "max_epochs": 8,
        "params": used["params"], "macs": used["macs"], "weight_bytes": 4 * (used["params"] + used["buffers"]),
        "latency_s": 1e-4 + used["macs"] * 1e-10, "seconds": 2.0 * epochs + 0.5,
        "channels": "-".join(map(str, channels)), "blocks": "-".join(map(str, blocks)),
        "kernels": "-".join(map(str, kernels)), "strides": "1-2-2", "pool": 4, "stem_width": channels[0],
        "curve": " ".join(f"{a:.5f}" for a in curve), "train_losses": " ".join(f"{2.3 - 2 * a:.5f}" for a in curve),
        "rungs": "2 4", "budget_params": 500_000, "worker": i % 2,
        "started": start.isoformat(), "finished": (start + timedelta(seconds=2 * epochs + 1)).isoformat(),
        "reason": "" if state == "complete" else f"below the Pareto front at epoch {epochs}", "spec": json.dumps(spec),
    }  # fmt: skip
    return record(i, **fields | changes)
