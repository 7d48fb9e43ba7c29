"""What accuracy can be set against: parameters, MACs, bytes, measured and predicted latency, device seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from nas_budget.arch.cost import BYTES_PER_NUMBER

SHARE_OF_FP32 = {name: size / BYTES_PER_NUMBER["fp32"] for name, size in BYTES_PER_NUMBER.items()}
"""Bytes of weights in a format, as a share of those in fp32."""


@dataclass(frozen=True)
class Axis:
    """One kind of cost.

    Attributes:
        column: Of the trials table.
        words: What it is called.
        factor: From the table's unit to the one shown.
        limit: The column of its limit; empty where no budget has one.
        limit_factor: From the limit's unit to the one shown.
    """

    column: str
    words: str
    factor: float = 1.0
    limit: str = ""
    limit_factor: float = 1.0

    def costs(self, table: pd.DataFrame) -> pd.Series[float]:
        """Of each trial, in the unit shown; NaN where it was not measured."""
        values = table[self.column].astype(float) * self.factor
        return (
            values * table["weight_format"].map(SHARE_OF_FP32).astype(float)
            if self.column == "weight_bytes"
            else values
        )

    def budget(self, table: pd.DataFrame) -> float | None:
        """The limit of the table's first trial; None where there is none."""
        limit = table[self.limit].iloc[0] if self.limit else math.nan
        return float(limit) * self.limit_factor if pd.notna(limit) and limit > 0 else None

    def title(self, table: pd.DataFrame) -> str:
        """What it is called, with the format where all trials have one."""
        formats = table["weight_format"].unique()
        return f"{self.words} ({formats[0]})" if self.column == "weight_bytes" and len(formats) == 1 else self.words


AXES = {
    "params": Axis("params", "parameters", limit="budget_params"),
    "macs": Axis("macs", "MACs of one image", limit="budget_macs"),
    "bytes": Axis("weight_bytes", "bytes of weights", limit="budget_weight_bytes"),
    "latency": Axis("latency_s", "latency of one image (ms)", factor=1e3),
    "predicted-latency": Axis(
        "predicted_latency_s", "predicted latency of one image (ms)", 1e3, "budget_latency_ns", limit_factor=1e-6
    ),
    "seconds": Axis("seconds", "training of the trial (device seconds)"),
}


def known_axes(table: pd.DataFrame) -> dict[str, Axis]:
    """The axes along which at least one trial with an accuracy has a place."""
    drawn = table[table["accuracy"].notna()]
    return {name: axis for name, axis in AXES.items() if (axis.costs(drawn) > 0).any()}


def round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from just below `low` to just above `high`; fewer over many powers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(powers) <= 5 else (1,)
    return [digit * 10.0**power for power in powers for digit in digits]
