"""The trials table as a data frame, and its Pareto front."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas_budget.arch.spec import spec_from_json
from nas_budget.errors import NasBudgetError, NoTrialsError
from nas_budget.records.formatting import width_in_words
from nas_budget.records.paths import trials_table
from nas_budget.records.statistics import pareto_front
from nas_budget.records.trials import KINDS, read_checked

ABOUT_HALF = 0.6
"""The largest share of a cost that is told as about half of it."""


def read_table(path: Path) -> pd.DataFrame:
    """The trials of a `trials.csv`, or of the run folder that holds one, by number; NaN for what is empty.

    Raises:
        NoTrialsError: It has no trials yet.
        TableError: It is missing, damaged or of another version.
    """
    columns = read_checked(path)
    if not columns["number"]:
        raise NoTrialsError(f"{trials_table(path)}: has no trials yet; run nas-budget search first")
    return pd.DataFrame({name: _series(name, values) for name, values in columns.items()})


def _series(name: str, values: list[Any]) -> pd.Series[Any]:
    kind = {"str": "str", "int": "int64", "float": "float64"}[KINDS[name].partition(" ")[0]]
    return pd.Series(values, dtype="float64" if None in values else kind)


def proposed(table: pd.DataFrame) -> pd.DataFrame:
    """The trials of networks that were proposed, without those that trained one of them again at another width."""
    return table[table["of"].isna()]


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """The proposed trials that trained to the end."""
    return proposed(table[(table["state"] == "complete") & table["accuracy"].notna()])


def ladder(table: pd.DataFrame) -> pd.DataFrame:
    """The complete trials that trained a network again at another width."""
    return table[(table["state"] == "complete") & table["accuracy"].notna() & table["of"].notna()]


def pareto_trials(table: pd.DataFrame, cost: str = "params") -> pd.DataFrame:
    """The complete trials that no other beats: none is as cheap and more accurate, or as accurate and cheaper.

    From the cheapest to the dearest, with the table's index; of equals, the first.

    Args:
        table: Trials.
        cost: The column to be small.
    """
    ended = complete(table).sort_values("number")
    costs, accuracies = ended[cost].to_numpy(), ended["accuracy"].to_numpy()
    return ended.iloc[pareto_front(range(len(ended)), costs.__getitem__, accuracies.__getitem__)]


def knee(pareto: pd.DataFrame, cost: str = "params") -> pd.Series[Any] | None:
    """The trial of a Pareto front from which on more cost buys less; None of fewer than three.

    The one furthest above the straight line between the ends, cost taken as its logarithm and both scaled to 0 to 1
    (Satopaa et al. 2011, "Finding a kneedle in a haystack").
    """
    if len(pareto) < 3:
        return None
    dear, good = np.log(pareto[cost].to_numpy(float)), pareto["accuracy"].to_numpy(float)
    above = (good - good[0]) / (good[-1] - good[0]) - (dear - dear[0]) / (dear[-1] - dear[0])
    return pareto.iloc[int(above.argmax())] if above.max() > 0 else None


def halved(pareto: pd.DataFrame, cost: str = "params") -> pd.Series[Any] | None:
    """The trial of a Pareto front whose cost is nearest to half of its last's, by their ratio.

    None where none costs at most three fifths: what costs nearly as much says little about half.
    """
    small = pareto[pareto[cost] <= ABOUT_HALF * pareto[cost].iloc[-1]] if len(pareto) else pareto
    if small.empty:
        return None
    off = np.abs(np.log(small[cost].to_numpy(float) / (pareto[cost].iloc[-1] / 2)))
    return small.iloc[int(off.argmin())]


def best(table: pd.DataFrame) -> pd.Series[Any] | None:
    """The most accurate complete trial of those trained at the largest width, of equals the smallest; None of none."""
    ended = pd.concat([complete(table), ladder(table)])
    ranked = ended.sort_values(["proxy", "accuracy", "params"], ascending=[True, True, False], kind="stable")
    return None if ranked.empty else ranked.iloc[-1]


def trained_as(trial: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """What a trial trained where that was a proxy, such as "as a proxy at 1/8 of the width"; empty elsewhere."""
    return f"as a proxy at {width_in_words(trial['proxy'])}" if trial["proxy"] < 1 else ""


def family_values(trial: Mapping[Any, Any]) -> dict[str, Any]:
    """The value of each dimension of a network of a family of the user's own; empty of a residual network."""
    if trial["channels"]:
        return {}
    try:
        return dict(json.loads(trial["spec"])["values"])
    except (ValueError, KeyError, TypeError):
        return {}


LATER_WORDS = {
    "activation": "activation", "expansions": "expansion", "groups": "groups", "stem_stride": "stem stride",
    "head_width": "head width",
}  # fmt: skip
"""Fields of a spec that have no column of their own, in words."""


def later_fields(trial: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of a residual network that have no column and are not as usual, from the row's spec."""
    try:
        known = spec_from_json(trial["spec"]).to_dict()
    except (NasBudgetError, ValueError, TypeError):
        return {}
    return {name: known[name] for name in LATER_WORDS if name in known}


def later_words(trial: Mapping[Any, Any]) -> list[str]:
    """The same in words, such as "expansion 1-6"."""
    texts = {name: "-".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in later_fields(trial).items()}
    return [f"{LATER_WORDS[name]} {text}" for name, text in texts.items()]


def network(trial: Mapping[Any, Any]) -> str:
    """The network of a row in words."""
    if values := family_values(trial):
        return ", ".join(f"{name} {value}" for name, value in values.items())
    words = [f"channels {trial['channels']}", f"blocks {trial['blocks']}", f"kernels {trial['kernels']}"]
    words += [f"strides {trial['strides']}", f"pool {trial['pool']}", f"shortcut {trial['shortcut_kernel']}"]
    words += [f"{trial['block']} blocks"] if trial["block"] != "basic" else []
    words += [f"SE {trial['se_reduction']}"] if trial["se_reduction"] else []
    words += [f"stem {trial['stem_width']}"] if str(trial["stem_width"]) != trial["channels"].split("-")[0] else []
    return ", ".join(words + later_words(trial))
