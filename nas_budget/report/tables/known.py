"""Networks others have published, to be seen beside ours."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

from nas_budget.report.assets import asset

REFERENCE_NAME = "the reference paper"


@dataclass(frozen=True)
class KnownNetwork:
    """A published network; accuracy is on test images, of a long training.

    Attributes:
        name: As it is known.
        data: Name of the data set.
        params: Parameters, often rounded by who published them.
        macs: Multiply-accumulates of one image; None where they are not published.
        accuracy: On test images, 0 to 1.
        source: Where it is published.
    """

    name: str
    data: str
    params: int
    macs: int | None
    accuracy: float
    source: str


def known_networks(data: str) -> list[KnownNetwork]:
    """The published networks for a data set, the reference first; none for most."""
    rows = [row for row in csv.DictReader(asset("known_networks.csv").splitlines()) if row["data"] == data]
    kinds: dict[str, Any] = {"params": int, "macs": lambda text: int(text) if text else None, "accuracy": float}
    return [KnownNetwork(**{name: kinds.get(name, str)(text) for name, text in row.items()}) for row in rows]


def reference() -> KnownNetwork:
    """The network of the reference paper."""
    return next(network for network in known_networks("cifar10") if network.name == REFERENCE_NAME)
