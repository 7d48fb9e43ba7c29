"""`predictions.csv`: what the model of a search expects of networks of sizes that were not tried too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nas_budget.records.field_table import read_rows, write_rows


@dataclass(frozen=True)
class ExpectedNetwork:
    """The network that a model expects to be the most accurate up to a size; the fields are the columns of the file.

    Attributes:
        params: Its trainable parameters.
        accuracy: Expected accuracy on validation images at the end of a trial, 0 to 1.
        deviation: Standard deviation of that: 95 % of accuracies are expected within 1.96 of it.
        spec: The whole spec as JSON.
    """

    params: int
    accuracy: float
    deviation: float
    spec: str


def write_predictions(path: Path, networks: Iterable[ExpectedNetwork]) -> None:
    """Write the table to `path`, all of it or nothing."""
    write_rows(path, ExpectedNetwork, networks)


def read_predictions(path: Path) -> list[ExpectedNetwork]:
    """The networks of a `predictions.csv`, from the smallest; none where there is no such file.

    Raises:
        TableError: It cannot be read.
    """
    return sorted(read_rows(path, ExpectedNetwork, "predictions"), key=lambda network: network.params)
