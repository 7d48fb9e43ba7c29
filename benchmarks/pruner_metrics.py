"""Which pruner metric ranks networks early as their whole training does, from the trainings in `trainings.csv`.

    python benchmarks/pruner_metrics.py [--markdown]

`trainings.py` makes the table. A network counts when its whole training, its second one and its short runs are there.
A figure is Spearman's rank correlation over networks, of a metric at an epoch with another seed's accuracy after the
last epoch, which includes the noise of seeds. Both seeds use the same validation images. "Size taken out" means what a
linear fit on log parameters and log MACs, made for each resample, leaves of both.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

TABLE = Path(__file__).with_name("trainings.csv")
Found = dict[tuple[str, int], np.ndarray]  # figures in every resample, by metric and epoch
SHORT = (1, 2, 4)
RUNS = ("full", "again", *(f"short {epochs}" for epochs in SHORT))
N_RESAMPLES = 2_000
LEAST_NETWORKS = 10
AGAIN, FULL = "accuracy (seed 1)", "accuracy (seed 0)"
HEADINGS = {
    False: "Rank correlation with another seed's final accuracy",
    True: "The same, with size taken out of both",
}


@dataclass(frozen=True)
class Metric:
    """What is known of every network after some epochs; more is better.

    Attributes:
        values: One number a network, by epoch.
        same: Final accuracy of the training that gave the values, one a network.
        other: Final accuracy of the other seed's training.
        rival: Name of the plain accuracy of the same seed, to compare with at the same epoch.
    """

    values: dict[int, np.ndarray]
    same: np.ndarray
    other: np.ndarray
    rival: str = AGAIN


def read_rows() -> pd.DataFrame:
    """The trainings, without a last line that is still being written."""
    text = TABLE.read_text()
    rows = pd.read_csv(io.StringIO(text[: text.rindex("\n") + 1]))
    return rows.assign(run=rows["part"].where(rows["part"] != "short", "short " + rows["epochs"].astype(str)))


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a network whose runs are all there; the columns are pairs (what, run)."""
    wide = rows.pivot(index=["channels", "blocks"], columns="run")
    return wide.loc[wide["accuracy"].reindex(columns=RUNS).dropna().index]


def curves(networks: pd.DataFrame, what: str, run: str) -> np.ndarray:
    """One curve of every network, shape (networks, epochs)."""
    return np.array([str(curve).split() for curve in networks[what, run]], dtype=float)


def logs_of_size(networks: pd.DataFrame) -> np.ndarray:
    """Log parameters and log MACs, shape (networks, 2)."""
    return np.log(np.stack([networks[what, "full"].to_numpy(float) for what in ("params", "macs")], axis=1))


def every_metric(networks: pd.DataFrame) -> dict[str, Metric]:
    """The metrics by name: all of the second training, but for the short runs and what they compare with."""
    accuracy, full = curves(networks, "accuracy", "again"), curves(networks, "accuracy", "full")
    last, last_full = accuracy[:, -1], full[:, -1]
    params, macs = logs_of_size(networks).T
    of_again = {
        "log parameters": {0: params},
        "log MACs": {0: macs},
        AGAIN: dict(enumerate(accuracy.T, 1)),
        "best accuracy so far": dict(enumerate(np.maximum.accumulate(accuracy.T), 1)),
        "mean of the last two": dict(enumerate((accuracy[:, 1:] + accuracy[:, :-1]).T / 2, 2)),
        "validation loss": dict(enumerate(-curves(networks, "validation_loss", "again").T, 1)),
        "training loss": dict(enumerate(-curves(networks, "train_loss", "again").T, 1)),
        "EMA weights": dict(enumerate(curves(networks, "ema_accuracy", "again").T, 1)),
    }
    metrics = {name: Metric(values, last, last_full) for name, values in of_again.items()}
    short = {epochs: curves(networks, "accuracy", f"short {epochs}")[:, -1] for epochs in SHORT}
    metrics[FULL] = Metric(dict(enumerate(full.T, 1)), last_full, last, FULL)
    metrics["short run (seed 0)"] = Metric(short, last_full, last, FULL)
    return metrics


def resamples(n_networks: int) -> np.ndarray:
    """Indices of networks, shape (1 + resamples, networks); the first row is the sample itself."""
    drawn = np.random.default_rng(0).integers(n_networks, size=(N_RESAMPLES, n_networks))
    return np.concatenate([np.arange(n_networks)[None], drawn])


