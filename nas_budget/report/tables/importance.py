"""What of a trial may have mattered, as numbers, and how much each tells of accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES
from nas_budget.arch.spec import LATER
from nas_budget.report.tables.trials import complete, family_values, later_fields

MOST_BINS = 6
LEAST_TRIALS = 16
N_DEALS = 200
Accuracies = NDArray[np.float64]
Classes = NDArray[np.int64]

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
    "se_reduction": "se_reduction",
    "bottleneck": "bottleneck blocks",
    "preact": "preactivated blocks",
    "separable": "separable blocks",
    "inverted": "inverted blocks",
    "expansion": "mean expansion",
    "groups": "groups",
    "stem_stride": "stem stride",
    "head_width": "head width",
    "relu6": "ReLU6",
    "hard-swish": "hard-swish",
    "silu": "SiLU",
    "first_stride": "first stride",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "batch_size": "batch size",
}
LOGARITHMIC = ("params", "macs", "learning_rate", "weight_decay")


def features(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers of each trial that vary between them, with the table's index.

    The columns are keys of `WORDS`, or the dimensions of a family of the user's own whose choices are numbers. What not
    every trial has is left out.
    """
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
            **{block: (table["block"] == block).astype(int) for block in FAMILIES if block in WORDS},
            **_later(table),
            **{name: table[name] for name in WORDS if name in table and name not in ("params", "macs", "blocks")},
        },
        index=table.index,
    ).astype(float)
    own = pd.DataFrame([*map(family_values, table.to_dict("records"))], index=table.index)
    numbers = own[[name for name in own if all(isinstance(value, int | float) for value in own[name])]].astype(float)
    known = found[[name for name in WORDS if name not in numbers]].dropna(axis=1).join(numbers)
    return known[[name for name in known if known[name].nunique() > 1]]


def _later(table: pd.DataFrame) -> dict[str, list[float]]:
    """What of a network has no column of its own: numbers, and 1 for the activation that it has."""
    rows = table[["spec"]].to_dict("records")
    later = [{**LATER, "expansions": [0], **later_fields(trial)} for trial in rows]
    usual = [FAMILIES[block].expansion if block in FAMILIES else 0 for block in table["block"]]
    inside = [np.mean(known["expansions"]) for known in later]
    found: dict[str, list[float]] = {"expansion": [float(a or b) for a, b in zip(inside, usual, strict=True)]}
    found |= {name: [float(known[name]) for known in later] for name in LATER if name in WORDS}
    return found | {name: [float(known["activation"] == name) for known in later] for name in ACTIVATIONS[1:]}


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split("-")] if text.replace("-", "").isdigit() else [1]


def importance(table: pd.DataFrame) -> pd.Series[float]:
    """Share of the variance of accuracy that each feature explains alone, the largest first; empty of few trials.

    Complete trials are put in at most six classes of the feature; the share is Kelley's epsilon squared (1935), eta
    squared less what as many classes explain by chance on average, and 0 where that is negative. Features that go
    together explain the same.
    """
    ended = _judged(table)
    found = {name: _explained(classes, ended) for name, classes in _classes(table).items()} if len(ended) else {}
    return pd.Series(found, dtype=float).sort_values(ascending=False, kind="stable")


def chance_level(table: pd.DataFrame) -> float:
    """What the best of the features explains in 95 of 100 cases in which none tells anything; 0 of few trials.

    Accuracies are dealt to the trials at random, 200 times, and the largest share noted each time.
    """
    ended = _judged(table)
    if not len(ended):
        return 0.0
    rng, classes = np.random.default_rng(0), [*_classes(table).values()]
    dealt = (rng.permutation(ended) for _ in range(N_DEALS))
    return float(np.quantile([max((_explained(c, a) for c in classes), default=0.0) for a in dealt], 0.95))


def _judged(table: pd.DataFrame) -> Accuracies:
    """Accuracies of the complete trials; none where they are too few or all the same."""
    values = complete(table)["accuracy"].to_numpy(float)
    return values if len(values) >= LEAST_TRIALS and np.ptp(values) > 0 else values[:0]


def _classes(table: pd.DataFrame) -> dict[str, Classes]:
    """The class of each complete trial by feature, numbered from 0."""
    found = features(complete(table))
    most = min(MOST_BINS, len(found) // 3)
    return {str(name): _class_of(found[name], most) for name in found}


def _class_of(values: pd.Series[float], most: int) -> Classes:
    if values.nunique() > most:
        values = pd.qcut(values.rank(), most, labels=False, duplicates="drop")
    numbered: Classes = np.unique(values, return_inverse=True)[1]
    return numbered


def _explained(classes: Classes, accuracy: Accuracies) -> float:
    """Epsilon squared of the classes of a feature, 0 to 1."""
    deviation = accuracy - accuracy.mean()
    counts, sums = np.bincount(classes), np.bincount(classes, weights=deviation)
    total, freedom = float(deviation @ deviation), len(accuracy) - len(counts)
    within = max(0.0, total - float((sums**2 / counts).sum()))
    return max(0.0, 1 - within / freedom / (total / (len(accuracy) - 1))) if freedom > 0 and total > 0 else 0.0
