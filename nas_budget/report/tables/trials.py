"""The trials table as a data frame, and its front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas_budget.errors import TableError
from nas_budget.records.paths import TRIALS_TABLE
from nas_budget.records.statistics import pareto_front
from nas_budget.records.trials import COLUMNS, CURVE, STATES, TrialRecord

TEXT = tuple(f.name for f in fields(TrialRecord) if f.type == "str")
NEEDED = (
    "number", "epochs", "max_epochs", "params", "macs", "seconds", "repeated_seconds", "images", "validation_images",
    "seeds",
)  # fmt: skip
NUMBERS = tuple(name for name in COLUMNS if name not in TEXT)


def read_table(path: Path) -> pd.DataFrame:
    """The trials of a `trials.csv`, or of the run folder that holds one, by number.

    Raises:
        TableError: It is missing, has other columns, or values that are not numbers where they must be.
    """
    if path.is_dir():
        path = path / TRIALS_TABLE
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values={c: [""] for c in NUMBERS}
        )
    except FileNotFoundError:
        raise TableError(f"{path}: no such file; give a run folder such as runs/quickstart") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: cannot be read as a trials table ({str(error).splitlines()[0]})") from None
    if missing := [name for name in COLUMNS if name not in table]:
        raise TableError(f"{path}: has no column {', '.join(missing)}; it is not a trials table of this version")
    if table.empty:
        raise TableError(f"{path}: has no trials yet; run nas-budget search first")
    if problem := next(_problems(table, path), None):
        raise TableError(f"{path}: {problem}; the table is damaged, and a search that goes on writes it anew")
    return table.sort_values("number", ignore_index=True)


def _problems(table: pd.DataFrame, path: Path) -> Iterator[str]:
    for name in NUMBERS:
        if not pd.api.types.is_numeric_dtype(table[name]):
            yield f"column {name} holds text where numbers belong"
    for name in NEEDED:
        if table[name].isna().any():
            yield f"a row has no {name}"
    if not path.read_bytes().endswith(b"\n"):
        yield "its last row is cut off"
    rules = {
        "params": table["params"] > 0,
        "accuracy": table["accuracy"].isna() | table["accuracy"].between(0, 1),
        "seconds": np.isfinite(table["seconds"]),
        "repeated_seconds": np.isfinite(table["repeated_seconds"]),
        "state": table["state"].isin(STATES),
        "curve": table["curve"].str.fullmatch(CURVE),
    }
    for name, kept in rules.items():
        if not kept.all():
            yield f"column {name} holds {table.loc[~kept, name].iloc[0]!r}"


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that trained to the end."""
    return table[(table["state"] == "complete") & table["accuracy"].notna()]


def front(table: pd.DataFrame, cost: str = "params") -> pd.DataFrame:
    """The complete trials that no other beats: none is as cheap and more accurate, or as accurate and cheaper.

    From the cheapest to the dearest, with the table's index; of equals, the first.

    Args:
        table: Trials.
        cost: The column to be small.
    """
    ended = complete(table).sort_values("number")
    costs, accuracies = ended[cost].to_numpy(), ended["accuracy"].to_numpy()
    return ended.iloc[pareto_front(range(len(ended)), costs.__getitem__, accuracies.__getitem__)]


def knee(leading: pd.DataFrame, cost: str = "params") -> pd.Series[Any] | None:
    """The trial of a front from which on more cost buys less; None of fewer than three.

    The one furthest above the straight line between the ends, cost taken as its logarithm and both scaled to 0 to 1
    (Satopaa et al. 2011, "Finding a kneedle in a haystack").
    """
    if len(leading) < 3:
        return None
    dear, good = np.log(leading[cost].to_numpy(float)), leading["accuracy"].to_numpy(float)
    above = (good - good[0]) / (good[-1] - good[0]) - (dear - dear[0]) / (dear[-1] - dear[0])
    return leading.iloc[int(above.argmax())] if above.max() > 0 else None


def halved(leading: pd.DataFrame, cost: str = "params") -> pd.Series[Any] | None:
    """The most accurate trial of a front with at most half the cost of its last; None where there is none."""
    small = leading[leading[cost] <= leading[cost].iloc[-1] / 2] if len(leading) else leading
    return small.iloc[-1] if len(small) else None


def best(table: pd.DataFrame) -> pd.Series[Any] | None:
    """The most accurate complete trial, of equals the smallest; None when there is none."""
    leading = front(table)
    return None if leading.empty else leading.iloc[-1]


def network(trial: Mapping[Any, Any]) -> str:
    """The network of a row in words."""
    words = [f"channels {trial['channels']}", f"blocks {trial['blocks']}", f"kernels {trial['kernels']}"]
    words += [f"strides {trial['strides']}", f"pool {trial['pool']}", f"shortcut {trial['shortcut_kernel']}"]
    words += [f"{trial['block']} blocks"] if trial["block"] != "basic" else []
    words += [f"SE {trial['se_reduction']}"] if trial["se_reduction"] else []
    words += [f"stem {trial['stem_width']}"] if str(trial["stem_width"]) != trial["channels"].split("-")[0] else []
    return ", ".join(words)
