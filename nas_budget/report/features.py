"""What of a trial may have mattered, as numbers, and how much each tells of accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nas_budget.report.table import complete

MOST_BINS = 6
LEAST_TRIALS = 8

WORDS = {
    "params": "parameters",
    "macs": "MACs",
    "stages": "stages",
    "blocks": "blocks in all",
    "first_width": "first width",
    "last_width": "last width",
    "growth": "growth of width",
    "kernel": "mean kernel",
    "pool": "pool",
    "shortcut_kernel": "shortcut kernel",
    "stem_kernel": "stem kernel",
    "stem_width": "stem width",
    "squeeze": "squeeze",
    "bottleneck": "bottleneck blocks",
    "preact": "preactivated blocks",
    "first_stride": "first stride",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "batch_size": "batch size",
}
LOGARITHMIC = ("params", "macs", "learning_rate", "weight_decay")


def features(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers of each trial that vary between them, with the table's index; the columns are keys of `WORDS`."""
    lists = {name: table[name].map(_numbers) for name in ("channels", "blocks", "kernels", "strides")}
    first, last = (lists["channels"].map(lambda widths, i=i: widths[i]) for i in (0, -1))
    stages = lists["channels"].map(len)
    found = pd.DataFrame(
        {
            "params": table["params"],
            "macs": table["macs"],
            "stages": stages,
            "blocks": lists["blocks"].map(sum),
            "first_width": first,
            "last_width": last,
            "growth": (last / first) ** (1 / (stages - 1).clip(lower=1)),
            "kernel": lists["kernels"].map(np.mean),
            "first_stride": lists["strides"].map(lambda strides: strides[0]),
            "bottleneck": (table["block"] == "bottleneck").astype(int),
            "preact": (table["block"] == "preact").astype(int),
            **{name: table[name] for name in WORDS if name in table and name not in ("params", "macs", "blocks")},
        },
        index=table.index,
    ).astype(float)
    return found[[name for name in WORDS if found[name].nunique() > 1]]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split("-")] if text.replace("-", "").isdigit() else [1]


def importance(table: pd.DataFrame) -> pd.Series[float]:
    """Share of the variance of accuracy that each feature explains alone, the largest first; empty of few trials.

    Complete trials are put in at most six classes of the feature; the share is Kelley's epsilon squared (1935), which
    unlike eta squared is 0 on average where a feature tells nothing. Features that go together explain the same.
    """
    ended = complete(table)
    if len(ended) < LEAST_TRIALS or ended["accuracy"].nunique() < 2:
        return pd.Series(dtype=float)
    found = features(ended)
    shares = {name: _explained(found[name], ended["accuracy"]) for name in found}
    return pd.Series(shares, dtype=float).sort_values(ascending=False, kind="stable")


def _explained(values: pd.Series[float], accuracy: pd.Series[float]) -> float:
    """Epsilon squared of the classes of a feature, 0 to 1."""
    n_bins = min(MOST_BINS, len(values) // 3)
    classes = (
        values
        if values.nunique() <= n_bins
        else pd.qcut(values.rank(method="average"), n_bins, labels=False, duplicates="drop")
    )
    groups = accuracy.groupby(classes)
    freedom = len(accuracy) - groups.ngroups
    within = float(((accuracy - groups.transform("mean")) ** 2).sum())
    total = float(((accuracy - accuracy.mean()) ** 2).sum())
    if freedom < 1 or total <= 0:
        return 0.0
    return max(0.0, 1 - within / freedom / (total / (len(accuracy) - 1)))