def size_basis(networks: pd.DataFrame, picks: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what a constant and size explain, shape (resamples, networks, 3)."""
    logs = logs_of_size(networks)
    design = np.column_stack([np.ones(len(logs)), (logs - logs.mean(axis=0)) / logs.std(axis=0)])
    return np.linalg.qr(design[picks])[0]


def standard_ranks(values: np.ndarray, picks: np.ndarray, basis: np.ndarray | None) -> np.ndarray:
    """Ranks of a metric in every resample, standardised, so that a product of two is their correlation."""
    picked = values[picks]
    if basis is not None:
        fitted = basis @ (basis.transpose(0, 2, 1) @ picked[..., None])
        picked = (picked - fitted[..., 0]).round(9)  # a network drawn twice ties with itself again
    ranks = pd.DataFrame(picked).rank(axis=1).to_numpy() - (len(values) + 1) / 2
    return ranks / np.linalg.norm(ranks, axis=1, keepdims=True)


def correlations(metrics: dict[str, Metric], picks: np.ndarray, basis: np.ndarray | None) -> Found:
    """Rank correlations in every resample by metric and epoch; sizes are left out where size is taken out."""
    found: Found = {}
    for name, metric in metrics.items():
        target = standard_ranks(metric.other, picks, basis)
        for epoch, values in metric.values.items():
            if epoch or basis is None:
                found[name, epoch] = (standard_ranks(values, picks, basis) * target).sum(axis=1)
    return found


def with_interval(values: np.ndarray, rival: np.ndarray) -> str:
    """The estimate, where 95 % of its resamples lie, and a mark where 95 % lie on one side of the rival's."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    least, most = np.percentile((values - rival)[1:], [2.5, 97.5])
    mark = "+" if least > 0 else "-" if most < 0 else ""
    return f"{values[0]:.2f} ({low:.2f}, {high:.2f}) {mark}".rstrip()


def table(found: Found, metrics: dict[str, Metric]) -> list[list[str]]:
    """Lines of text: a head, then one a metric, one cell an epoch."""
    epochs = sorted({epoch for _, epoch in found})
    lines = {name: [name, *[""] * len(epochs)] for name, _ in found}
    for (name, epoch), values in found.items():
        rival = found.get((metrics[name].rival, epoch), values)
        lines[name][1 + epochs.index(epoch)] = with_interval(values, rival)
    return [["metric, by epoch", *map(str, epochs)], *lines.values()]


def noise(metrics: dict[str, Metric], picks: np.ndarray, basis: np.ndarray) -> list[list[str]]:
    """How far apart two seeds of one network end, and how well one ranks the other, as text."""
    ends = metrics[FULL].same, metrics[AGAIN].same
    one, two = (100 * end[picks] for end in ends)
    plain, left = (
        (standard_ranks(ends[0], picks, out) * standard_ranks(ends[1], picks, out)).sum(axis=1) for out in (None, basis)
    )
    figures = {
        "mean accuracy, %": ((one + two) / 2).mean(axis=1),
        "sd between networks, both seeds averaged, points": ((one + two) / 2).std(axis=1, ddof=1),
        "sd between seeds, points": (one - two).std(axis=1, ddof=1) / np.sqrt(2),
        "rank correlation of the two seeds: the ceiling": plain,
        "the same, size taken out": left,
    }
    return [["final accuracy", "figure"], *([name, with_interval(values, values)] for name, values in figures.items())]


def show(heading: str, lines: list[list[str]], markdown: bool) -> None:
    """Print a table as aligned text or as markdown."""
    print(f"\n{'### ' * markdown}{heading}\n")
    if markdown:
        lines = [lines[0], ["---", *["---:"] * (len(lines[0]) - 1)], *lines[1:]]
    widths = [0 if markdown else max(map(len, column)) for column in zip(*lines, strict=True)]
    left, between, right = ("| ", " | ", " |") if markdown else ("", "  ", "")
    for line in lines:
        print((left + between.join(map(str.ljust, line, widths)) + right).rstrip())


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="print tables for docs/benchmarks.md")
    markdown = parser.parse_args().markdown
    networks = complete(read_rows())
    if len(networks) < LEAST_NETWORKS:
        sys.exit(f"{len(networks)} networks have all their runs; give {LEAST_NETWORKS} or more: run trainings.py")
    metrics, picks = every_metric(networks), resamples(len(networks))
    basis = size_basis(networks, picks)
    made_by = "; ".join(", ".join(sorted(set(networks[what].to_numpy().ravel()))) for what in ("device", "versions"))
    print(f"{len(networks)} networks. {made_by}. 95 % intervals over networks, {N_RESAMPLES:,} resamples.")
    print("+ or -: above or below the same seed's accuracy at that epoch, by the interval of the difference.")
    for without_size, heading in HEADINGS.items():
        found = correlations(metrics, picks, basis if without_size else None)
        show(heading, table(found, metrics), markdown)
    show("Noise of seeds", noise(metrics, picks, basis), markdown)


if __name__ == "__main__":
    main()
